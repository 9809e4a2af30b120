"""Extras: read strictly, written canonically, and checked against their graph."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earg.choosing import Case, Share, Split, Switch
from earg.condition import holds, parse_condition
from earg.config import Edge, NodeSpec, StaticConfig, read_static, write_static
from earg.extras import (
    MAX_CPU,
    MAX_GPUS,
    MAX_MEMORY,
    MAX_TEXT,
    Extras,
    ExtrasError,
    NodeExtras,
    check_extras,
    read_extras,
    write_extras,
)
from earg.images import Implementation
from earg.plan import Plan, read_plan
from earg.platform import PairOrder
from tests.earg.test_condition import conditions
from tests.earg.test_guards import nested_graphs

DOCUMENT = Path(__file__).parents[2] / "docs" / "extras.md"

CONFIG = StaticConfig(
    tuple(
        NodeSpec(name, "1", "image", name == "Memory", 8)
        for name in ("Detector", "Fatigue", "Echo", "Router", "v1", "v2", "Memory")
    ),
    (
        Edge((1,), (2, 3)),
        Edge((2,), (4,)),
        Edge((3,), (4,)),
        Edge((4,), (5, 6)),
        Edge((5,), (7,)),
        Edge((6,), (7,)),
    ),
)

TEXT = """\
nodes:
  Detector: {replicas: 2, wait: 5ms, latency: 50 ms, timeout: 10s}
  Echo: {timeout: 2m}
switch:
  Detector:
    - {to: Fatigue, when: 'label == "drowsy"'}
    - {to: Echo}
split:
  Router: {v2: 10, v1: 90}
