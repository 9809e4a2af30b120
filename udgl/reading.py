"""Reading of text that has no syntax error: lark's tables of the grammar, walked in one loop.

lark itself makes an object of every token, separators too, and calls a chain of functions for each
rule; that is most of the time that a large file takes. A text that fits nothing is left to lark,
which tells what is wrong with it (:mod:`udgl.recovery`): both walk the same tables, so they agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lark import Lark
from lark.lexer import Token
from lark.parsers.lalr_analysis import Shift

_Match = Callable[[str, int], "re.Match[str] | None"]
_Build = Callable[[list[Any]], Any]

_Reduction = tuple[int, str, "_Build | None"]
"""How many symbols a rule has, which symbol they are together, and what makes its value; None for
a rule whose value is the list of its parts."""

_State = tuple[_Match, dict[str, "int | _Reduction"]]
"""What a state's next token is matched with and, by the token's type, the state that it leads to
or the rule that ends before it."""


class Reader:
    """Reads texts by the tables of ``lark``. ``shape`` has a method for each rule of the grammar;
    ``match`` makes the regular expression of a state of what the state accepts."""

    def __init__(
        self, lark: Lark, shape: object, match: Callable[[dict[str, Any]], _Match]
    ) -> None:
        parser: Any = lark.parser
        table = parser.parser._parse_table
        # No rule but the first one is empty, and that one ends at the end of the text alone: the
        # loops below take as many symbols as a rule has, one at least.
        self._start: int = table.start_states["start"]
        self._end: int = table.end_states["start"]
        self._states: dict[int, dict[str, Any]] = table.states
        self._match = match
        self._shape = shape
        self._reductions: dict[Any, _Reduction] = {}
        self._ready: dict[int, _State] = {}
        # The symbol that a rule is leads from any state to one state alone.
        self._go_to = {
            state: {symbol: arg for symbol, (action, arg) in actions.items() if action is Shift}
            for state, actions in table.states.items()
        }

    def sections(self, text: str) -> Any:
        """The value of the whole text; None where it has a syntax error."""
        ready, go_to = self._ready, self._go_to
        states = [self._start]
        values: list[Any] = []
        new = str.__new__
        position, line, line_start, end = 0, 1, 0, len(text)
        while position < end:
            state = states[-1]
            found = ready.get(state) or self._prepare(state)
            match = found[0](text, position)
            if match is None:
                return None
            kind: str = match.lastgroup  # type: ignore[assignment]
            position = match.end()
            step = found[1].get(kind)
            while type(step) is tuple:
                size, origin, build = step
                parts = values[-size:]
                del states[-size:], values[-size:]
                values.append(parts if build is None else build(parts))
                state = go_to[states[-1]][origin]
                states.append(state)
                found = ready.get(state) or self._prepare(state)
                step = found[1].get(kind)
            if step is None:
                # What LALR's tables let end a rule may fit none of the rules around it.
                return None
            states.append(step)  # type: ignore[arg-type]
            if kind[0] == "_":
                # A separator leaves no trace.
                values.append(None)
                start = match.start(kind)
                breaks = text.count("\n", start, position)
                if breaks:
                    line += breaks
                    line_start = text.rindex("\n", start, position) + 1
                continue
            value = match[kind]
            token = new(Token, value)
            token.type = kind
            token.line = line
            token.start_pos = start = position - len(value)
            token.column = start - line_start + 1
            values.append(token)
        return self._finish(states, values)

    def tokens(self, text: str) -> list[tuple[str, str]] | None:
        """Type and text of every token, separators included; None for a syntax error."""
        ready, go_to = self._ready, self._go_to
        states = [self._start]
        tokens: list[tuple[str, str]] = []
        position, end = 0, len(text)
        while position < end:
            state = states[-1]
            found = ready.get(state) or self._prepare(state)
            match = found[0](text, position)
            if match is None:
                return None
            kind: str = match.lastgroup  # type: ignore[assignment]
            position = match.end()
            step = found[1].get(kind)
            while type(step) is tuple:
                del states[-step[0] :]
                state = go_to[states[-1]][step[1]]
                states.append(state)
                found = ready.get(state) or self._prepare(state)
                step = found[1].get(kind)
            if step is None:
                # What LALR's tables let end a rule may fit none of the rules around it.
                return None
            states.append(step)  # type: ignore[arg-type]
            tokens.append((kind, match[kind]))
        return None if self._finish(states, None) is None else tokens

    def _finish(self, states: list[int], values: list[Any] | None) -> Any:
        """The value of the start rule; without ``values``, whether there is one."""
        while states[-1] != self._end:
            step = self._prepare(states[-1])[1].get("$END")
            if type(step) is not tuple:
                return None
            size, origin, build = step
            parts: list[Any] = []
            if size:
                del states[-size:]
                if values is not None:
                    parts = values[-size:]
                    del values[-size:]
            if values is not None:
                values.append(parts if build is None else build(parts))
            states.append(self._go_to[states[-1]][origin])
        return True if values is None else values[-1]

    def _prepare(self, state: int) -> _State:
        found = self._ready.get(state)
        if found is None:
            accepted = self._states[state]
            steps: dict[str, int | _Reduction] = {
                symbol: arg if action is Shift else self._reduction(arg)
                for symbol, (action, arg) in accepted.items()
            }
            found = self._ready[state] = (self._match(accepted), steps)
        return found

    def _reduction(self, rule: Any) -> _Reduction:
        found = self._reductions.get(rule)
        if found is None:
            size, origin = len(rule.expansion), rule.origin.name
            found = self._reductions[rule] = (size, origin, self._builder(rule))
        return found

    def _builder(self, rule: Any) -> _Build | None:
        """What makes the rule's value of those of its symbols. A rule whose name starts with "_"
        stands for a repetition in another rule, and its list is continued there."""
        name = rule.origin.name
        make = None if name[0] == "_" else getattr(self._shape, name)
        if getattr(make, "__name__", None) == "_as_list":
            make = None
        kept = [
            (number, not symbol.is_term and symbol.name[0] == "_")
            for number, symbol in enumerate(rule.expansion)
            if not (symbol.is_term and symbol.filter_out)
        ]
        if not any(repeated for _, repeated in kept):
            return _picker([number for number, _ in kept], len(rule.expansion), make)

        def build(values: list[Any]) -> Any:
            parts: list[Any] | None = None
            for number, repeated in kept:
                if not repeated:
                    parts = [values[number]] if parts is None else [*parts, values[number]]
                elif parts is None:
                    parts = values[number]
                else:
                    parts += values[number]
            return parts if make is None else make(parts)

        def grow(values: list[Any]) -> Any:
            # A list that grows part by part is not copied each time.
            parts: list[Any] = values[0]
            for number, _ in kept[1:]:
                parts.append(values[number])
            return parts

        grows = make is None and kept[0] == (0, True) and not any(more for _, more in kept[1:])
        return grow if grows else build


def _picker(numbers: list[int], size: int, make: _Build | None) -> _Build | None:
    """What takes the parts at ``numbers``, of ``size``, and hands them to ``make``."""
    if numbers == list(range(size)):
        return make
    if len(numbers) == 1:
        only = numbers[0]
        if make is None:
            return lambda values: [values[only]]
        return lambda values: make([values[only]])
    if make is None:
        return lambda values: [values[number] for number in numbers]
    return lambda values: make([values[number] for number in numbers])
