"""Text to tokens, offering only the terminals that the parser can accept where it stands.

It differs from lark's own contextual lexer in three ways: white space and the token after it are
one regular expression match; the expressions of a parser state are compiled when that state is
first met; and a text that fits nothing becomes a token of its own (:data:`UNEXPECTED`) that ends
at the next comma, so that the time for a broken file stays linear in its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from lark.common import LexerConf
from lark.lexer import Lexer, LexerState, Token

UNEXPECTED = "UNEXPECTED"
"""The type of a token that stands for text which fits nothing; no rule accepts it."""

_Match = Callable[[str, int], "re.Match[str] | None"]

_UNEXPECTED_WORD = re.compile(r"(?:->|→|,|\n|#|(?:[^\s,#→-]|-(?!>))+)")


class ContextLexer(Lexer):
    """The lexer that is handed to lark. It holds no state of a text; that is in the arguments."""

    # lark then calls lex() with its own lexer state and the parser's.
    __future_interface__ = 2

    def __init__(self, conf: LexerConf) -> None:
        ignored = "|".join(
            t.pattern.to_regexp() for t in conf.terminals if t.name in set(conf.ignore)
        )
        self._skip = f"(?>(?:{ignored})?)"
        # Higher priority first; sorted() keeps the grammar's order otherwise.
        self._patterns = {
            t.name: t.pattern.to_regexp()
            for t in sorted(conf.terminals, key=lambda t: -t.priority)
            if t.name not in conf.ignore
        }
        self._by_state: dict[Any, _Match] = {}

    def compile(self, accepted: dict[str, Any]) -> _Match:
        """What matches the next token of a state that accepts these terminals."""
        choices = "|".join(f"(?P<{n}>{p})" for n, p in self._patterns.items() if n in accepted)
        # A state that accepts no terminal but the end of the file matches nothing.
        return re.compile(f"{self._skip}(?:{choices or '(?!)'})").match

    def lex(self, lexer_state: LexerState, parser_state: Any) -> Iterator[Token]:
        """The tokens from the position of ``lexer_state`` on, each one with line and column."""
        counter = lexer_state.line_ctr
        text = lexer_state.text.text
        position, line, line_start = counter.char_pos, counter.line, counter.line_start_pos
        end = len(text)
        by_state = self._by_state
        states = parser_state.parse_conf.states
        stack = parser_state.state_stack
        while position < end:
            state = stack[-1]
            match_at = by_state.get(state)
            if match_at is None:
                match_at = by_state[state] = self.compile(states[state])
            match = match_at(text, position)
            if match is None:
                yield self._unexpected(text, position, line, line_start)
                return
            kind = match.lastgroup
            assert kind is not None
            value = match.group(kind)
            position = match.end()
            start = position - len(value)
            yield Token(kind, value, start, line, start - line_start + 1)
            if kind[0] == "_":
                breaks = value.count("\n")
                if breaks:
                    line += breaks
                    line_start = start + value.rindex("\n") + 1

    @staticmethod
    def _unexpected(text: str, position: int, line: int, line_start: int) -> Token:
        start = position
        while text[start].isspace() and text[start] != "\n":
            start += 1
        match = _UNEXPECTED_WORD.match(text, start)
        word = match.group() if match else text[start]
        return Token(UNEXPECTED, word, start, line, start - line_start + 1)
