"""Any text to coloured, placed words, in a time that is linear in the text.

The parser says what a text means and what is wrong with it; the scanner says what each word is
taken for, also where the text is no graph. It follows the grammar: words of the language are names
where a name stands. Its tokens, one after the other, are the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from udgl.vocabulary import BLOCKS, ENTRIES, FACTORS


class Kind(Enum):
    """What a word is taken for."""

    SPACE = "space"
    """White space and line ends."""

    COMMENT = "comment"
    """From ``#`` to the end of the line."""

    SECTION = "section"
    """``meta``, ``defaults``, ``operator``, ``logical flow``, ``flow``."""

    BLOCK = "block"
    """``distribute``, ``reduce``, ``switch``, ``split``."""

    KEY = "key"
    """The word of an entry or a factor."""

    MODIFIER = "modifier"
    """A word within a value or a case: ``dynamic``, ``from``, ``epoch``, ``when``, ``and``."""

    DECLARATION = "declaration"
    """An operator's name, after ``operator``."""

    REFERENCE = "reference"
    """An operator's name in a flow line."""

    NUMBER = "number"
    """A number, with its unit."""

    CONSTANT = "constant"
    """``Yes``, ``No``, and ``null`` of conditions."""

    STRING = "string"
    """Text in double quotes."""

    VALUE = "value"
    """Any other value."""

    TEXT = "text"
    """A value that runs to the end of the line."""

    ARROW = "arrow"
    """``→`` or ``->``."""

    COMPARISON = "comparison"
    """Signs of conditions."""

    COMMA = "comma"
    """A comma."""

    ERROR = "error"
    """What fits nothing where it stands."""


class Expects(Enum):
    """What may come next."""

    ITEM = "item"
    """The word of an entry or factor, or a section's."""

    VALUE = "value"
    """The value of ``Scanner.key``."""

    AFTER = "after"
    """A comma or a line end."""

    NAME = "name"
    """The name of an operator that is declared."""

    SOURCE = "source"
    """An operator that a flow starts from."""

    TARGET = "target"
    """An operator that a flow leads to."""

    CASE = "case"
    """A comma, or the condition or weight of ``Scanner.name``, a target."""

    CONDITION = "condition"
    """A condition, or more of it."""


class Scanned(NamedTuple):
    """A word, from ``start`` to before ``end``, both in characters of the text. ``key`` is the
    word of the entry or factor that a value belongs to."""

    kind: Kind
    start: int
    end: int
    key: str = ""


FLOWS = frozenset({"flow", *BLOCKS})
"""The sections of which each line is an edge."""

NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.]|-(?!>))*")
"""What a name is; for ``fullmatch``."""

_SPACE = re.compile(r"[^\S\r\n]+")
_BLANK = re.compile(r"(?:\s++|#[^\r\n]*+)+")
_LINE_END = re.compile(r"\r\n|\r|\n")
_COMMENT = re.compile(r"#[^\r\n]*")
_SECTION = re.compile(
    r"(?:(?P<word>meta|defaults|operator|distribute|reduce|switch|split)"
    r"|(?:logical[^\S\r\n]++)?flow)(?![^\s,#])(?![^\S\r\n]*+(?:,|→|->))"
)
_WORD = re.compile(r"[^\s,#]+")
_ALONE = re.compile(r"[^\s,#]++[^\S\r\n]*+(?:[,#\r\n]|\Z)")
_FLOW_WORD = re.compile(r"(?:[^\s,#→-]|-(?!>))+")
_ARROW = re.compile(r"→|->")
_STEP = re.compile(r"(\d+)([^\S\r\n]+)(from)([^\S\r\n]+)(epoch)([^\S\r\n]+)(\d+)(?![^\s,#])")
_STEP_KINDS = (
    *(Kind.NUMBER, Kind.SPACE, Kind.MODIFIER, Kind.SPACE),
    *(Kind.MODIFIER, Kind.SPACE, Kind.NUMBER),
)
_WEIGHT = re.compile(r"-?\d+(?:\.\d+)?[^\S\r\n]*%(?![^\s,#])")
_STRING = re.compile(r'"(?>(?:[^"\\\r\n]|\\[^\r\n])*)"?')
_TEXT = re.compile(r"[^\r\n#]+")
_CONDITION_WORD = re.compile(
    r"(?P<comparison>[=!<>~]+)|(?P<number>-?\d[\d.]*+(?:[eE][+-]?\d+)?(?![\w]))"
    r'|(?P<value>[^\s,#"=!<>~]+)'
)
_PAIR = re.compile(r'([^\s,#"=]*=)("(?>(?:[^"\\\r\n]|\\[^\r\n])*)"|[^\s,#"]*)(?![^\s,#])')
_END = r"(?![^\s,#])"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?" + _END)
_FORMS = {
    "BATCH_LIMIT": re.compile(r"(dynamic)?(?(1)([^\S\r\n]+))(-?\d+)" + _END),
    "EARLY_STOP": re.compile(r"([A-Za-z][\w.-]*)?(?(1)([^\S\r\n]+))(\d+)" + _END),
    "DURATION": re.compile(r"()()(\d+(?:\.\d+)?[^\S\r\n]*(?:ms|s|m|h)|0)" + _END),
    "SIZE": re.compile(r"()()(\d+(?:\.\d+)?[^\S\r\n]*(?:[KkMGT]i?B?|B))" + _END),
}
_BOOLEAN = re.compile(r"(?:yes|no|true|false)" + _END, re.IGNORECASE)
_CONDITION_MODIFIERS = frozenset({"and", "contains"})
_CONSTANTS = frozenset({"true", "false", "null"})


