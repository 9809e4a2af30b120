"""The EARG configs: written exactly, and read strictly."""

from __future__ import annotations

import dataclasses

import pytest

from earg.config import (
    ConfigError,
    Edge,
    NodeSpec,
    Pair,
    RuntimeConfig,
    RuntimeNode,
    StaticConfig,
    read_runtime,
    read_static,
    write_runtime,
    write_static,
)

STATIC = """\
5
2
c1,test,zsxhku/simpledag:container1,false,64
c2,test,zsxhku/simpledag:container2,true,64
c3,test,zsxhku/simpledag:container3,false,0
c4,test,zsxhku/simpledag:container4,false,-64
c5,test,zsxhku/simpledag:container5,false,64
dist[1->2;2->3,4]
reduce[3,4->5]
"""

RUNTIME = """\
simpledag-test
2
1
frontend-name,frontend-id,127.0.3.1
c1,test,image,false,64,m1,m1id,127.0.3.2,p1,p1id,127.0.3.2
c2,test,image,true,64,m2,m2id,127.0.3.3,p2,p2id,127.0.3.3,b2,b2id,127.0.3.4,q2,q2id,127.0.3.4
dist[1->2]
"""


def nodes(count: int) -> tuple[NodeSpec, ...]:
    return tuple(NodeSpec(f"n{i}", "1", "image", False, 1) for i in range(1, count + 1))


def test_a_static_config_is_read_and_written_to_the_letter() -> None:
    config = read_static(STATIC)
    assert config.nodes[1] == NodeSpec("c2", "test", "zsxhku/simpledag:container2", True, 64)
    assert [node.batch for node in config.nodes] == [64, 64, 0, -64, 64]
    assert config.dist == (Edge((1,), (2,)), Edge((2,), (3, 4)))
    assert config.reduce == (Edge((3, 4), (5,)),)
    assert write_static(config) == STATIC


def test_a_runtime_config_is_read_and_written_to_the_letter() -> None:
    config = read_runtime(RUNTIME)
    assert (config.name, config.version, config.frontend_ip) == ("simpledag", "test", "127.0.3.1")
    assert config.nodes[0].backup is None
    assert config.nodes[1].backup == Pair("b2", "b2id", "127.0.3.4", "q2", "q2id", "127.0.3.4")
    assert write_runtime(config) == RUNTIME


def test_one_node_needs_no_edges() -> None:
    text = "1\n0\nonly,1,image,false,1\n"
    assert write_static(read_static(text)) == text


def test_a_join_keeps_the_order_of_its_sources() -> None:
    text = STATIC.replace("reduce[3,4->5]", "reduce[4,3->5]")
    config = read_static(text)
    assert config.sources_of(5) == (4, 3)
    assert config.targets_of(2) == (3, 4)
    assert config.sinks() == (5,)
    assert write_static(config) == text


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "words"),
    [
        ("c2,test,zsxhku/simpledag:container2,true", "c2,test,i,True", 4, 11, "lower case"),
        ("container2,true", "container2, true", 4, 37, "white space"),
        ("container1,false", "container1,x,false", 3, 1, "comma"),
        ("5\n2\nc1", "4\n2\nc1", 7, 1, "promises 2 edge lines, 3 lines"),
        ("5\n2\nc1", "5\n1\nc1", 9, 1, "promises 1 edge lines, 2 lines"),
        ("5\n2\nc1", "6\n2\nc1", 8, 1, "expected 5 fields"),
        ("5\n2\nc1", "x\n2\nc1", 1, 1, "number of nodes"),
        ("5\n2\nc1", "0\n2\nc1", 1, 1, "from 1 to"),
        ("5\n2\nc1", "5\n9999999\nc1", 2, 1, "fewer than"),
        ("5\n2\nc1", " 5\n2\nc1", 1, 1, "number of nodes"),
        ("dist[", "Dist[", 8, 1, "lower case"),
        ("dist[", "dist [", 8, 1, "lower case"),
        ("dist[1->2;", "dist[1,2->3;", 8, 6, "exactly one source"),
        ("reduce[3,4->5]", "reduce[3,4->5,2]", 9, 8, "exactly one target"),
        ("reduce[3,4->5]", "reduce[3->5]", 9, 8, "at least two sources"),
        ("2->3,4]", "2->3,4;]", 8, 18, "an edge such as"),
        ("2->3,4]", "2->3,4", 8, 17, "ends with"),
        ("2->3,4]", "2>3,4]", 8, 11, "an edge such as"),
        ("2->3,4]", "2->3,x]", 8, 16, "node's number"),
        ("2->3,4]", "2->3,9]", 8, 1, "names node 9"),
        ("1->2;", "1->2;1->2;", 8, 1, "duplicate edge"),
        ("1->2;2->3,4", "1->2;2->3,4;3->1", 8, 1, "must be the entry"),
        ("reduce[3,4->5]\n", "reduce[3,4->5]", 9, 15, "newline"),
        ("false,64\ndist", "false,64.5\ndist", 7, 43, "whole number"),
        ("false,64\ndist", "false,064\ndist", 7, 43, "whole number"),
        ("2\nc1", "2\r\nc1", 2, 2, "LF"),
        ("false,64\ndist", "false,64\n\ndist", 8, 1, "promises 2 edge lines, 3 lines"),
    ],
)
def test_what_earg_would_misread_is_refused_with_line_and_column(
    old: str, new: str, line: int, column: int, words: str
) -> None:
    assert STATIC.count(old) == 1
    with pytest.raises(ConfigError, match=words) as caught:
        read_static(STATIC.replace(old, new))
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("dist", "reduce", "words"),
    [
        ([((1,), (2,)), ((1,), (3,))], [], "one sink"),
        ([((1,), (2, 3)), ((2,), (4,)), ((3,), (4,))], [], "exactly one dist input"),
        (
            [
                ((1,), (2, 3, 4)),
            ],
            [((2, 3), (4,))],
            "exactly one dist input",
        ),
        ([((1,), (2,)), ((4,), (3,)), ((3,), (4,))], [], "cycle"),
        ([((1,), (2,))], [], "nothing flows into node 3"),
    ],
)
def test_a_graph_that_earg_cannot_answer_is_not_written(
    dist: list[tuple[tuple[int, ...], tuple[int, ...]]],
    reduce: list[tuple[tuple[int, ...], tuple[int, ...]]],
    words: str,
) -> None:
    count = max(i for edge in (*dist, *reduce) for side in edge for i in side)
    config = StaticConfig(
        nodes(max(count, 3)), tuple(Edge(*e) for e in dist), tuple(Edge(*e) for e in reduce)
    )
    with pytest.raises(ConfigError, match=words):
        write_static(config)


