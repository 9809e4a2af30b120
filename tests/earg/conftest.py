"""Fixtures of the runtime's tests: addresses and agents that no other test shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from earg.addresses import AddressPool
from earg.client import AgentClient, NoAgentError, connect


@pytest.fixture
def pool(request: pytest.FixtureRequest) -> Iterator[AddressPool]:
    """Loopback addresses for this test alone."""
    addresses = AddressPool(f"{request.node.nodeid} {os.getpid()}")
    yield addresses
    addresses.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The home of an agent that is stopped, with all it started, when the test ends."""
    folder = tmp_path / "earg"
    yield folder
    try:
        with connect(folder, start=False) as client:
            client.shutdown()
    except NoAgentError:
        pass


@pytest.fixture
def agent(home: Path) -> Iterator[AgentClient]:
    """A client of a fresh agent."""
    with connect(home) as client:
        yield client