"""

EXTRAS = Extras(
    nodes=((1, NodeExtras(2, 0.005, 0.05, 10.0)), (3, NodeExtras(timeout=120.0))),
    switches=(Switch(1, (Case(2, parse_condition('label == "drowsy"')), Case(3))),),
    splits=(Split(4, (Share(5, 90), Share(6, 10))),),
)

CANONICAL = (
    '{"nodes": {"Detector": {"latency": 0.05, "replicas": 2, "timeout": 10.0, "wait": 0.005}, '
    '"Echo": {"timeout": 120.0}}, "split": {"Router": {"v1": 90, "v2": 10}}, '
    '"switch": {"Detector": [{"to": "Fatigue", "when": "label == \\"drowsy\\""}, '
    '{"to": "Echo"}]}}\n'
)

CHAIN = StaticConfig(CONFIG.nodes[:2], (Edge((1,), (2,)),))


def test_what_a_person_writes_is_read() -> None:
    assert read_extras(TEXT, CONFIG) == EXTRAS
    assert hash(read_extras(TEXT, CONFIG)) == hash(EXTRAS)


def test_the_canonical_text_is_stable_and_reads_back() -> None:
    assert write_extras(EXTRAS, CONFIG) == CANONICAL
    assert read_extras(CANONICAL, CONFIG) == EXTRAS


def test_a_proxy_that_reads_the_canonical_text_loads_no_yaml(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert read_extras(CANONICAL, CONFIG) == EXTRAS
    with pytest.raises(ImportError):
        read_extras(TEXT, CONFIG)


def test_extras_answer_for_each_node() -> None:
    assert EXTRAS.of(1).replicas == 2
    assert EXTRAS.of(2) == NodeExtras() == EXTRAS.of(99)
    assert EXTRAS.choice_of(1) == EXTRAS.switches[0]
    assert EXTRAS.choice_of(4) == EXTRAS.splits[0]
    assert EXTRAS.choice_of(2) is None


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "{}", "nodes: {}", "nodes:\nswitch:\n"])
def test_no_extras_are_the_empty_text(text: str) -> None:
    extras = read_extras(text, CHAIN)
    assert extras == Extras()
    assert not extras
    assert write_extras(extras, CHAIN) == ""


def test_what_says_the_defaults_says_nothing() -> None:
    extras = read_extras("nodes: {Detector: {replicas: 1, wait: 0}, Fatigue: {}}", CHAIN)
    assert extras == Extras(((2, NodeExtras()),)) == Extras()


def test_names_that_yaml_would_take_for_something_else_are_names() -> None:
    specs = tuple(NodeSpec(name, "1", "image", False, 1) for name in ("yes", "No", "1", "null"))
    config = StaticConfig(specs, (Edge((1,), (2, 3, 4)),))
    text = "split: {yes: {No: 50, 1: 25, null: 25}}"
    extras = read_extras(text, config)
    assert extras.splits == (Split(1, (Share(2, 50), Share(3, 25), Share(4, 25))),)
    assert read_extras(write_extras(extras, config), config) == extras
    switch = 'switch: {yes: [{to: No, when: "a == 1"}, {to: "1", when: "a == 2"}, {to: "null"}]}'
    assert [case.target for case in read_extras(switch, config).switches[0].cases] == [2, 3, 4]
    with pytest.raises(ExtrasError, match="case 2: expected the name of an operator, found 1;"):
        read_extras(switch.replace('"1"', "1"), config)


seconds = st.floats(0, 60, exclude_min=True)
node_extras = st.builds(
    NodeExtras,
    replicas=st.integers(1, 64),
    wait=st.floats(0, 60),
    latency=st.none() | seconds,
    timeout=st.none() | seconds,
    cpu=st.none() | st.floats(0, MAX_CPU, exclude_min=True),
    memory=st.none() | st.integers(1, MAX_MEMORY),
    gpu=st.integers(0, MAX_GPUS),
    host=st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_./=-]{0,252}", fullmatch=True),
)


@settings(deadline=None)
@given(nested_graphs(), st.data())
def test_every_valid_extras_read_back_equal(
    case: tuple[StaticConfig, dict[int, tuple[int, ...]]], data: st.DataObject
) -> None:
    config, ways = case
    switches, splits = [], []
    for source, targets in ways.items():
        if data.draw(st.booleans()):
            given_ = data.draw(
                st.lists(
                    conditions(), min_size=len(targets), max_size=len(targets) + 2, unique=True
                )
            )
            cases = [Case(targets[n % len(targets)], c) for n, c in enumerate(given_)]
            if data.draw(st.booleans()):
                cases.append(Case(targets[0]))
            switches.append(Switch(source, tuple(cases)))
        else:
            first = 100 - (len(targets) - 1)
            shares = [Share(t, 1 if n else first) for n, t in enumerate(targets)]
            splits.append(Split(source, tuple(shares)))
    indexes = data.draw(st.sets(st.integers(1, len(config.nodes))))
    nodes = tuple((index, data.draw(node_extras)) for index in indexes)
    extras = Extras(nodes, tuple(switches), tuple(splits))
    try:
        text = write_extras(extras, config)
    except ExtrasError:  # a graph that was broken on purpose
        with pytest.raises(ExtrasError):
            check_extras(config, extras)
        return
    assert read_extras(text, config) == extras
    assert write_extras(read_extras(text, config), config) == text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("nodes:", "node:", r"extras: unknown key 'node'; did you mean 'nodes'\?"),
        ("replicas: 2", "replica: 2", r"nodes, Detector: unknown key 'replica'; did you mean"),
        ("  Echo: {", "  Ecko: {", r"nodes: .* no operator called 'Ecko'; did you mean 'Echo'\?"),
        ("  Echo: {", "  detector: {", r"called 'detector'; did you mean 'Detector'\?"),
        ("  Echo: {", "  Detector: {", "line 3, column 3: the key 'Detector' comes twice"),
        ("replicas: 2", "replicas: '2'", "nodes, Detector: replicas: .* from 1 to 64, found '2'"),
        ("replicas: 2", "replicas: 2.0", "whole number"),
        ("replicas: 2", "replicas: true", "found true"),
        ("replicas: 2", "replicas: 0", "found 0"),
        ("replicas: 2", "replicas: 65", "found 65"),
        ("replicas: 2", "replicas: [2]", "found a list"),
        ("wait: 5ms", "wait: '5'", "nodes, Detector: wait: expected a time such as 5ms"),
        ("wait: 5ms", "wait: 5 parsecs", "found '5 parsecs'"),
        ("wait: 5ms", "wait: true", "found true"),
        ("wait: 5ms", "wait: null", "found nothing"),
        ("wait: 5ms", "wait: .nan", "found '.nan'"),
        ("wait: 5ms", "wait: NaN", "found 'NaN'"),
        ("wait: 5ms", "wait: 1e999", "wait: expected a time such as .*found inf"),
        ("wait: 5ms", "wait: -1", "wait: expected a time from 0 s to 60 s, found -1"),
        ("wait: 5ms", "wait: 61s", "wait: expected a time from 0 s to 60 s, found 61.0"),
        ("latency: 50 ms", "latency: 0", "latency: expected a time above 0 s to 86400 s"),
        ("timeout: 2m", "timeout: 25h", "nodes, Echo: timeout: expected a time above 0 s"),
        ("{timeout: 2m}", "{cpu: 0}", "nodes, Echo: cpu: expected cores above 0 to 1024"),
        ("{timeout: 2m}", "{cpu: 1025}", "found 1025"),
        ("{timeout: 2m}", "{cpu: '1'}", "nodes, Echo: cpu: expected a number of cores, found '1'"),
        ("{timeout: 2m}", "{cpu: true}", "cpu: expected a number of cores, found true"),
        ("{timeout: 2m}", "{cpu: 1e999}", "cpu: expected cores .*found inf"),
        (
            "{timeout: 2m}",
            "{memory: 0}",
            "nodes, Echo: memory: expected an amount from 1 B to 1024",
        ),
        (
            "{timeout: 2m}",
            "{memory: 1.5}",
            "nodes, Echo: memory: expected an amount such as 512MiB",
        ),
        ("{timeout: 2m}", "{memory: 1.5B}", "found '1.5B'"),
        ("{timeout: 2m}", "{memory: 2 GiBs}", "found '2 GiBs'"),
        ("{timeout: 2m}", "{memory: 1025TiB}", "memory: expected an amount from 1 B to 1024 TiB"),
        ("{timeout: 2m}", "{memory: null}", "found nothing"),
        ("{timeout: 2m}", "{gpu: 1.0}", "nodes, Echo: gpu: expected a whole number from 0 to 1024"),
        ("{timeout: 2m}", "{gpu: -1}", "found -1"),
        ("{timeout: 2m}", "{host: -a}", "nodes, Echo: host: expected a label .*found '-a'"),
        ("{timeout: 2m}", "{host: a b}", "found 'a b'"),
        ("{timeout: 2m}", "{host: 7}", "host: expected a label .*found 7"),
        ("{timeout: 2m}", f"{{host: {'a' * 254}}}", "at most 253 of them"),
        ("{timeout: 2m}", "2m", "nodes, Echo: expected a mapping, found '2m'"),
        ("to: Fatigue", "to: Fatige", r"switch of Detector, case 1: .*did you mean 'Fatigue'\?"),
        ("to: Fatigue", "to: v1", "Detector does not distribute to v1; it does to Fatigue, Echo"),
        ("to: Fatigue", "to: Echo", "no case leads to Fatigue"),
        ("{to: Fatigue, ", "{", "switch of Detector, case 1: 'to' is missing"),
        ("to: Echo}", "to: Echo, whem: x}", "case 2: unknown key 'whem'; did you mean 'when'"),
        ("label ==", "label =", "switch of Detector, case 1: when: column 7: .*use '=='"),
        ("'label == \"drowsy\"'", "", "case 1: 'when' is a condition .*found nothing"),
        ("'label == \"drowsy\"'", "true", "case 1: 'when' is a condition .*found true"),
        (", when: 'label == \"drowsy\"'", "", "switch of Detector: case 1 has no condition"),
        ("switch:\n  Detector:", "switch:\n  Memory:", "switch of Memory: it distributes to noth"),
        ("v2: 10, v1: 90", "v2: 10, v1: 89", "split of Router: .*these sum to 99"),
        ("v2: 10, v1: 90", "v2: 10.0, v1: 90", "split of Router: .*not 10.0"),
        ("v2: 10, v1: 90", "v2: '10', v1: 90", "not '10'"),
        ("v2: 10, v1: 90", "v1: 100", "split of Router: no share leads to v2"),
        ("{v2: 10, v1: 90}", "[v1, v2]", "split of Router: expected a mapping, found a list"),
        ("  Router: {v2: 10, v1: 90}", "  Detector: {Fatigue: 1, Echo: 99}", "has a split as well"),
        ("split:\n  Router: {v2: 10, v1: 90}\n", "", "Memory would compute a request twice"),
        ("Echo: {timeout: 2m}", "Memory: {replicas: 2}", "nodes, Memory: replicas: a stateful"),
        ("nodes:", "- nodes:", "this is not YAML"),
    ],
)
def test_a_fault_is_refused_with_its_place(old: str, new: str, words: str) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(ExtrasError, match=words):
        read_extras(TEXT.replace(old, new), CONFIG)


@pytest.mark.parametrize("text", ["[1]", "text", "5", "[" * 5000, "a: *b", "x" * (MAX_TEXT + 1)])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ExtrasError):
        read_extras(text, CHAIN)


def test_a_cut_text_is_refused_or_says_less_but_never_crashes() -> None:
    for length in range(len(CANONICAL)):
        try:
            read = read_extras(CANONICAL[:length], CONFIG)
        except ExtrasError:
            continue
        assert read == EXTRAS
        assert length == len(CANONICAL) - 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5ms", 0.005), ("50 ms", 0.05), ("1.5s", 1.5), ("0.5m", 30.0), ("7", 7.0), ("0.1", 0.1)],
)
def test_times(text: str, expected: float) -> None:
    extras = read_extras(f"nodes: {{Detector: {{wait: {text}}}}}", CHAIN)
    assert extras.of(1).wait == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512MiB", 2**29),
        ("512 Mi", 2**29),
        ("1.5 GB", 1_500_000_000),
        ("2TiB", 2**41),
        ("100B", 100),
        ("7", 7),
        ("3KB", 3000),
        ("3 kB", 3000),
    ],
)
def test_amounts_of_memory(text: str, expected: int) -> None:
    extras = read_extras(f"nodes: {{Detector: {{memory: {text}}}}}", CHAIN)
    assert extras.of(1).memory == expected


SHARES = ({"cpu": 0.5}, {"memory": 2**29}, {"gpu": 1}, {"host": "gpu-box"})


@pytest.mark.parametrize("share", SHARES, ids=lambda share: next(iter(share)))
def test_another_share_of_a_machine_is_another_container_but_no_other_process(
    share: dict[str, Any],
) -> None:
    order = PairOrder("g", "1", planned(), 1, 0, IMPLEMENTATION)
    other = replace(order, plan=planned(**share))
    assert order.digest == replace(order, plan=planned()).digest != other.digest
    assert other.digest == replace(order, plan=planned(**share)).digest
    # The engine on this machine replaces a node whose implementation is another.
    assert order.plan.implementation(1, IMPLEMENTATION) == other.plan.implementation(
        1, IMPLEMENTATION
    )
    # It is a matter of this node alone.
    assert replace(order, index=2).digest == replace(other, index=2).digest


def test_another_wait_or_batch_limit_starts_no_container_anew() -> None:
    order = PairOrder("g", "1", planned(), 1, 0, IMPLEMENTATION)
    assert replace(order, plan=planned(wait=0.5, latency=0.1)).digest == order.digest
    assert replace(order, plan=planned(timeout=3.0)).digest != order.digest
    nodes = (replace(CHAIN.nodes[0], batch=3), *CHAIN.nodes[1:])
    text = write_static(replace(CHAIN, nodes=nodes))
    assert replace(order, plan=read_plan(text)).digest == order.digest


IMPLEMENTATION = Implementation("", "", (("A", "b"),))


def planned(**extras: Any) -> Plan:
    told = write_extras(Extras(((1, NodeExtras(**extras)),)), CHAIN)
    return read_plan(write_static(CHAIN), told)


def test_operators_that_share_a_name_cannot_be_told_apart() -> None:
    config = StaticConfig((CHAIN.nodes[0], CHAIN.nodes[0]), CHAIN.dist)
    extras = Extras(((2, NodeExtras(replicas=2)),))
    check_extras(config, extras)
    with pytest.raises(ExtrasError, match="several operators called 'Detector'"):
        write_extras(extras, config)
    with pytest.raises(ExtrasError, match="several operators called 'Detector'"):
        read_extras("nodes: {Detector: {replicas: 2}}", config)


def test_a_node_has_one_entry_of_each_kind() -> None:
    with pytest.raises(ExtrasError, match="node 1 has more than one extras"):
        Extras(((1, NodeExtras(2)), (1, NodeExtras(3))))
    with pytest.raises(ExtrasError, match="node 4 has more than one switch or split"):
        Extras(switches=(Switch(4, (Case(5),)),), splits=EXTRAS.splits)


def test_extras_of_another_graph_are_refused() -> None:
    with pytest.raises(ExtrasError, match="names node 3, but there are 2 nodes"):
        check_extras(CHAIN, Extras(((3, NodeExtras(2)),)))
    with pytest.raises(ExtrasError, match="names node 4, but there are 2 nodes"):
        check_extras(CHAIN, dataclasses.replace(EXTRAS, nodes=(), switches=()))


def test_a_graph_that_merges_needs_its_choices() -> None:
    with pytest.raises(ExtrasError, match="Router would compute a request twice"):
        read_extras("", CONFIG)


def fences() -> list[tuple[str, str]]:
    """The document's blocks: what kind of text each says it is, and the text."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)


