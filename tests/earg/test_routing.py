"""A node's place in the graph, and its joins."""

from __future__ import annotations

import pytest

from earg.config import Edge
from earg.payload import pack, unpack
from earg.routing import Joiner, RoutingError, find_place
from earg.status import Role
from tests.earg.running import runtime

CONFIG = runtime(
    "127.0.3.1",
    {"a": "127.0.3.2", "b": "127.0.3.3", "c": "127.0.3.4", "d": "127.0.3.5"},
    (Edge((1,), (2, 3)),),
    (Edge((3, 2), (4,)),),
)


def test_a_proxy_finds_its_place() -> None:
    entry = find_place(CONFIG, "g.a.proxy", "127.0.3.2")
    assert (entry.index, entry.role, entry.sources, entry.targets) == (1, Role.PRIMARY, (), (2, 3))
    join = find_place(CONFIG, "g.d.proxy", "127.0.3.5")
    assert (join.is_join, join.sources, join.targets) == (True, (3, 2), ())


def test_a_proxy_that_the_config_does_not_know_is_told() -> None:
    with pytest.raises(RoutingError, match=r"no proxy called 'g\.x\.proxy'"):
        find_place(CONFIG, "g.x.proxy", "127.0.3.2")
    with pytest.raises(RoutingError, match=r"puts g.a.proxy on 127.0.3.2"):
        find_place(CONFIG, "g.a.proxy", "127.0.3.9")


def test_a_join_keeps_the_configs_order_whoever_comes_first() -> None:
    joiner = Joiner((3, 2), capacity=10)
    assert joiner.add(7, 2, pack("from 2")) is None
    joined = joiner.add(7, 3, pack("from 3"))
    assert joined is not None
    assert unpack(joined) == ["from 3", "from 2"]
    assert len(joiner) == 0


def test_a_part_that_comes_twice_counts_once() -> None:
    joiner = Joiner((3, 2), capacity=10)
    assert joiner.add(7, 2, pack("first")) is None
    assert joiner.add(7, 2, pack("again")) is None
    joined = joiner.add(7, 3, pack("x"))
    assert joined is not None
    assert unpack(joined) == ["x", "first"]


def test_a_stranger_may_not_join() -> None:
    with pytest.raises(RoutingError, match="node 5"):
        Joiner((3, 2), capacity=10).add(7, 5, pack("x"))


def test_parts_that_never_complete_do_not_fill_memory() -> None:
    joiner = Joiner((3, 2), capacity=10)
    for request_id in range(1000):
        joiner.add(request_id, 2, pack("x"))
    assert len(joiner) == 10
    assert joiner.add(999, 3, pack("y")) is not None
