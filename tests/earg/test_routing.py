"""A node's place in the graph."""

from __future__ import annotations

import pytest

from earg.config import Edge
from earg.routing import RoutingError, find_place
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


def test_a_merge_is_no_join_and_several_nodes_may_be_sinks() -> None:
    addresses = {name: f"127.0.3.{at}" for at, name in enumerate("abcde", 2)}
    edges = (Edge((1,), (2, 3, 4)), Edge((2,), (5,)), Edge((3,), (5,)))
    config = runtime("127.0.3.1", addresses, edges)
    merge = find_place(config, "g.e.proxy", "127.0.3.6")
    assert (merge.is_join, merge.sources, merge.targets) == (False, (2, 3), ())
    assert find_place(config, "g.d.proxy", "127.0.3.5").targets == ()
