"""What changes from one graph to another, and ``udgl diff``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import udgl
from earg.config import write_static
from tests.udgl.conftest import Run
from tests.udgl.fixture_files import FIXTURES
from udgl.difference import difference
from udgl.graph import Operator, ServingGraph
from udgl.targets.earg import from_static, to_static

SENTIMENT = FIXTURES / "valid/sentiment.udgl"

CHANGES = [
    ("version 3\n\n", "version 4\nowner ml\n\n"),
    (
        "version 1 , image sent/tokenizer:v1\nbatch 32",
        "version 2, image sent/tokenizer:v2\nbatch 64",
    ),
    (
        "operator Conclusion",
        "operator Speller\nversion 1, image sent/speller:v1\noperator Conclusion",
    ),
    ("Senti-Analyzer , Sub-Analyzer → Conclusion", "Sub-Analyzer, Senti-Analyzer → Conclusion"),
    (
        "Tokenizer → Senti-Analyzer , Sub-Analyzer",
        "Tokenizer → Senti-Analyzer, Speller\nSpeller → Sub-Analyzer",
    ),
]
TEXT = """\
graph SentiAnalyzer: version 3 -> 4, owner none -> ml
~ operator Tokenizer: version 1 -> 2, image sent/tokenizer:v1 -> sent/tokenizer:v2, batch 32 -> 64
+ operator Speller: version 1, image sent/speller:v1, batch 1, stateful No
- distribute Tokenizer -> Sub-Analyzer
- reduce Senti-Analyzer, Sub-Analyzer -> Conclusion
+ distribute Tokenizer -> Speller
+ distribute Speller -> Sub-Analyzer
+ reduce Sub-Analyzer, Senti-Analyzer -> Conclusion
"""


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The sentiment graph with every kind of change."""
    text = SENTIMENT.read_text(encoding="utf-8")
    for before, after in CHANGES:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    path = tmp_path / "changed.udgl"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_kind_of_change_is_told_as_people_read_it(changed: Path) -> None:
    found = difference(udgl.load(SENTIMENT), udgl.load(changed))
    assert found
    assert found.topology
    assert str(found) + "\n" == TEXT


def test_the_way_back_is_the_other_way_round(changed: Path) -> None:
    there = difference(udgl.load(SENTIMENT), udgl.load(changed))
    back = difference(udgl.load(changed), udgl.load(SENTIMENT))
    assert (back.removed, back.added) == (there.added, there.removed)
    assert set(back.flows_removed) == set(there.flows_added)
    assert set(back.flows_added) == set(there.flows_removed)
    (one,), (other,) = there.changed, back.changed
    assert [(c.what, c.before, c.after) for c in one.changes] == [
        (c.what, c.after, c.before) for c in other.changes
    ]


@pytest.mark.parametrize("file", sorted((FIXTURES / "valid").glob("*.udgl")), ids=lambda p: p.stem)
def test_a_graph_does_not_differ_from_itself(file: Path) -> None:
    found = difference(udgl.load(file), udgl.load(file))
    assert not found
    assert str(found) == f"graph {udgl.load(file).name}: no difference"


def test_neither_layout_nor_the_order_of_operators_and_edges_is_a_difference() -> None:
    old = udgl.load(SENTIMENT)
    text = (
        "meta\nversion 3\nname SentiAnalyzer\nflow\n"
        "reduce\nSenti-Analyzer, Sub-Analyzer -> Conclusion\n"
        "distribute\nTokenizer -> Sub-Analyzer\nTokenizer -> Senti-Analyzer\n"
        "Trancriber -> Tokenizer\n"
    ) + "".join(
        f"operator {o.name}\nbatch {o.batch}, stateful {o.stateful}, image {o.image}, "
        f"version {o.version}\n"
        for o in reversed(old.operators)
    )
    assert not difference(old, udgl.parse(text))


@pytest.mark.parametrize(
    ("what", "value", "shown"),
    [
        ("version", "4", "version 1 -> 4"),
        ("image", "b", "image a -> b"),
        ("batch", 64, "batch 1 -> 64"),
        ("stateful", True, "stateful No -> Yes"),
    ],
)
def test_each_factor_alone_is_a_difference_of_a_graph_that_can_go_on_serving(
    what: str, value: object, shown: str
) -> None:
    old = ServingGraph("G", "1", (Operator("A", "1", "a"),))
    operator = replace(old.operators[0], **{what: value})
    found = difference(old, replace(old, operators=(operator,)))
    assert found
    assert not found.topology
    assert str(found) == f"~ operator A: {shown}"


