"""The grammar as such."""

from __future__ import annotations

import logging

import pytest
from lark import Lark
from lark import logger as lark_logger

from udgl.lexer import ContextLexer
from udgl.parser import _GRAMMAR
from udgl.recovery import _keyword


def test_the_grammar_has_no_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    # lark would settle them silently, one way or the other.
    with caplog.at_level(logging.DEBUG, logger=lark_logger.name):
        Lark(_GRAMMAR.read_text(encoding="utf-8"), parser="lalr", lexer=ContextLexer, debug=True)
    assert [r.getMessage() for r in caplog.records if "onflict" in r.getMessage()] == []


def test_keywords_are_the_names_of_their_terminals() -> None:
    parser = Lark(_GRAMMAR.read_text(encoding="utf-8"), parser="lalr", lexer=ContextLexer)
    for terminal in parser.terminals:
        if terminal.name.startswith("KEY_") or terminal.name in ("META", "OPERATOR", "FLOW"):
            assert _keyword(terminal.name) in terminal.pattern.to_regexp()
