"""What editors ask: places, completions, meanings, names, outline, quick fixes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import udgl
from tests.udgl.fixture_files import FIXTURES, graphs
from tests.udgl.test_highlight import EVERYTHING, text_of, texts
from udgl.editor.coloring import semantic_tokens
from udgl.editor.completion import complete
from udgl.editor.document import Document
from udgl.editor.fixes import fix
from udgl.editor.hover import hover
from udgl.editor.naming import Edit, RenameError, definitions, name_at, references, rename
from udgl.editor.outline import Branch, Part, folds, outline
from udgl.editor.positions import ENCODINGS, Lines, units
from udgl.editor.scanner import Kind
from udgl.graph import Span
from udgl.targets import target_names
from udgl.vocabulary import BLOCKS, ENTRIES, FACTORS, SECTIONS

VALID = [FIXTURES / "valid" / f"{name}.udgl" for name in graphs("valid")]
INVALID = [FIXTURES / "invalid" / f"{name}.udgl" for name in graphs("invalid")]


def readable(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace")


def split(text: str) -> tuple[str, int]:
    """``text`` without its ``|``, and where that was."""
    return text.replace("|", "", 1), text.index("|")


def labels(text: str) -> list[str]:
    """What is proposed at the ``|`` of ``text``."""
    return [proposal.label for proposal in complete(*_document(text))]


def _document(text: str) -> tuple[Document, int]:
    plain, offset = split(text)
    return Document(plain), offset


def applied(text: str, edits: list[Edit] | tuple[Edit, ...]) -> str:
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


# ---- places


@given(st.text(st.sampled_from("a→😋\r\n\u2028\f\ufeffé"), max_size=40), st.sampled_from(ENCODINGS))
def test_offsets_and_places_lead_to_each_other(text: str, encoding: str) -> None:
    lines = Lines(text, encoding)
    for offset in range(len(text) + 1):
        place = lines.place(offset)
        back = lines.offset(*place)
        # Between CR and LF there is no place of its own.
        assert back == offset or text[back:offset] == "\r"
    assert lines.offset(10**6, 0) == lines.offset(len(lines) - 1, 10**6) == len(text)
    assert len(lines) == len(re.split(r"\r\n|\r|\n", text))


def test_columns_count_units_of_the_encoding() -> None:
    assert [Lines("é😋x", e).place(2).column for e in ENCODINGS] == [3, 6, 2]
    assert Lines("😋x").offset(0, 1) == 0, "within a character is the character's place"
    assert [units("é😋", encoding) for encoding in ENCODINGS] == [3, 6, 2]


def test_spans_of_the_language_are_found_behind_a_byte_order_mark() -> None:
    assert Lines("\ufeffmeta\r\nname").of_span(Span(1, 1, 5)) == (1, 5)
    assert Lines("\ufeffmeta\r\nname").of_span(Span(2, 1, 5)) == (7, 11)
    assert Lines("a").of_span(Span(9, 9, 12)) == (1, 1)
    assert Lines("a").of_span(None) == (0, 0)


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_every_finding_has_a_place_in_the_text(path: Path) -> None:
    text = readable(path)
    document = Document(text)
    shown = udgl.diagnostics.source_lines(text)
    for finding in document.findings:
        start, end = document.lines.of_span(finding.span)
        assert 0 <= start <= end <= len(text)
        if finding.span is not None and finding.span.line <= len(shown):
            line = shown[finding.span.line - 1]
            expected = line[finding.span.column - 1 : finding.span.end_column - 1]
            assert text[start:end] == expected


# ---- completion


def test_every_word_of_the_language_is_proposed_where_it_stands() -> None:
    assert labels("|")[:2] == ["meta", "operator"]
    assert set(labels("|")) == {*SECTIONS, "logical flow"} - {"logical"}
    assert {*ENTRIES} <= set(labels("meta\n|"))
    assert {*FACTORS} <= set(labels("meta\nname A, version 1\noperator A\n|"))
    assert labels("meta\nengine |") == ["local", "docker", "kubernetes"]
    assert labels("flow\n|")[:4] == [*BLOCKS]
    assert {*BLOCKS} <= set(labels("flow\ndistribute\nA -> B\n|"))
    assert labels("flow\nswitch\nA -> B |") == ["when", "otherwise"]
    assert {"==", "contains", "and"} <= set(labels("flow\nswitch\nA -> B when x |"))
    assert labels("flow\nsplit\nA -> B |") == ["50%"]


def test_a_factor_that_is_given_is_not_proposed_again() -> None:
    found = labels("operator A\nimage a, |\nbatch 3, env A=b\noperator B\nversion 2")
    assert not {"image", "batch"} & set(found)
    assert {"version", "env", "stateful"} <= set(found)
    assert "batch" in labels("operator A\nbat|"), "the word that is being typed is no other one"
    assert not {"image", "entrypoint", "train"} & set(labels("defaults\n|"))


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("operator A\nstateful |", ["Yes", "No"]),
        ("operator A\nstateful Y|", ["Yes", "No"]),
        ("operator A\nimage a, batch |", ["dynamic"]),
        ("operator A\ninput |", ["text", "json", "bytes"]),
        ("operator A\nwait |", ["5ms"]),
        ("meta\nengine |", ["local"]),
        ("meta\nplatform |", list(target_names())),
    ],
)
def test_values_are_proposed_by_their_factor(text: str, first: list[str]) -> None:
    assert labels(text)[: len(first)] == first


def test_operators_are_proposed_in_flow_lines_also_of_a_broken_text() -> None:
    broken = "meta\nname ??\noperator Tok\nimage (\noperator Sub-B\nflow\ndistribute\n-> x ->\n"
    assert labels(f"{broken}|")[:2] == ["Tok", "Sub-B"]
    assert labels(f"{broken}Tok -> |") == ["Tok", "Sub-B"]
    assert labels(f"{broken}Tok->|") == ["Tok", "Sub-B"]
    assert labels(f"{broken}Tok→Su|") == ["Tok", "Sub-B"]
    assert labels(f"{broken}Tok -> Sub-B, |") == ["Tok", "Sub-B"]
    assert labels(f"operator |\nimage a\n{broken}\nTok -> Later") == ["x", "Later"]


def test_nothing_is_proposed_where_nothing_can_be_said() -> None:
    assert labels("# mo|") == []
    assert labels("operator A # comment |") == []
    assert labels("meta\nname |") == []
    assert labels("flow\ndistribute\nA -> B |") == []


def test_a_proposal_replaces_the_word_that_is_typed() -> None:
    document, offset = _document("flow\noperator Tok\ndistribute\nA -> To|ken")
    (proposal,) = [p for p in complete(document, offset) if p.label == "Tok"]
    assert document.text[proposal.start : proposal.end] == "To"
    (key,) = [p for p in complete(*_document("operator A\nba|")) if p.label == "batch"]
    assert "most requests" in key.meaning
    assert key.detail == "batch dynamic 64"


# ---- meaning


def test_hover_tells_an_operators_factors_and_where_it_flows() -> None:
    text = text_of(FIXTURES / "valid" / "sentiment.udgl")
    document = Document(text)
    found = hover(document, text.rindex("Senti-Analyzer") + 2)
    assert found is not None
    assert text[found.start : found.end] == "Senti-Analyzer"
    assert "operator Senti-Analyzer\nversion 3\nimage sent/sentiment:v3\nbatch 1\nstateful Yes" in (
        found.text
    )
    assert "Flows in from `Tokenizer` (distribute)." in found.text
    assert "Flows to `Conclusion` (reduce)." in found.text


def test_hover_tells_what_each_word_means() -> None:
    document = Document(EVERYTHING)
    words = {**SECTIONS, **BLOCKS, **ENTRIES, **FACTORS}
    told = set()
    for word in document.words:
        found = hover(document, word.start)
        if word.kind in (Kind.KEY, Kind.SECTION, Kind.BLOCK):
            text = document.text_of(word).split()[-1]
            assert found is not None
            assert ENTRIES.get(text, words[text]).meaning in found.text or (
                words[text].meaning in found.text
            )
            told.add(text)
    assert told == {*words} - {"logical"}
    assert hover(document, EVERYTHING.index("# but") + 3) is None
    missing = hover(*_document("flow\ndistribute\nA -> Gh|ost"))
    assert missing is not None
    assert "not declared" in missing.text


# ---- names


def test_definition_and_references_are_by_name() -> None:
    text = text_of(FIXTURES / "valid" / "sentiment.udgl")
    document = Document(text)
    at = text.rindex("Tokenizer")
    (declared,) = definitions(document, at)
    assert text[: declared.start].endswith("operator ")
    assert len(references(document, at)) == 3
    assert len(references(document, at, declaration=False)) == 2
    assert definitions(document, 0) == []


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_renamed_operator_is_the_same_graph_under_another_name(path: Path) -> None:
    text = text_of(path)
    graph = udgl.parse(text)
    for operator in graph.operators:
        document = Document(text)
        (declared,) = (
            w
            for w in document.words
            if w.kind is Kind.DECLARATION and document.text_of(w) == operator.name
        )
        for new in ("Renamed-9.x", "ends-", "otherwise2"):

            def called(name: str, old: str = operator.name, new: str = new) -> str:
                return new if name == old else name

            changed = udgl.parse(applied(text, rename(document, declared.start, new)))
            assert changed.operators == tuple(
                replace(o, name=called(o.name)) for o in graph.operators
            )
            assert changed.flows == tuple(
                replace(
                    flow,
                    sources=tuple(map(called, flow.sources)),
                    targets=tuple(map(called, flow.targets)),
                )
                for flow in graph.flows
            )


def test_a_name_that_cannot_be_had_is_refused_with_a_sentence() -> None:
    document, offset = _document("operator |A\nimage a\noperator Bee\nimage b")
    for name, sentence in {
        "": "'' is no name: a name has letters",
        "a b": "'a b' is no name: a name has letters",
        "x->y": "'x->y' is no name: a name has letters",
        "bEE": "'bEE' is taken: the graph has an operator 'Bee' already.",
    }.items():
        with pytest.raises(RenameError, match=re.escape(sentence)):
            rename(document, offset, name)
    with pytest.raises(RenameError, match="put the cursor on its name"):
        rename(document, document.text.index("image"), "x")
    assert rename(document, offset, "A") == []
    assert len(rename(document, offset, "a")) == 1, "another case of its own name"


def test_a_name_is_found_at_its_end_too() -> None:
    for text in ("flow\ndistribute\nA|->B", "flow\ndistribute\nA->B|", "flow\nreduce\nA|,C->B"):
        document, offset = _document(text)
        assert name_at(document, offset) is not None


# ---- structure


def test_the_outline_is_the_graphs_tree() -> None:
    text = text_of(FIXTURES / "valid" / "sentiment.udgl")
    tree = outline(Document(text))
    assert [(part.name, part.branch) for part in tree] == [
        ("meta", Branch.META),
        *((operator.name, Branch.OPERATOR) for operator in udgl.parse(text).operators),
        ("flow", Branch.FLOW),
    ]
    assert tree[0].detail == "SentiAnalyzer"
    assert tree[1].detail == "sent/trancriber:v2"
    assert [part.name for part in tree[1].parts] == ["version", "image", "batch", "stateful"]
    distribute, reduce = tree[-1].parts
    assert [part.name for part in distribute.parts] == [
        "Trancriber → Tokenizer",
        "Tokenizer → Senti-Analyzer , Sub-Analyzer",
    ]
    assert reduce.name == "reduce"


def nested(part: Part) -> None:
    assert part.start <= part.at <= part.at_end <= part.end
    for inner in part.parts:
        assert part.start <= inner.start <= inner.end <= part.end
        nested(inner)


def test_a_value_in_the_outline_is_whole() -> None:
    tree = {part.name: part for part in outline(Document(EVERYTHING))}
    factors = {part.name: part.detail for part in tree["A"].parts}
    assert factors["batch"] == "32, 64 from epoch 3, 128 from epoch 6"
    assert factors["image"] == "a/b:1"
    assert factors["timeout"] == "1.5 s"
    assert {p.name: p.detail for p in tree["defaults"].parts}["env"] == "B=c"


def test_sections_and_comments_fold() -> None:
    text = "# one\n# two\nmeta\nname A\n\n# alone\noperator A # not\n# this\n"
    text += "flow\ndistribute\na -> b\n"
    found = [(fold.first, fold.last, fold.comment) for fold in folds(Document(text))]
    assert found == [(0, 1, True), (2, 3, False), (8, 10, False), (9, 10, False)]


# ---- quick fixes


def test_every_did_you_mean_has_a_fix_and_every_fix_mends() -> None:
    fixed = set()
    for path in INVALID:
        text = readable(path)
        document = Document(text)
        for finding in document.findings:
            mend = fix(document, finding)
            if finding.hint and finding.hint.startswith("did you mean"):
                assert mend is not None, (path.stem, finding)
            if mend is None:
                continue
            fixed.add(mend.title.split(" '")[0])
            after = Document(applied(text, mend.edits)).findings
            there = [f for f in after if (f.code, f.message) == (finding.code, finding.message)]
            before = [
                f
                for f in document.findings
                if (f.code, f.message) == (finding.code, finding.message)
            ]
            assert len(there) < len(before), (path.stem, finding, mend)
    assert {"Write", "Delete the comma", "Write ->", "Write a comma before it"} <= fixed


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("batch 8, latency 5ms", "batch dynamic 8, latency 5ms"),
        ("bach 8", "batch 8"),
        ("BATCH 8", "batch 8"),
        ("batch 8 stateful No", "batch 8, stateful No"),
        (", , batch 8", ", batch 8"),
    ],
)
def test_fixes_write_what_the_hint_says(wrong: str, right: str) -> None:
    start = "meta\nname A, version 1\noperator A\nimage a\n"
    document = Document(start + wrong + "\n")
    (mend, *_) = (m for m in (fix(document, f) for f in document.findings) if m is not None)
    changed = applied(document.text, mend.edits)
    assert changed.removeprefix(start).replace(" ", "") == f"{right}\n".replace(" ", "")


# ---- any text


@given(texts, st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_any_text_at_any_place_is_answered(text: str, offset: int) -> None:
    document = Document(text)
    offset = min(offset, len(text))
    for proposal in complete(document, offset):
        assert proposal.start <= proposal.end == offset
    hover(document, offset)
    for word in references(document, offset):
        assert document.text_of(word) == document.text_of(references(document, offset)[0])
    for part in outline(document):
        nested(part)
    last = len(document.lines) - 1
    assert all(0 <= fold.first < fold.last <= last for fold in folds(document))
    data = semantic_tokens(document)
    assert len(data) % 5 == 0
    assert all(number >= 0 for number in data)
    for finding in document.findings:
        mend = fix(document, finding)
        if mend is not None:
            assert all(0 <= edit.start <= edit.end <= len(text) for edit in mend.edits)