def test_every_entry_of_meta_counts() -> None:
    old = ServingGraph("G", "1", (Operator("A", "1", "a"),), tags=("a",))
    new = replace(
        old, name="H", description="it is new", tags=("a", "b"), schedule="@daily", owner="me"
    )
    assert str(difference(old, new)) == (
        "graph H: name G -> H, description none -> 'it is new', owner none -> me, "
        "tags [a] -> [a, b], schedule none -> @daily"
    )
    assert str(difference(new, replace(new, tags=()))) == "graph H: tags [a, b] -> none"


GROWN = """\
meta
name Faces
version 1
operator Detector
image a/d:1, batch 32, env LANG=en, env MODE=fast, wait 5ms
operator Fatigue
image a/f:1, batch 32, 64 from epoch 3, train models.f:fit, epochs 5, param layers=2
operator Echo
image a/e:1, memory 512MiB, replicas 2
operator v1
image a/v1
operator v2
image a/v2
flow
switch
Detector -> Fatigue when label == "drowsy", Echo otherwise
split
Echo -> v1 90%, v2 10%
"""

GROWN_CHANGES = [
    (
        "batch 32, env LANG=en, env MODE=fast, wait 5ms",
        "batch dynamic 64, env LANG=de, latency 50ms",
    ),
    ("64 from epoch 3", "128 from epoch 4"),
    ("epochs 5, param layers=2", "epochs 6, param layers=3, early-stop accuracy 2"),
    ("memory 512MiB, replicas 2", 'cpu 0.5, gpu 1, host gpu-box, env GREETING="hello there"'),
    ('label == "drowsy"', 'label == "asleep"'),
    ("v1 90%, v2 10%", "v1 50%, v2 50%"),
]

GROWN_TEXT = """\
~ operator Detector: batch 32 -> dynamic 64, latency none -> 50ms, env LANG en -> de, \
wait 5ms -> 0, env MODE fast -> none
~ operator Fatigue: batch 32, 64 from epoch 3 -> 32, 128 from epoch 4, epochs 5 -> 6, \
early-stop none -> accuracy 2, param layers 2 -> 3
~ operator Echo: cpu none -> 0.5, gpu 0 -> 1, host none -> gpu-box, \
env GREETING none -> "hello there", replicas 2 -> 1, memory 512MiB -> none
- switch Detector -> Fatigue when label == "drowsy", Echo otherwise
- split Echo -> v1 90%, v2 10%
+ switch Detector -> Fatigue when label == "asleep", Echo otherwise
+ split Echo -> v1 50%, v2 50%"""


def test_every_factor_is_told_in_the_words_of_the_language() -> None:
    text = GROWN
    for before, after in GROWN_CHANGES:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    found = difference(udgl.parse(GROWN), udgl.parse(text))
    assert str(found) == GROWN_TEXT
    told = found.as_json()
    detector, fatigue, echo = told["operators"]["changed"]
    assert detector["changes"] == [
        {"what": "batch", "before": 32, "after": "dynamic 64"},
        {"what": "latency", "before": None, "after": 0.05},
        {"what": "env LANG", "before": "en", "after": "de"},
        {"what": "wait", "before": 0.005, "after": 0.0},
        {"what": "env MODE", "before": "fast", "after": None},
    ]
    assert {"what": "epochs", "before": 5, "after": 6} in fatigue["changes"]
    assert {"what": "memory", "before": 512 * 2**20, "after": None} in echo["changes"]
    assert {"what": "env GREETING", "before": None, "after": "hello there"} in echo["changes"]
    assert told["flows"]["added"] == [
        {
            "kind": "switch",
            "sources": ["Detector"],
            "targets": ["Fatigue", "Echo"],
            "conditions": ['label == "asleep"', None],
        },
        {"kind": "split", "sources": ["Echo"], "targets": ["v1", "v2"], "weights": [50, 50]},
    ]
    assert json.loads(json.dumps(told)) == told


