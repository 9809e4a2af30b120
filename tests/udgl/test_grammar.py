"""The grammar as such."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from lark import Lark
from lark import logger as lark_logger

from udgl.lexer import ContextLexer
from udgl.parser import _GRAMMAR, examine
from udgl.places import SECTIONS as OPENERS
from udgl.places import keyword
from udgl.vocabulary import BLOCKS, CASES, ENTRIES, FACTORS, SECTIONS
from udgl.writing import dumps

ROOT = Path(__file__).parents[2]


def test_the_grammar_has_no_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    # lark would settle them silently, one way or the other.
    with caplog.at_level(logging.DEBUG, logger=lark_logger.name):
        Lark(_GRAMMAR.read_text(encoding="utf-8"), parser="lalr", lexer=ContextLexer, debug=True)
    assert [r.getMessage() for r in caplog.records if "onflict" in r.getMessage()] == []


def test_the_grammar_and_the_vocabulary_have_the_same_words() -> None:
    parser = Lark(_GRAMMAR.read_text(encoding="utf-8"), parser="lalr", lexer=ContextLexer)
    terminals = {terminal.name: terminal.pattern.to_regexp() for terminal in parser.terminals}
    keys = {keyword(name) for name in terminals if name.startswith("KEY_")}
    assert keys == {*ENTRIES, *FACTORS}
    sections = {keyword(name) for name in OPENERS}
    assert sections == {*SECTIONS, *BLOCKS} - {"logical"}
    for name, pattern in terminals.items():
        if name.startswith("KEY_") or name in (*OPENERS, "WHEN", "OTHERWISE"):
            assert keyword(name) in pattern.replace("\\-", "-")
    for word in (*ENTRIES.values(), *FACTORS.values(), *SECTIONS.values(), *CASES.values()):
        assert not word.value or word.value in terminals, word


def test_each_example_of_the_vocabulary_parses() -> None:
    for word in FACTORS.values():
        training = "" if word.word == "train" else "train a:b, epochs 9"
        core = {"version": "version 1", "image": "image a", "batch": "batch dynamic 2"}
        core |= {"train": training, "epochs": "epochs 9"} if word.word == "epochs" else {}
        lines = [text for other, text in core.items() if other != word.word]
        if word.word == "epochs":
            lines = ["image a", "train a:b"]
        elif word.word != "train":
            lines.append(training)
        if word.word == "backup":
            lines.append("stateful Yes")
        text = "meta\nname G\nversion 1\noperator A\n" + "\n".join([*lines, word.example])
        graph, found = examine(text)
        assert graph is not None, (word.word, found)
        assert not found
        assert examine(dumps(graph))[0] == graph
    for word in ENTRIES.values():
        core = {"name": "name G", "version": "version 1"}
        meta = "\n".join([*(t for w, t in core.items() if w != word.word), word.example])
        graph, found = examine(f"meta\n{meta}\noperator A\nimage a")
        if word.word == "platform":
            # Whether there is such a platform is another question.
            found = tuple(d for d in found if d.code != "U136")
        assert not found, word


def test_a_break_before_a_value_knows_every_keyword() -> None:
    text = _GRAMMAR.read_text(encoding="utf-8")
    line = next(line for line in text.split("\n") if line.startswith("_BREAK:"))
    named = set(re.search(r"\(\?!\(\?:([a-z|-]+)\)", line)[1].split("|"))  # type: ignore[index]
    assert named == {*FACTORS, *SECTIONS, *BLOCKS} - {"logical"}


@pytest.mark.parametrize("word", [*SECTIONS, *BLOCKS, *CASES, *ENTRIES, *FACTORS])
def test_a_word_of_the_language_is_a_name_wherever_a_name_can_stand(word: str) -> None:
    names = ("A", "B", word)
    flows = [
        f"distribute\nA → {word}, B",
        f"distribute\nA → B, {word}",
        f"distribute\n{word} → A, B",
        f"distribute\n{word}→A\nA → B",
        f"distribute\nA → B, {word}\nreduce\n{word}, B → C",
        f"distribute\nA → B, {word}\nreduce\nB, {word} → C",
        f"distribute\n{word} → A, B\nreduce\nA,B → C",
        f"distribute\nC → A, B\nreduce\nA, B -> {word}",
        f"switch\nA → {word} when x == 1, B otherwise",
        f"switch\nA → B when x == 1, {word} otherwise",
        f"switch\n{word} → A when {word} == 1, B otherwise",
        f"split\nA → {word} 9%, B 91%",
        f"split\nA → B 9%, {word} 91%",
        f"split\n{word}→A 9%, B 91%",
    ]
    for flow in flows:
        declared = (*names, "C") if "C" in flow else names
        operators = "\n".join(f"operator {name}\nimage {name.lower()}" for name in declared)
        text = f"meta\nname {word}, version {word}\n{operators}\nflow\n{flow}\n"
        graph, found = examine(text)
        assert graph is not None, (flow, found)
        assert word in {name for edge in graph.edges() for name in edge}


def test_no_group_has_a_possessive_quantifier() -> None:
    # Python before 3.11.5, which Debian has, matches it wrongly (CPython issue 106052).
    files = [*(ROOT / "udgl").rglob("*.lark"), *(ROOT / "udgl").rglob("*.py")]
    lines = [
        f"{file.name}:{number}: {line.strip()}"
        for file in (*files, *(ROOT / "earg").rglob("*.py"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\)[?*+]\+", line)
    ]
    assert lines == []
