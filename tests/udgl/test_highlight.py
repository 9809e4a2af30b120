"""The scanner and the Pygments lexer: every word is coloured, every character is kept."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pygments.token import Error, Keyword, Name

import udgl
from tests.udgl.fixture_files import FIXTURES, graphs
from udgl.editor.scanner import Kind, scan
from udgl.highlight import CLASSES, UdglLexer, lines
from udgl.vocabulary import BLOCKS, ENTRIES, FACTORS, SECTIONS

ROOT = Path(__file__).parents[2]
VALID = [*(FIXTURES / "valid").glob("*.udgl"), *(FIXTURES / "earg").glob("*.udgl")]

EVERYTHING = """meta
name Everything, version 1.2-rc1
description All words, all at once # but not this
owner Team A
tags nlp, speech
schedule 0 5 * * 1,3
platform kserve
engine local
defaults
batch dynamic 64, wait 5ms, env A="x, # y", env B=c
operator A
batch 32, 64 from epoch 3, 128 from epoch 6
image
  a/b:1
version 2
stateful
  No
entrypoint a.b:C
latency 50ms, timeout 1.5 s, retries 2, replicas 2, backup 1, cpu 0.5
memory 512 MiB, gpu 1, host zone/a=b, input audio/wav, output fp32[3x?]
train a.b:c, epochs 10, learning-rate 1e-3, early-stop accuracy 3, dataset "a, b", param k=v
operator B
image b
operator when
image when
operator C
image c
logical flow
distribute
A → B
switch
B -> when when label == "dro, wsy" and x.y >= 0.5, C otherwise
flow
split
when -> C 90%, A 10 %
reduce
A, B → C
"""

words = st.sampled_from(
    [
        *(*SECTIONS, *BLOCKS, *ENTRIES, *FACTORS, "logical flow", "when", "otherwise", "A", "B-"),
        *("->", "→", ",", "\n", "\r\n", "\r", "#", " ", "\t", '"', "\\", "%", "90%", "dynamic"),
        *("64 from", "epoch 3", "5ms", "=", "\ufeff", "\u2028", "\f", "\0", "é", "😋", "==", "Yes"),
    ]
)
texts = st.lists(st.one_of(words, st.text(max_size=5)), max_size=60).map(" ".join) | st.lists(
    words, max_size=60
).map("".join)


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8")


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_nothing_in_a_graph_is_an_error(path: Path) -> None:
    text = text_of(path)
    found = list(UdglLexer().get_tokens_unprocessed(text))
    assert [piece for _, kind, piece in found if kind is Error] == []
    assert "".join(piece for _, _, piece in found) == text


def test_every_word_of_the_language_is_coloured() -> None:
    found = [(kind, EVERYTHING[start:end]) for kind, start, end, _ in scan(EVERYTHING)]
    assert [word for kind, word in found if kind is Kind.ERROR] == []
    keys = {word for kind, word in found if kind is Kind.KEY}
    assert keys == {*ENTRIES, *FACTORS}
    assert {w for k, w in found if k is Kind.BLOCK} == {*BLOCKS}
    sections = {w for k, w in found if k is Kind.SECTION}
    assert sections == {*SECTIONS, "logical flow"} - {"logical"}
    assert {w for k, w in found if k is Kind.MODIFIER} == {
        *("dynamic", "from", "epoch", "when", "otherwise", "and")
    }
    assert {kind for kind, _ in found} == {*Kind} - {Kind.ERROR}


@pytest.mark.parametrize("name", graphs("valid"))
def test_names_are_where_the_parser_reads_names(name: str) -> None:
    text = text_of(FIXTURES / "valid" / f"{name}.udgl")
    graph = udgl.parse(text)
    found = list(scan(text))
    declared = [text[t.start : t.end] for t in found if t.kind is Kind.DECLARATION]
    assert declared == [operator.name for operator in graph.operators]
    named = [text[t.start : t.end] for t in found if t.kind is Kind.REFERENCE]
    assert set(named) == {name for edge in graph.edges() for name in edge}


@given(texts)
@settings(max_examples=150, deadline=None)
def test_every_character_of_any_text_is_kept(text: str) -> None:
    found = list(UdglLexer().get_tokens_unprocessed(text))
    assert "".join(piece for _, _, piece in found) == text
    assert all(piece for _, _, piece in found)
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert "\n".join("".join(piece for _, piece in line) for line in lines(text)) == plain


HOSTILE = {
    "blank lines after a factor": "operator a\nversion\n" + "\n" * 100_000,
    "comments after a factor": "operator a\nversion\n" + "#\n" * 50_000 + "1",
    "one word": "a" * 100_000,
    "one number": "operator a\nwait " + "1" * 100_000 + "x",
    "spaces": "operator a\nbatch dynamic" + " " * 100_000 + "x",
    "dashes": "flow\ndistribute\n" + "-" * 100_000,
    "quotes": "flow\nswitch\na -> b when " + '"\\' * 50_000,
    "commas": "operator a\n" + "," * 100_000,
    "logical": "logical " * 12_000,
    "steps": "operator a\n" + "1 from epoch " * 8_000,
    "arrows": "flow\ndistribute\n" + "->" * 50_000,
    "shares": "flow\nsplit\na -> b " + "1 " * 50_000,
    "signs": "flow\nswitch\na -> b when " + "=1e" * 30_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_costs_no_more_than_its_length(name: str) -> None:
    # 100,000 characters: a second at most where the time is linear, else at least several.
    start = time.process_time()
    for _ in UdglLexer().get_tokens_unprocessed(HOSTILE[name]):
        pass
    assert time.process_time() - start < 3


def test_lines_have_classes_that_pages_draw() -> None:
    assert lines("operator A # why\n") == [
        [("key", "operator"), ("", " "), ("name", "A"), ("", " "), ("comment", "# why")],
        [],
    ]
    found = {name for line in lines(EVERYTHING) for name, _ in line}
    assert found == {*CLASSES, ""}


def test_the_lexer_tells_udgl_from_other_text() -> None:
    assert UdglLexer.analyse_text(EVERYTHING) > 0.5
    assert UdglLexer.analyse_text("import os\nprint(1)\n") == 0.0


def test_pygments_colours_a_file_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.udgl"
    path.write_text("operator A\nimage a\n", encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pygments", "-x", "-f", "raw"),
            *("-l", f"{ROOT}/udgl/highlight.py:UdglLexer", str(path)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=True,
    )
    raw = done.stdout.split("\n")
    assert raw[0] == f"{Keyword.Declaration!r}\t'operator'"
    assert f"{Name.Class!r}\t'A'" in raw