def test_neither_spaces_of_a_condition_nor_the_order_of_shares_and_variables_is_a_difference() -> (
    None
):
    text = (
        GROWN.replace('label == "drowsy"', 'label=="drowsy"')
        .replace("v1 90%, v2 10%", "v2 10%, v1 90%")
        .replace("env LANG=en, env MODE=fast", "env MODE=fast, env LANG=en")
    )
    assert text != GROWN
    assert not difference(udgl.parse(GROWN), udgl.parse(text))


def test_the_order_of_a_switchs_cases_is_a_difference() -> None:
    case = 'Detector -> Fatigue when label == "drowsy", Echo otherwise'
    two = 'Fatigue when label == "drowsy", v1 when score > 0.5'
    other = 'v1 when score > 0.5, Fatigue when label == "drowsy"'
    old = GROWN.replace(case, f"Detector -> {two}, Echo otherwise")
    new = GROWN.replace(case, f"Detector -> {other}, Echo otherwise")
    found = difference(udgl.parse(old), udgl.parse(new))
    assert found.topology
    assert [str(flow) for flow in found.flows_removed] == [
        f"switch Detector -> {two}, Echo otherwise"
    ]


def test_what_could_confuse_a_terminal_is_not_printed() -> None:
    old = ServingGraph("G", "1", (Operator("A", "1", "a"),))
    found = difference(old, replace(old, description="\x1b[31mred\nline"))
    assert str(found).isprintable()
    operator = replace(old.operators[0], host="\x1b[31mred", env=(("A", "\x9b31m"),))
    assert str(difference(old, replace(old, operators=(operator,)))).isprintable()


def test_a_config_says_the_graph_that_it_was_compiled_from() -> None:
    graph = udgl.load(SENTIMENT)
    config = to_static(graph)
    again = from_static(graph.name, graph.version, config)
    assert not difference(graph, again)
    assert write_static(to_static(again)) == write_static(config)


def test_diff_tells_a_difference_by_its_exit_code(udgl_command: Run, changed: Path) -> None:
    done = udgl_command("diff", str(SENTIMENT), str(changed))
    assert (done.returncode, done.stdout.decode(), done.stderr) == (1, TEXT, b"")
    same = udgl_command("diff", "-", str(SENTIMENT), stdin=SENTIMENT.read_bytes())
    assert (same.returncode, same.stdout) == (0, b"graph SentiAnalyzer: no difference\n")


def test_diff_writes_json_for_programs(udgl_command: Run, changed: Path) -> None:
    done = udgl_command("diff", "--format", "json", str(SENTIMENT), str(changed))
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["meta"][0] == {"what": "version", "before": "3", "after": "4"}
    (tokenizer,) = found["operators"]["changed"]
    assert tokenizer["name"] == "Tokenizer"
    assert tokenizer["changes"][-1] == {"what": "batch", "before": 32, "after": 64}
    assert [operator["name"] for operator in found["operators"]["added"]] == ["Speller"]
    assert found["flows"]["removed"][0] == {
        "kind": "distribute",
        "sources": ["Tokenizer"],
        "targets": ["Sub-Analyzer"],
    }
    same = udgl_command("diff", "--format", "json", str(SENTIMENT), str(SENTIMENT))
    assert same.returncode == 0
    assert json.loads(same.stdout)["operators"] == {"added": [], "removed": [], "changed": []}


def test_diff_of_what_cannot_be_compared_is_no_difference_found(
    udgl_command: Run, changed: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.udgl"
    broken.write_text("meta\nverzion 1\n")
    done = udgl_command("diff", str(broken), str(tmp_path / "missing.udgl"))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"broken.udgl:2:1: U011" in done.stderr
    assert b"missing.udgl: No such file" in done.stderr
    assert udgl_command("diff", "-", "-").returncode == 2
    assert udgl_command("diff", str(changed)).returncode == 2


def test_a_large_graph_is_compared_in_a_blink() -> None:
    operators = tuple(Operator(f"O{i}", "1", "a") for i in range(50_000))
    old = ServingGraph("G", "1", operators)
    new = replace(old, operators=(*operators[:-1], replace(operators[-1], batch=2)))
    assert len(difference(old, new).changed) == 1
