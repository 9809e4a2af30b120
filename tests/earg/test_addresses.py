"""Loopback addresses: kept apart between graphs, and never somebody else's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from earg.addresses import EARG_PORTS, AddressPool, NoAddressError, Ports, is_free


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    return f"{request.node.nodeid} {os.getpid()}"


@pytest.fixture
def wildcard() -> Iterator[int]:
    """A port on which a server listens on every address."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_two_graphs_of_one_name_get_addresses_of_their_own(key: str) -> None:
    first, second = AddressPool(key), AddressPool(key)
    try:
        taken = [[pool.take() for _ in range(300)] for pool in (first, second)]
        assert len({*taken[0], *taken[1]}) == 600
        assert all(ip.startswith("127.") for ip in (*taken[0], *taken[1]))
    finally:
        first.close()
        second.close()


def test_blocks_that_are_given_back_can_be_had_again(key: str) -> None:
    pool = AddressPool(key)
    first = pool.take()
    pool.close()
    again = AddressPool(key)
    assert again.take() == first
    again.close()


def test_an_address_that_somebody_listens_on_is_passed_over(key: str) -> None:
    pool = AddressPool(key)
    wanted = pool.take()
    pool.close()
    with socket.create_server((wanted, EARG_PORTS.proxy)):
        assert not is_free(wanted, EARG_PORTS.proxy)
        again = AddressPool(key)
        assert again.take() != wanted
        again.close()


def test_ports_taken_on_every_address_mean_other_ports(key: str, wildcard: int) -> None:
    other = Ports(free_port(), free_port())
    pool = AddressPool(key, (Ports(wildcard, free_port()), other))
    assert pool.ports == other
    pool.close()
    with pytest.raises(NoAddressError, match="stop one of them"):
        AddressPool(key, (Ports(wildcard, wildcard),))
