"""Conditions on a reply, by which a switch chooses: ``label == "drowsy"``.

A condition compares one value of a reply with one literal. It is data, never code: there is no
``eval``, no call and no pattern in it, and both its size and its work are bounded.
"""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_STEPS = 16
"""Most steps of a path."""

MAX_KEY = 128
"""Most characters of one key of a path."""

MAX_INDEX = 999_999
"""Largest position in a list that a path may name."""

MAX_VALUE = 1024
"""Most characters of a text that a reply is compared with."""

MAX_INTEGER = 2**63
"""Whole numbers beyond this, either way, are refused."""

MAX_JOINED = 16
"""Most comparisons that ``and`` may join."""

MAX_TEXT = 16 * 1024
"""Most characters of a condition's text that are read."""

Scalar = str | int | float | bool | None
"""What a reply's value is compared with: a JSON value that is neither a list nor an object."""


class ConditionError(ValueError):
    """A condition that cannot be read. ``column`` is 1-based, and 0 where no text was read."""

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(f"column {column}: {message}" if column else message)
        self.message = message
        self.column = column


class Comparison(enum.Enum):
    """How a reply's value is compared. Numbers compare with numbers alone, text with text.

    ``true`` and ``false`` are no numbers. A value that is missing, or of a kind that does not
    compare, makes a condition false; NaN makes every condition false.
    """

    EQUAL = "=="
    """The same value."""

    NOT_EQUAL = "!="
    """A value that is there and is another one, of whatever kind. A missing value is not."""

    LESS = "<"
    """A smaller number, or text that sorts before (by code point)."""

    AT_MOST = "<="
    """A number or text that is not greater."""

    GREATER = ">"
    """A greater number, or text that sorts after (by code point)."""

    AT_LEAST = ">="
    """A number or text that is not less."""

    CONTAINS = "contains"
    """Text that holds the given text, or a list that holds the given value as a member."""


_ORDERED = (Comparison.LESS, Comparison.AT_MOST, Comparison.GREATER, Comparison.AT_LEAST)


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """One comparison, and with ``also`` a further condition that has to hold as well.

    ``path`` leads from the reply to the value: a text is a key of an object, a number a position
    in a list from 0; the empty path is the whole reply. Raises :class:`ConditionError` for a part
    that is out of bounds. ``str()`` gives the canonical text.
    """

    path: tuple[str | int, ...]
    comparison: Comparison
    value: Scalar
    also: Condition | None = None

    def __post_init__(self) -> None:
        _check_path(self.path)
        _check_value(self.comparison, self.value)
        count, further = 1, self.also
        while further is not None:
            count, further = count + 1, further.also
        if count > MAX_JOINED:
            raise ConditionError(f"a condition joins at most {MAX_JOINED} comparisons with 'and'")
        if len(str(self)) > MAX_TEXT:
            raise ConditionError(f"a condition has at most {MAX_TEXT} characters")

    # By hand, because to Python 1, 1.0 and True are equal, and to a reply they are not.
    def _key(self) -> tuple[object, ...]:
        return (self.path, self.comparison, type(self.value), self.value, self.also)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Condition) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __str__(self) -> str:
        here = f"{_path_text(self.path)} {self.comparison.value} {_value_text(self.value)}"
        return here if self.also is None else f"{here} and {self.also}"


def _check_path(path: tuple[str | int, ...]) -> None:
    if len(path) > MAX_STEPS:
        raise ConditionError(f"a path has at most {MAX_STEPS} steps, this one has {len(path)}")
    for step in path:
        if type(step) is str:
            if len(step) > MAX_KEY:
                raise ConditionError(f"a key of a path has at most {MAX_KEY} characters")
            _check_text(step)
        elif type(step) is not int or not 0 <= step <= MAX_INDEX:
            raise ConditionError(
                f"a step of a path is a key or a position from 0 to {MAX_INDEX}, not {step!r}"
            )


def _check_value(comparison: Comparison, value: Scalar) -> None:
    if type(value) is str:
        if len(value) > MAX_VALUE:
            raise ConditionError(f"a text to compare with has at most {MAX_VALUE} characters")
        _check_text(value)
    elif type(value) is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise ConditionError("a whole number to compare with lies within 63 bits")
    elif type(value) is float:
        if not math.isfinite(value):
            raise ConditionError("a number to compare with is finite")
    elif value is not None and type(value) is not bool:
        raise ConditionError(
            f"a reply is compared with text, a number, true, false or null, not {value!r}"
        )
    if comparison in _ORDERED and (value is None or type(value) is bool):
        raise ConditionError(
            f"{comparison.value} compares with a number or text, not with {_value_text(value)}"
        )


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConditionError("a text holds half of a surrogate pair") from None