class Scanner:
    """Goes over ``text`` once. Where :meth:`scan` has ended, the attributes tell where in the
    language the end of the text is."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.section = ""
        """The section or block that the end is in: a word of the language, or empty."""
        self.expects = Expects.ITEM
        self.key = ""
        """The entry or factor whose value comes next, or came last."""
        self.name = ""
        """The operator that was named last."""
        self.arrow = False
        """Whether the flow line has had its arrow."""
        self.first = True
        """Whether a section's word may come next."""
        self.comment = False
        """Whether the text ends in a comment."""
        self._value_at = -1

    def scan(self) -> Iterator[Scanned]:
        """The words of the text, in order, without gaps."""
        text, position, end = self._text, 0, len(self._text)
        if text.startswith("\ufeff"):
            yield Scanned(Kind.SPACE, 0, 1)
            position = 1
        while position < end:
            self.comment = False
            character = text[position]
            if character == "#":
                self.comment = True
                found = _COMMENT.match(text, position)
            elif not character.isspace():
                for token in self._word(position):
                    yield token
                    position = token.end
                continue
            else:
                found = (_LINE_END if character in "\r\n" else _SPACE).match(text, position)
            assert found is not None
            start, position = position, found.end()
            yield Scanned(Kind.COMMENT if self.comment else Kind.SPACE, start, position)
            if character in "\r\n":
                self._line_end(position)

    def _line_end(self, position: int) -> None:
        self.first = True
        if self.section in FLOWS:
            self.expects, self.arrow = Expects.SOURCE, False
        elif not (self.expects is Expects.VALUE and self._value_follows(position)):
            self.expects = Expects.ITEM

    def _value_follows(self, position: int) -> bool:
        """Whether a factor's value stands alone on the next line that is not blank."""
        if position <= self._value_at:
            # Known since the first of the blank lines.
            return True
        if self.section not in ("operator", "defaults"):
            return False
        text = self._text
        blank = _BLANK.match(text, position)
        start = blank.end() if blank else position
        if start == len(text):
            # Nothing follows yet: either may be typed.
            return False
        word = _WORD.match(text, start)
        follows = bool(
            word
            and word.group() not in FACTORS
            and not _SECTION.match(text, start)
            and _ALONE.match(text, start)
        )
        if follows:
            self._value_at = start
        return follows

    def _word(self, position: int) -> Iterator[Scanned]:
        """What starts at ``position``, where there is neither white space nor a comment."""
        if self._text[position] == ",":
            yield Scanned(Kind.COMMA, position, position + 1)
            self._comma()
        elif self.first and (section := self._section(position)):
            yield section
        elif self.section in FLOWS:
            self.first = False
            yield from self._flow_word(position)
        else:
            yield from self._item_word(position)

    def _comma(self) -> None:
        if self.section in FLOWS:
            self.first = False
            self.expects = Expects.TARGET if self.arrow else Expects.SOURCE
        else:
            self.first, self.expects = True, Expects.ITEM

    def _section(self, position: int) -> Scanned | None:
        if self.expects is Expects.VALUE and self.section in ("operator", "defaults"):
            # A value on a line of its own that is a word of the language was ruled out there.
            return None
        found = _SECTION.match(self._text, position)
        if found is None:
            return None
        self.section = found.group("word") or "flow"
        self.first = False
        self.arrow = False
        if self.section in FLOWS:
            self.expects = Expects.AFTER if self.section == "flow" else Expects.SOURCE
        else:
            self.expects = Expects.NAME if self.section == "operator" else Expects.ITEM
        kind = Kind.BLOCK if self.section in BLOCKS else Kind.SECTION
        return Scanned(kind, position, found.end())

    # ---- entries and factors

    def _item_word(self, position: int) -> Iterator[Scanned]:
        text = self._text
        self.first = False
        if self.expects is Expects.VALUE:
            yield from self._value(position)
            return
        found = _WORD.match(text, position)
        assert found is not None
        word = found.group()
        if self.expects is Expects.NAME:
            self.expects = Expects.ITEM
            named = _FLOW_WORD.match(text, position)
            valid = named is not None and NAME.fullmatch(word) is not None
            self.name = word
            yield Scanned(Kind.DECLARATION if valid else Kind.ERROR, position, found.end())
            return
        keys = ENTRIES if self.section == "meta" else FACTORS if self.section else {}
        if word in keys:
            self.key, self.expects = word, Expects.VALUE
            yield Scanned(Kind.KEY, position, found.end(), word)
            return
        self.expects = Expects.AFTER
        if self.section in ("operator", "defaults") and (step := _STEP.match(text, position)):
            for group, kind in enumerate(_STEP_KINDS, 1):
                yield Scanned(kind, step.start(group), step.end(group), "batch")
            return
        yield Scanned(Kind.ERROR, position, found.end())

    def _value(self, position: int) -> Iterator[Scanned]:
        text, key = self._text, self.key
        word = (ENTRIES if self.section == "meta" else FACTORS)[key]
        self.expects = Expects.AFTER
        form = word.value
        if form == "TEXT":
            found = _TEXT.match(text, position)
            assert found is not None
            end = position + len(found.group().rstrip())
            yield Scanned(Kind.TEXT, position, end, key)
            return
        if form == "PAIR" and (pair := _PAIR.match(text, position)):
            yield Scanned(Kind.VALUE, position, pair.end(1), key)
            if pair.group(2):
                kind = Kind.STRING if pair.group(2)[0] == '"' else Kind.VALUE
                yield Scanned(kind, pair.start(2), pair.end(2), key)
            return
        if form in _FORMS and (found := _FORMS[form].match(text, position)):
            first = Kind.MODIFIER if form == "BATCH_LIMIT" else Kind.VALUE
            for group, kind in ((1, first), (2, Kind.SPACE), (3, Kind.NUMBER)):
                if found.group(group):
                    yield Scanned(kind, found.start(group), found.end(group), key)
            return
        if form == "BOOLEAN" and (found := _BOOLEAN.match(text, position)):
            yield Scanned(Kind.CONSTANT, position, found.end(), key)
            return
        if form == "VALUE" and (found := _STRING.match(text, position)):
            yield Scanned(Kind.STRING, position, found.end(), key)
            return
        if form in ("INTEGER", "NUMBER") and (found := _NUMBER.match(text, position)):
            yield Scanned(Kind.NUMBER, position, found.end(), key)
            return
        found = _WORD.match(text, position)
        assert found is not None
        kind = Kind.VALUE
        if form == "BATCH_LIMIT" and found.group() == "dynamic":
            kind, self.expects = Kind.MODIFIER, Expects.VALUE
        elif form in ("INTEGER", "NUMBER", "BOOLEAN", "BATCH_LIMIT", "DURATION", "SIZE"):
            kind = Kind.ERROR
        yield Scanned(kind, position, found.end(), key)

    # ---- flow lines

    def _flow_word(self, position: int) -> Iterator[Scanned]:
        text, expects = self._text, self.expects
        if expects is Expects.CONDITION:
            yield self._condition_word(position)
            return
        if found := _ARROW.match(text, position):
            self.expects, again = Expects.TARGET, self.arrow
            self.arrow = True
            yield Scanned(Kind.ERROR if again else Kind.ARROW, position, found.end())
            return
        if expects is Expects.CASE and self.arrow:
            if self.section == "split" and (found := _WEIGHT.match(text, position)):
                self.expects = Expects.AFTER
                yield Scanned(Kind.NUMBER, position, found.end())
                return
            word = _WORD.match(text, position)
            if self.section == "switch" and word and word.group() in ("when", "otherwise"):
                when = word.group() == "when"
                self.expects = Expects.CONDITION if when else Expects.AFTER
                yield Scanned(Kind.MODIFIER, position, word.end(), word.group())
                return
        found = _FLOW_WORD.match(text, position)
        if found is None:
            yield Scanned(Kind.ERROR, position, position + 1)
            return
        kind = Kind.ERROR
        if expects in (Expects.SOURCE, Expects.TARGET):
            self.expects, self.name = Expects.CASE, found.group()
            if NAME.fullmatch(self.name):
                kind = Kind.REFERENCE
        yield Scanned(kind, position, found.end())

    def _condition_word(self, position: int) -> Scanned:
        text = self._text
        if found := _STRING.match(text, position):
            return Scanned(Kind.STRING, position, found.end())
        found = _CONDITION_WORD.match(text, position)
        assert found is not None
        if found.group("comparison"):
            kind = Kind.COMPARISON
        elif found.group("number"):
            kind = Kind.NUMBER
        elif found.group() in _CONDITION_MODIFIERS:
            kind = Kind.MODIFIER
        else:
            kind = Kind.CONSTANT if found.group() in _CONSTANTS else Kind.VALUE
        return Scanned(kind, position, found.end())


def scan(text: str) -> Iterator[Scanned]:
    """The words of ``text``, in order; together they are the text. Never raises."""
    return Scanner(text).scan()
