"""Large, hostile and arbitrary input: a graph or diagnostics, in linear time, and nothing else."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import udgl
from tests.udgl.conftest import ROOT
from tests.udgl.fixture_files import FIXTURES, graphs
from tests.udgl.strategies import layouts
from udgl.diagnostics import MOST_DIAGNOSTICS, source_lines
from udgl.parser import LARGEST_TEXT, decode, tokens
from udgl.targets.earg import compile_graph

META = "meta\nname G\nversion 1\n"


def chain(count: int) -> str:
    """A graph of ``count`` operators in a row."""
    lines = [META]
    lines += (
        f"operator op{i}\nversion 1, image reg/op:{i}\nbatch 32, stateful No" for i in range(count)
    )
    lines.append("logical flow\ndistribute")
    lines += (f"op{i} → op{i + 1}" for i in range(count - 1))
    return "\n".join(lines)


def codes(text: str) -> list[str]:
    """The codes of what is wrong with ``text``, all of which stand in its whole message."""
    try:
        udgl.parse(text)
    except udgl.UdglError as error:
        told, found = str(error), error.diagnostics
    else:
        return []
    assert found
    assert all(diagnostic.message in told for diagnostic in found[:20])
    if len(text) < 10_000:
        lines = source_lines(text)
        for span in (diagnostic.span for diagnostic in found if diagnostic.span is not None):
            assert 1 <= span.column <= span.end_column <= len(lines[span.line - 1]) + 2
    codes_found = [diagnostic.code for diagnostic in found]
    # Reading never gives up before that many errors.
    assert "U003" not in codes_found or len(found) == MOST_DIAGNOSTICS + 1
    return codes_found


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.udgl"
    with large.open("wb") as file:
        file.truncate(LARGEST_TEXT + 1)
    with pytest.raises(udgl.UdglError) as caught:
        udgl.load(large)
    assert [d.code for d in caught.value.diagnostics] == ["U002"]


@pytest.mark.parametrize("bad", ["foo 1", "image a:b:c", "version"])
def test_syntax_errors_beyond_the_most_are_only_mentioned(bad: str) -> None:
    found = codes(META + "operator A\nimage a\n" + f"{bad}\n" * (MOST_DIAGNOSTICS * 2))
    assert len(found) == MOST_DIAGNOSTICS + 1
    assert found[-1] == "U003"


def test_errors_of_meaning_beyond_the_most_are_only_mentioned() -> None:
    found = codes(META + "operator A\nimage a\n" * (MOST_DIAGNOSTICS * 2))
    assert len(found) == MOST_DIAGNOSTICS + 1
    assert found[-1] == "U003"


def test_errors_up_to_the_most_are_all_told() -> None:
    text = META + "operator A\nimage a\n" + "foo 1\n" * MOST_DIAGNOSTICS
    assert codes(text) == ["U011"] * MOST_DIAGNOSTICS


MEGABYTE = 1_000_000

HOSTILE = {
    "one word": "x" * MEGABYTE,
    "commas": "," * MEGABYTE,
    "words and commas": "x," * (MEGABYTE // 2),
    "zeros": "\0" * MEGABYTE,
    "spaces": " " * MEGABYTE,
    "line ends": "\n" * MEGABYTE,
    "carriage returns": "\r" * MEGABYTE,
    "a comment": "#" * MEGABYTE,
    "brackets": "([{" * (MEGABYTE // 3),
    "surrogates": "\ud800" * MEGABYTE,
    "keywords": "operator " * (MEGABYTE // 9),
    "section words": "meta flow distribute reduce " * (MEGABYTE // 28),
    "keyword and spaces": "logical" + " " * MEGABYTE,
    "arrows": "flow\ndistribute\n" + "->" * (MEGABYTE // 2),
    "dashes": "flow\ndistribute\na" + "-" * MEGABYTE,
    "names without arrow": "flow\ndistribute\n" + "a " * (MEGABYTE // 2),
    "unknown factors": META + "operator A\n" + "foo," * (MEGABYTE // 4),
    "keys without values": META + "operator A\n" + "image\n" * (MEGABYTE // 6),
    "keys and blank lines": META + "operator A\n" + ("image\n" + "\n" * 999) * (MEGABYTE // 1005),
    "a long image": META + "operator A\nimage " + "a" * MEGABYTE + "!",
    "a deep image": META + "operator A\nimage " + "a/" * (MEGABYTE // 2) + "!",
    "an image of colons": META + "operator A\nimage " + "a:" * (MEGABYTE // 2),
    "a long number": META + "operator A\nimage a, batch " + "9" * MEGABYTE,
    "a long description": "meta\ndescription " + "a, " * (MEGABYTE // 3),
    "misspelt keywords": "oprator x\n" * (MEGABYTE // 10),
    "many unknown names": META
    + "operator A\nimage a\nflow\ndistribute\n"
    + "".join(f"q{i}→r{i}\n" for i in range(5_000)),
    "every pair": META
    + "operator A\nimage a\nflow\nreduce\n"
    + ",".join(f"a{i}" for i in range(5_000))
    + "→"
    + ",".join(f"b{i}" for i in range(5_000)),
    "signs": META + "operator A\n" + "image: a, " * (MEGABYTE // 10),
    "open brackets": META + "operator A\n" + "output a[1,\n" * (MEGABYTE // 12),
    "braces": META + "operator A\n" + "{ " * (MEGABYTE // 2),
    "no comments": META + "operator A\n" + "// x, y\n" * (MEGABYTE // 8),
    "arrows of other languages": "flow\ndistribute\n" + "a=>b\n" * (MEGABYTE // 5),
    "lines that go on": "flow\nswitch\na->b when x == 1,\n" + "b when x == 1,\n" * (MEGABYTE // 15),
    "names in quotes": "flow\ndistribute\n" + '"a"->"b"\n' * (MEGABYTE // 9),
    "other names": "flow\ndistribute\n" + "".join(f"{i}->b\n" for i in range(MEGABYTE // 9)),
    "misspelt steps": META + "operator A\nbatch 3" + ", 4 form epoch" * (MEGABYTE // 14),
    "conditions": META + "flow\nswitch\nA → " + "B when x == 1, " * (MEGABYTE // 60),
    "a condition of quotes": META + "flow\nswitch\nA → B when " + '"' * MEGABYTE,
    "a condition without end": META + 'flow\nswitch\nA → B when x == "' + "\\" * MEGABYTE,
    "a condition of many": META + "flow\nswitch\nA → B when " + "x == 1 and " * (MEGABYTE // 11),
    "cases of one line each": META
    + "flow\nswitch\n"
    + "".join(f"A → B when x == {i}\n" for i in range(20_000)),
    "whens": META + "flow\nswitch\nA → " + "when " * (MEGABYTE // 5),
    "shares": META + "flow\nsplit\nA → " + "B 90 %, " * (MEGABYTE // 32),
    "shares without weights": META + "flow\nsplit\nA → " + "B, " * (MEGABYTE // 3),
    "a weight of zeros": META + "flow\nsplit\nA → B " + "0" * MEGABYTE + "%",
    "env": META + "operator A\n" + "env A=1\n" * (MEGABYTE // 32),
    "an env without end": META + 'operator A\nenv A="' + "\\" * MEGABYTE,
    "an env of nonsense": META + 'operator A\nenv A="' + "\\x" * (MEGABYTE // 2) + '"',
    "defaults for many operators": META
    + "defaults\n"
    + "".join(f"env A{i}=1\nparam A{i}=1\n" for i in range(4_000))
    + "".join(f"operator B{i}, image a, train a:b, env C=1\n" for i in range(4_000)),
    "steps": META + "operator A\nbatch 1" + ", 2 from epoch 3" * (MEGABYTE // 64),
    "a step of digits": META + "operator A\nbatch 1, " + "9" * MEGABYTE + " from epoch 3",
    "an epoch of digits": META + "operator A\nbatch 1, 2 from epoch " + "9" * MEGABYTE,
    "an amount of digits": META + "operator A\nmemory " + "9" * MEGABYTE + "MB",
    "a number of digits": META + "operator A\ncpu 1." + "0" * MEGABYTE,
    "a power of digits": META + "operator A\nlearning-rate 1e" + "9" * MEGABYTE,
    "a time of digits": META + "operator A\nwait 0." + "0" * MEGABYTE + "1ms",
    "a patience of digits": META + "operator A\nearly-stop " + "9" * MEGABYTE,
    "a count of digits": META + "operator A\nreplicas " + "9" * MEGABYTE,
    "spaces in a limit": META + "operator A\nbatch dynamic" + " " * MEGABYTE + "x",
    "a deep tensor": META + "operator A\ninput fp32[" + "1x" * (MEGABYTE // 2),
    "a deep module": META + "operator A\nentrypoint " + "a." * (MEGABYTE // 2),
    "a label": META + "operator A\nhost " + "a=/" * (MEGABYTE // 3) + "!",
    "a value without end": META + 'operator A\ndataset "' + "a" * MEGABYTE,
    "platforms": META + "platform " + "a," * (MEGABYTE // 2) + ",".join(map(str, range(20_000))),
    "a ring": chain(1_500) + "\nop1499 → op0",
    "many cycles": chain(1_500) + "".join(f"\nop{i + 1} → op{i}" for i in range(1_499)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_gets_diagnostics_in_little_time(name: str) -> None:
    udgl.parse(chain(2))
    start = time.process_time()
    assert codes(HOSTILE[name])
    with contextlib.suppress(udgl.UdglError):
        udgl.format_text(HOSTILE[name])
    # The slowest takes about 2 s on a slow machine; quadratic time would take minutes.
    assert time.process_time() - start < 20


@pytest.mark.slow
def test_the_time_for_a_graph_is_linear_in_its_size() -> None:
    udgl.parse(chain(2))

    def seconds(count: int) -> float:
        text = chain(count)
        start = time.process_time()
        compile_graph(udgl.parse(text))
        return time.process_time() - start

    # What other tests have left on the heap takes the collector time that is not ours.
    gc.collect()
    gc.freeze()
    try:
        small = min(seconds(300) for _ in range(3))
        large = min(seconds(2_400) for _ in range(3))
    finally:
        gc.unfreeze()
    # Eight times the size: quadratic time would be 64 times as long.
    assert large < 30 * small


@pytest.mark.slow
def test_a_graph_of_100_000_operators_is_read_in_seconds() -> None:
    start = time.process_time()
    graph = udgl.parse(chain(100_000))
    assert len(graph.operators) == 100_000
    assert compile_graph(graph).files[0].text.startswith("100000\n1\nop0,1,reg/op:0,false,32\n")
    assert time.process_time() - start < 60


def grown(count: int) -> str:
    """A graph of ``count`` operators, of which each third one chooses, with many factors."""
    lines = [META, "defaults", "wait 5ms, timeout 2s, env LANG=en", "memory 512MiB, cpu 0.5"]
    for i in range(count):
        lines += (
            f"operator op{i}, image reg/op:{i}",
            f"batch dynamic 32, latency 50ms, replicas 2, env N={i}, output json  # op {i}",
        )
    lines.append("flow")
    for i in range(0, count - 3, 3):
        cases = f'op{i + 1} when label == "{i}", op{i + 2} otherwise'
        lines += ("switch", f"op{i} → {cases}", "reduce", f"op{i + 1}, op{i + 2} → op{i + 3}")
    return "\n".join(lines)


MEASURE = """
import re, sys, time
import udgl
text = sys.stdin.read()
begin = time.process_time()
graph = udgl.parse(text)
assert len(graph.operators) == int(sys.argv[1])
seconds = time.process_time() - begin
# Of this program alone: what getrusage tells begins with the peak of the process that started it.
kilobytes = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]
print(seconds, int(kilobytes) / 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_graph_of_100_000_operators_takes_linear_time_and_bounded_memory() -> None:
    def measured(count: int) -> tuple[float, float]:
        done = subprocess.run(
            [sys.executable, "-X", "utf8", "-c", MEASURE, str(count)],
            input=grown(count),
            capture_output=True,
            encoding="utf-8",
            check=True,
            cwd=ROOT,
        )
        seconds, megabytes = map(float, done.stdout.split())
        return seconds, megabytes

    few, _ = measured(10_000)
    many, megabytes = measured(100_000)
    # Ten times as much; were it quadratic in anything, it would take a hundred times as long.
    assert many < 30 * few
    # 45 times the text; were it quadratic in anything, it would be thousands.
    assert megabytes < 1_200


WORDS = st.sampled_from(
    [
        *("meta", "name", "version", "description", "owner", "tags", "schedule"),
        *("operator", "image", "batch", "stateful", "logical", "flow", "distribute", "reduce"),
        *(
            "→",
            "->",
            ",",
            "\n",
            "\n",
            "\n",
            "\r\n",
            "\t",
            " ",
            " ",
            "#",
            "-",
            ">",
            "A",
            "b-c",
            "D.e",
        ),
        *("1", "0", "-1", "32", "Yes", "no", "a/b:c", "x@sha256:0a", "é", "\0", "\ufeff", "\u2028"),
        *("switch", "split", "when", "otherwise", "if", "else", "90%", "90", '"', '"x"', "'", "=="),
        *(
            "defaults",
            "batch: 3",
            "image=a",
            ":",
            "=",
            "//",
            "{",
            "}",
            "[A",
            "C]",
            "A:",
            "=>",
            "<-",
        ),
        *(
            "and",
            "train a:b",
            "64 from epoch 3",
            "wait 5",
            "env A=1",
            "dynamic",
            "x == 1",
            "epochs",
        ),
        *("switch\nA → B when x == 1, C otherwise\n", "split\nA → B 90%, C 10%\n", "flow:", "A,\n"),
        *("defaults", "switch", "split", "when", "otherwise", "wait", "memory", "env", "train"),
        *("90%", "10 %", "5ms", "2GB", 'A="b # c"', '"', "\\", "a:b", "dynamic 4", "epochs 3"),
        *("64 from epoch 3", "x == 1", "switch\nA → B when x == 1, C otherwise\n", "platform a"),
        *("\x1b", "A → B\n", "operator A\nimage a\n", "flow\ndistribute\n", "reduce\nA, B → C\n"),
    ]
)


def a_graph_or_diagnostics(text: str) -> None:
    found = codes(text)
    if not found:
        graph = udgl.parse(text)
        assert graph.entry() in graph.operators
        assert graph.exits()
        assert udgl.parse(udgl.dumps(graph)) == graph
    if tokens(text) is None:
        with pytest.raises(udgl.UdglError) as caught:
            udgl.format_text(text)
        assert {d.code for d in caught.value.diagnostics} <= set(found)
        return
    formatted = udgl.format_text(text)
    assert udgl.format_text(formatted) == formatted
    assert udgl.examine(formatted)[0] == udgl.examine(text)[0]


@pytest.mark.parametrize(
    "text",
    [
        # LALR's tables let a list of names end before a line end wherever one may stand.
        "switch\nA , else\n",
        META + "operator A\nimage a\nflow\nreduce\nA, B\nA, B → C\n",
        META + "operator A\nimage a\nflow\nsplit\nA, B\nA → B 50%, C 50%\n",
        # A head, and a comment alone between it and the next one.
        "meta\n# c\n\nsplit",
        "split\n\n# c\n\nreduce",
        "flow\n\n# c\n\nswitch",
        "operator A\n\n# c\n\n# d\n\nreduce",
    ],
)
def test_what_once_went_wrong_is_a_graph_or_diagnostics(text: str) -> None:
    a_graph_or_diagnostics(text)


GAPS = ("# c", "", "#d", "  ")
LINES = (
    *("meta", "meta#e", "name G", "version", "platform a,", "defaults", "wait 5ms", "env A=1"),
    *("operator", "operator A", "operator A #h", "operator A, image a", "image a", "batch", "3"),
    *("batch 3, image a", "batch 4, 8 from epoch 3,", "flow", "logical flow # f", "distribute"),
    *("reduce", "reduce #g", "switch", "switch #", "split", "split,", "A → B", "A, B → C", "A, B"),
    *("A,", "b", "A → B when x == 1,", "A → B when x == 1", "A → B 50%, C 50%", "#", " , ", ","),
)


def test_lines_in_any_order_are_a_graph_or_diagnostics() -> None:
    choices = Random(1)
    for _ in range(4_000):
        lines = choices.randint(1, 9)
        kinds = (GAPS if choices.random() < 0.35 else LINES for _ in range(lines))
        a_graph_or_diagnostics("\n".join(map(choices.choice, kinds)))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(WORDS, max_size=80))