_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_POSITION = re.compile(r"0|[1-9][0-9]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SPACE = re.compile(r"[ \t\r\n]*")
_SIGN = re.compile(r"[=!<>&|~]+")
_NEXT = re.compile(r"[^ \t\r\n]{0,40}")
_WHOLE = "reply"
_LITERALS: dict[str, Scalar] = {"true": True, "false": False, "null": None}
_INSTEAD = {
    "=": "'=='",
    "===": "'=='",
    "!": "'!='",
    "<>": "'!='",
    "=<": "'<='",
    "=>": "'>='",
    "is": "'=='",
    "not": "'!='",
    "in": "a case for each value",
    "has": "'contains'",
}
_DECODER = json.JSONDecoder()


def _path_text(path: tuple[str | int, ...]) -> str:
    if not path:
        return _WHOLE
    steps = []
    for at, step in enumerate(path):
        if isinstance(step, int):
            steps.append(str(step) if at else f"{_WHOLE}.{step}")
        elif _WORD.fullmatch(step) and (at or step != _WHOLE):
            steps.append(step)
        else:
            steps.append(_quoted(step))
    return ".".join(steps)


def _value_text(value: Scalar) -> str:
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """A JSON string in which every character is printable: a log or a terminal may show it."""
    written = json.dumps(text, ensure_ascii=False)
    if written.isprintable():
        return written
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in written)


def parse_condition(text: str) -> Condition:
    """Read a condition such as ``scores.0 > 0.5 and label == "row"``.

    A path is keys and list positions with dots between; a key that is no plain word stands in
    double quotes. The word ``reply`` in front is the whole reply, so that ``reply == "yes"``
    compares a reply that is text, and ``reply.0`` is the first member of one that is a list. The
    literal is written as in JSON. Raises :class:`ConditionError`.
    """
    if len(text) > MAX_TEXT:
        raise ConditionError(f"a condition has at most {MAX_TEXT} characters", 1)
    reader = _Reader(text)
    parts: list[tuple[int, tuple[str | int, ...], Comparison, Scalar]] = []
    while True:
        reader.skip()
        column = reader.column
        parts.append((column, reader.path(), reader.comparison(), reader.value()))
        if reader.at_end():
            break
        reader.conjunction()
        if len(parts) == MAX_JOINED:
            raise reader.error(f"a condition joins at most {MAX_JOINED} comparisons with 'and'")
    found: Condition | None = None
    for column, path, comparison, value in reversed(parts):
        try:
            found = Condition(path, comparison, value, found)
        except ConditionError as error:
            raise ConditionError(error.message, column) from None
    assert found is not None
    return found