CHOICES = """\
5
1
a,1,image,false,1
b,1,image,false,1
c,1,image,true,1
d,1,image,false,1
e,1,image,false,1
dist[1->2,3,4;3->5;2->5]
"""

CHOICES_RUNTIME = (
    "g-1\n5\n1\nfrontend,f,127.0.3.1\n"
    + "".join(
        f"{name},1,image,false,1,m,m,127.0.3.{at},p,p,127.0.3.{at}\n"
        for at, name in enumerate("abcde", 2)
    )
    + "dist[1->2,3,4;3->5;2->5]\n"
)


def test_with_choices_a_graph_may_merge_and_have_several_sinks() -> None:
    config = read_static(CHOICES, choices=True)
    assert config.sources_of(5) == (3, 2)
    assert config.sinks() == (4, 5)
    assert write_static(config, choices=True) == CHOICES
    runtime = read_runtime(CHOICES_RUNTIME, choices=True)
    assert write_runtime(runtime, choices=True) == CHOICES_RUNTIME


def test_without_choices_the_same_graph_is_refused() -> None:
    config = read_static(CHOICES, choices=True)
    runtime = read_runtime(CHOICES_RUNTIME, choices=True)
    for refused in (
        lambda: read_static(CHOICES),
        lambda: write_static(config),
        lambda: read_runtime(CHOICES_RUNTIME),
        lambda: write_runtime(runtime),
    ):
        with pytest.raises(ConfigError, match="exactly one dist input"):
            refused()


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        ("dist[1->2,3,4,5]\nreduce[2,3->4]", "1 dist and 1 reduce inputs"),
        ("dist[1->2,3,4]\nreduce[2,3->5;4,1->5]", "0 dist and 2 reduce inputs"),
        ("dist[1->2,3,4;2->5;5->2]", "cycle"),
        ("dist[1->2,3,4]", "nothing flows into node 5"),
        ("dist[1->2,3,4;2->5;2->5]", "duplicate edge"),
        ("dist[1->2,3,4,5;2->1]", "must be the entry"),
    ],
)
def test_with_choices_every_other_rule_stays(edges: str, words: str) -> None:
    count = edges.count("\n") + 1
    head = CHOICES.partition("dist")[0].replace("\n1\n", f"\n{count}\n", 1)
    with pytest.raises(ConfigError, match=words):
        read_static(f"{head}{edges}\n", choices=True)


@pytest.mark.parametrize("field", ["name", "version", "image"])
@pytest.mark.parametrize("value", ["", "a,b", "a b", "a\n"])
def test_a_field_that_would_shift_the_others_is_not_written(field: str, value: str) -> None:
    spec = dataclasses.replace(nodes(1)[0], **{field: value})
    with pytest.raises(ConfigError, match=field):
        write_static(StaticConfig((spec,)))


def test_a_graph_name_with_a_hyphen_is_not_written() -> None:
    config = dataclasses.replace(read_runtime(RUNTIME), name="simple-dag")
    with pytest.raises(ConfigError, match="splits name-version"):
        write_runtime(config)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("simpledag-test", "simpledag", 1, "name-version"),
        ("simpledag-test", "simple-dag-test", 1, "exactly one '-'"),
        ("127.0.3.1\n", "localhost\n", 4, "IPv4"),
        ("p1id,127.0.3.2", "p1id,127.0.3.256", 5, "IPv4"),
        ("c1,test,image,false", "c1,test,image,true", 5, "stateful node has"),
        (",b2,b2id,127.0.3.4,q2,q2id,127.0.3.4", "", 6, "stateful node has"),
    ],
)
def test_a_damaged_runtime_config_is_refused(old: str, new: str, line: int, words: str) -> None:
    assert old in RUNTIME
    with pytest.raises(ConfigError, match=words) as caught:
        read_runtime(RUNTIME.replace(old, new, 1))
    assert caught.value.line == line


def test_every_prefix_of_a_config_is_refused_not_crashed_on() -> None:
    for text, read in ((STATIC, read_static), (RUNTIME, read_runtime)):
        for length in range(len(text)):
            with pytest.raises(ConfigError):
                read(text[:length])


def test_a_runtime_node_is_a_value() -> None:
    first, again = read_runtime(RUNTIME), read_runtime(RUNTIME)
    assert first == again
    assert hash(first) == hash(again)
    assert isinstance(first.nodes[0], RuntimeNode)
    assert isinstance(first, RuntimeConfig)