def document_examples() -> list[tuple[str, str]]:
    """Each YAML example of the document with the EARG config that stands before it."""
    config, found = "", []
    for kind, body in fences():
        if kind == "text":
            config = body
        if kind == "yaml":
            found.append((config, body))
    return found


def test_the_examples_of_the_document_are_read() -> None:
    examples = document_examples()
    assert len(examples) >= 6
    keys = set()
    for text, example in examples:
        config = read_static(text, choices=True)
        assert write_static(config, choices=True) == text
        extras = read_extras(example, config)
        assert extras
        assert read_extras(write_extras(extras, config), config) == extras
        keys |= set(re.findall(r"\w+(?=:)", example))
    named = {field.name for field in dataclasses.fields(NodeExtras)}
    assert keys >= {"nodes", "switch", "split", "to", "when", *named}


def test_the_conditions_of_the_document_hold_as_it_says() -> None:
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| (yes|no) \|$", DOCUMENT.read_text(), re.M)
    assert len(rows) >= 10
    for condition, reply, verdict in rows:
        assert holds(parse_condition(condition), json.loads(reply)) is (verdict == "yes"), condition


def test_the_errors_of_the_document_are_the_real_ones() -> None:
    quoted = [body for kind, body in fences() if not kind]
    assert len(quoted) == 2
    switch = next(text for text, example in document_examples() if "switch" in example)
    config = read_static(switch, choices=True)
    text = "switch: {Detector: [{to: Fatige, when: 'a == 1'}, {to: Echo}]}"
    joined = dataclasses.replace(config, dist=(Edge((1,), (2, 3)),), reduce=(Edge((2, 3), (4,)),))
    for wrong, graph in ((text, config), (text.replace("Fatige", "Fatigue"), joined)):
        with pytest.raises(ExtrasError) as caught:
            read_extras(wrong, graph)
        assert f"{caught.value}\n" in quoted