class _Reader:
    """A condition's text and how far it is read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def column(self) -> int:
        return self._at + 1

    def error(self, message: str) -> ConditionError:
        return ConditionError(message, self.column)

    def skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def at_end(self) -> bool:
        self.skip()
        return self._at == len(self._text)

    def _found(self) -> str:
        """What stands here, for a message."""
        match = _NEXT.match(self._text, self._at)
        return repr(match[0]) if match and match[0] else "the end"

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match[0]

    def path(self) -> tuple[str | int, ...]:
        steps: list[str | int] = []
        if self._text.startswith('"', self._at):
            steps.append(self._string())
        else:
            word = self._take(_WORD)
            if word is None:
                hint = "; write reply.0 for a member of a list" if self._text[self._at :] else ""
                raise self.error(
                    f"expected the path of a value, such as label, found {self._found()}{hint}"
                )
            if word != _WHOLE:
                steps.append(word)
        while self._text.startswith(".", self._at):
            self._at += 1
            steps.append(self._step())
            if len(steps) > MAX_STEPS:
                raise self.error(f"a path has at most {MAX_STEPS} steps")
        return tuple(steps)

    def _step(self) -> str | int:
        if self._text.startswith('"', self._at):
            return self._string()
        position = self._take(_POSITION)
        if position is not None:
            if len(position) > len(str(MAX_INDEX)):
                self._at -= len(position)
                raise self.error(f"a position in a list is at most {MAX_INDEX}")
            return int(position)
        word = self._take(_WORD)
        if word is None:
            raise self.error(
                f"expected a key or a position after '.', found {self._found()}; "
                'a key that is no plain word stands in double quotes: a."my key"'
            )
        return word

    def comparison(self) -> Comparison:
        self.skip()
        start = self._at
        found = self._take(_SIGN) or self._take(_WORD)
        try:
            return Comparison(found)
        except ValueError:
            self._at = start
        known = ", ".join(c.value for c in Comparison)
        hint = f"; use {_INSTEAD[found]}" if found in _INSTEAD else ""
        raise self.error(f"expected a comparison ({known}), found {self._found()}{hint}")

    def value(self) -> Scalar:
        self.skip()
        start = self._at
        if self._text.startswith('"', start):
            found: Scalar = self._string()
        elif self._text.startswith("'", start):
            raise self.error("text to compare with stands in double quotes, not in single ones")
        elif (number := self._take(_NUMBER)) is not None:
            found = self._number(number, start)
        else:
            word = self._take(_WORD)
            if word not in _LITERALS:
                self._at = start
                hint = f'; text stands in double quotes: "{word}"' if word else ""
                raise self.error(
                    "expected text in double quotes, a number, true, false or null, "
                    f"found {self._found()}{hint}"
                )
            found = _LITERALS[word]
        if self._at < len(self._text) and self._text[self._at] not in " \t\r\n":
            raise self.error(f"a space or the end has to follow a value, found {self._found()}")
        return found

    def _number(self, number: str, start: int) -> int | float:
        whole = "." not in number and "e" not in number.lower()
        found = int(number) if whole and len(number) <= 20 else float(number)
        if (whole and isinstance(found, float)) or not math.isfinite(found):
            self._at = start
            raise self.error("a number to compare with is finite and at most 63 bits wide")
        return found

    def _string(self) -> str:
        try:
            found, self._at = _DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            raise ConditionError(
                f"a text in double quotes is written as in JSON: {error.msg}", error.pos + 1
            ) from None
        assert isinstance(found, str)
        return found

    def conjunction(self) -> None:
        start = self._at
        word = self._take(_WORD) or self._take(_SIGN)
        if word == "and":
            return
        self._at = start
        hint = ""
        if word in ("or", "|", "||"):
            hint = "; instead of 'or', write another case with the same target"
        elif word in ("&", "&&"):
            hint = "; use 'and'"
        raise self.error(f"expected 'and' or the end of the condition, found {self._found()}{hint}")


def holds(condition: Condition, reply: Any) -> bool:
    """Whether a reply, as JSON or text says it, meets a condition. Never raises.

    Takes time in proportion to the path, and to the value where that is text or a list.
    """
    one: Condition | None = condition
    while one is not None:
        value = reply
        for step in one.path:
            if isinstance(step, str):
                if not isinstance(value, dict) or step not in value:
                    return False
            elif not isinstance(value, (list, tuple)) or step >= len(value):
                return False
            value = value[step]
        if not _TESTS[one.comparison](value, one.value):
            return False
        one = one.also
    return True


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, (int, float)):
        return isinstance(wanted, (int, float)) and found == wanted
    if isinstance(found, str):
        return isinstance(wanted, str) and found == wanted
    return found is None and wanted is None


def _not_equal(found: Any, wanted: Any) -> bool:
    is_nan = isinstance(found, float) and math.isnan(found)
    return not is_nan and not _equal(found, wanted)


def _ordered(found: Any, wanted: Any) -> bool:
    if isinstance(found, str):
        return isinstance(wanted, str)
    return (
        isinstance(found, (int, float))
        and not isinstance(found, bool)
        and isinstance(wanted, (int, float))
    )


def _contains(found: Any, wanted: Any) -> bool:
    if isinstance(found, str):
        return isinstance(wanted, str) and wanted in found
    return isinstance(found, (list, tuple)) and any(_equal(one, wanted) for one in found)


_TESTS: dict[Comparison, Callable[[Any, Any], bool]] = {
    Comparison.EQUAL: _equal,
    Comparison.NOT_EQUAL: _not_equal,
    Comparison.LESS: lambda found, wanted: _ordered(found, wanted) and found < wanted,
    Comparison.AT_MOST: lambda found, wanted: _ordered(found, wanted) and found <= wanted,
    Comparison.GREATER: lambda found, wanted: _ordered(found, wanted) and found > wanted,
    Comparison.AT_LEAST: lambda found, wanted: _ordered(found, wanted) and found >= wanted,
    Comparison.CONTAINS: _contains,
}
