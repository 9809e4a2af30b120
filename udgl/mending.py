"""Where the parser stands in a broken text, and how it is made to read on.

The mechanics under :mod:`udgl.recovery`: what lark's tables accept, what is dropped, put in place
or skipped.
"""

from __future__ import annotations

import re
from typing import Any

from lark.exceptions import UnexpectedToken
from lark.lexer import Token

from udgl.diagnostics import Diagnostic
from udgl.gaps import Gaps
from udgl.graph import Span
from udgl.places import Place, keyword
from udgl.vocabulary import BLOCKS

WORD = re.compile(r"[^\s,#→]++")
SEPARATOR = re.compile(r"[,#\n]")
LINE_END = re.compile(r"[#\n]")
# Within a bound, so that a line of many errors costs no more than its length.
ARROW_AHEAD = re.compile(r"[^\n#]{0,400}?(?:→|->)")


class Mending:
    """One text, and a parser that cannot go on in it."""

    def __init__(self, text: str) -> None:
        self.diagnostics: list[Diagnostic] = []
        self.gaps = Gaps()
        self._text = text
        self._parser: Any = None
        self._counter: Any = None
        self._token = Token("", "")
        self._word = self._token

    # ---- where the parser stands

    def _accepted(self) -> dict[str, Any]:
        accepted: dict[str, Any] = self._parser.parse_conf.states[self._parser.state_stack[-1]]
        return accepted

    def _before(self) -> Token | None:
        """The token that was read last, if no rule has been made of it yet."""
        values = self._parser.value_stack
        last = values[-1] if values else None
        if isinstance(last, Token) and last.type == "_BREAK":
            last = values[-2]
        return last if isinstance(last, Token) else None

    def _place(self) -> Place:
        accepted, before = self._accepted(), self._before()
        kind = before.type if before is not None else ""
        if "ARROW" in accepted:
            return Place.SOURCES
        if "WHEN" in accepted or "PERCENT" in accepted:
            return Place.CASE
        if kind == "WHEN":
            return Place.CONDITION
        if "_COMMA" in accepted:
            return Place.TARGETS
        if kind.startswith("KEY_"):
            return Place.VALUE
        if kind == "OPERATOR":
            return Place.OPERATOR_NAME
        if kind == "FLOW":
            return Place.AFTER_FLOW
        if "KEY_IMAGE" in accepted:
            return Place.AFTER_NAME if "_SEP" in accepted else Place.OPERATOR_ITEM
        if "KEY_NAME" in accepted:
            return Place.META_ITEM
        if "_SEP" in accepted:
            return Place.AFTER_VALUE
        if "NAME" in accepted:
            return Place.LINE if "ERROR" in accepted else Place.NAME
        return Place.TOP

    def _whole_word(self) -> Token:
        """The word at the error: up to white space, a comma, a comment or an arrow."""
        match = WORD.match(self._text, self._token.start_pos or 0)
        return self._at_token(self._token.type, match.group() if match else str(self._token))

    def _at_token(self, kind: str, text: str) -> Token:
        token = self._token
        return Token(kind, text, token.start_pos, token.line, token.column)

    def _nothing_there(self) -> bool:
        return self._word[:1] in ("", "\n", ",", "#")

    def _flow_line_ahead(self) -> bool:
        return ARROW_AHEAD.match(self._text, self._token.start_pos or 0) is not None

    def _block_word(self) -> Token | None:
        """The word of the block that is being read."""
        for value in reversed(self._parser.value_stack):
            if isinstance(value, Token) and keyword(value.type) in BLOCKS:
                return value
        return None

    def _block(self) -> str:
        """The block that is being read, or nothing."""
        word = self._block_word()
        return "" if word is None else keyword(word.type)

    def _keys(self) -> list[str]:
        """The keywords of the entries or factors of the section that is being read."""
        states = self._parser.parse_conf.states
        for state in reversed(self._parser.state_stack):
            # lark's tables are not in the grammar's order, but messages are always the same.
            keys = sorted(keyword(t) for t in states[state] if t.startswith("KEY_"))
            if keys:
                return keys
        return []

    # ---- how reading goes on

    def _replace(self) -> bool:
        """Put ERROR in the place of the factor or line; False where nothing accepts it."""
        while True:
            while "ERROR" not in self._accepted():
                if not self._drop():
                    return False
            try:
                self._parser.feed_token(self._at_token("ERROR", str(self._word)))
            except UnexpectedToken:
                if not self._drop():
                    return False
                continue
            self._skip()
            return True

    def _drop(self) -> bool:
        """Forget what was read last; False where nothing is left."""
        if not self._parser.value_stack:
            return False
        self._parser.value_stack.pop()
        self._parser.state_stack.pop()
        return True

    def _skip(self) -> None:
        """Go to the separator that the parser accepts next."""
        start = self._token.start_pos or 0
        separator = SEPARATOR if "_SEP" in self._accepted() else LINE_END
        if separator is SEPARATOR and self._flow_line_ahead():
            separator = LINE_END
        found = separator.search(self._text, start)
        self._go_to(found.start() if found else len(self._text))

    def _go_to(self, position: int) -> None:
        """Read on from ``position``, which is in the line of the error."""
        token, counter = self._token, self._counter
        counter.char_pos = position
        counter.line = token.line
        counter.line_start_pos = (token.start_pos or 0) - (token.column or 1) + 1

    def _next_line(self, start: int) -> None:
        """Go to the start of the next line; the error is in this one."""
        counter = self._counter
        counter.char_pos = counter.line_start_pos = start
        counter.line = (self._token.line or 1) + 1

    def _report(self, code: str, message: str, at: Token, hint: str | None = None) -> None:
        line, column = at.line or 1, at.column or 1
        # A line end, or the start of a comment, is one place.
        length = 1 if at[:1] in ("", "\n", "#") else len(at)
        span = Span(line, column, column + length)
        self.diagnostics.append(Diagnostic(code, message, span, hint))