def test_any_words_are_a_graph_or_diagnostics(words: list[str]) -> None:
    a_graph_or_diagnostics(" ".join(words))
    a_graph_or_diagnostics("".join(words))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_a_graph_or_diagnostics(text: str) -> None:
    a_graph_or_diagnostics(text)
    a_graph_or_diagnostics(META + text)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_text_or_diagnostics(data: bytes) -> None:
    try:
        text = decode(data)
    except udgl.UdglError as error:
        text, found = str(error), [d.code for d in error.diagnostics]
    else:
        found = []
    assert found in ([], ["U001"])
    a_graph_or_diagnostics(text)


def changed(data: st.DataObject, text: str) -> str:
    """``text`` with some words in other places, gone, or repeated."""
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 20)))
        text = text[:start] + data.draw(WORDS) + text[end:]
    return text


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_valid_graph_with_a_change_is_a_graph_or_diagnostics(data: st.DataObject) -> None:
    files = [FIXTURES / f / f"{name}.udgl" for f in ("valid", "invalid") for name in graphs(f)]
    text = data.draw(st.sampled_from(files)).read_text(encoding="utf-8", errors="replace")
    a_graph_or_diagnostics(changed(data, text))


FUZZ = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.mark.slow
@settings(FUZZ, max_examples=40)
@given(layouts, st.data())
def test_a_layout_with_a_change_is_a_graph_or_diagnostics(
    drawn: tuple[udgl.ServingGraph, str], data: st.DataObject
) -> None:
    a_graph_or_diagnostics(changed(data, drawn[1]))


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(FUZZ, max_examples=600)
@given(layouts, st.data())
def test_many_layouts_with_changes_are_graphs_or_diagnostics(
    drawn: tuple[udgl.ServingGraph, str], data: st.DataObject
) -> None:
    a_graph_or_diagnostics(changed(data, drawn[1]))
