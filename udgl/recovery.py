"""What a syntax error is called, and where reading goes on after it.

lark reports the token that the parser could not accept. :class:`Recovery` tells from the state of
the parser where in the language that is, words a :class:`Diagnostic`, and mends the parser, so that
the rest of the file is read:

* a misspelt keyword is read as the keyword that was meant;
* a missing separator is read as if it were there;
* text after something complete is skipped, up to the next separator;
* anything else is dropped back to the start of its factor or line, where the grammar accepts
  ERROR in its place, and skipped up to the next separator.

Each of these is followed by text that the parser accepts, so reading always gets on, in a time
that is linear in the text.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

from lark.exceptions import UnexpectedInput, UnexpectedToken
from lark.lexer import Token

from udgl.diagnostics import MOST_DIAGNOSTICS, Diagnostic, quote
from udgl.gaps import Gaps
from udgl.graph import Span
from udgl.suggestions import Suggestions


class Place(Enum):
    """Where in a text the parser stands."""

    TOP = "top"
    """Before the first section, at the start of a line."""

    META_ITEM = "meta item"
    """In meta, at the start of an entry."""

    OPERATOR_NAME = "operator name"
    """After ``operator``."""

    AFTER_NAME = "after name"
    """After the name of an operator, before its first factor."""

    OPERATOR_ITEM = "operator item"
    """In an operator, at the start of a factor."""

    VALUE = "value"
    """After the keyword of an entry or a factor."""

    AFTER_VALUE = "after value"
    """After the value of an entry or a factor."""

    AFTER_FLOW = "after flow"
    """After ``flow``."""

    LINE = "line"
    """At the start of a flow line."""

    SOURCES = "sources"
    """After a source in a flow line."""

    NAME = "name"
    """After a comma or an arrow in a flow line."""

    TARGETS = "targets"
    """After a target in a flow line, or the condition or weight of a target."""

    CASE = "case"
    """After a target under ``switch`` or ``split``, where its condition or weight has to be."""

    CONDITION = "condition"
    """After ``when``."""


_SECTIONS = (
    "META",
    "DEFAULTS",
    "OPERATOR",
    "FLOW",
    "DISTRIBUTE",
    "REDUCE",
    "SWITCH",
    "SPLIT",
)

_NEEDS = {
    "NAME": ("a name", "a name has letters, digits, '_', '-' and '.', and starts with a letter"),
    "VERSION_TEXT": (
        "a version",
        "a version has letters, digits, '_', '.', '+' and '-', such as 3, 1.2 or test",
    ),
    "IMAGE_REFERENCE": (
        "a container image reference",
        "such as tokenizer:v1 or registry.example:5000/team/tokenizer:v1",
    ),
    "INTEGER": ("a whole number", "such as 2"),
    "BATCH_LIMIT": ("a whole number", "such as 32, or 'dynamic 64' for a limit that adapts"),
    "NUMBER": ("a number", "such as 0.5"),
    "DURATION": ("a time", "such as 5ms, 1.5s, 2m or 1h"),
    "SIZE": ("an amount of memory", "such as 512MiB or 2GB"),
    "LABEL": ("a label", "one word, such as gpu-box"),
    "PAIR": ("NAME=value", "a value with white space or commas stands in double quotes"),
    "PAYLOAD_TYPE": (
        "a payload type",
        "text, json, bytes, a media type such as audio/wav, or a tensor such as fp32[3x224x224]",
    ),
    "PYTHON_NAME": ("package.module:name", "such as models.tokenizer:Tokenizer"),
    "EARLY_STOP": ("a number of epochs", "such as 3, or 'accuracy 3' for another metric than loss"),
    "VALUE": ("a value", "one word, or text in double quotes"),
    "BOOLEAN": ("Yes or No", None),
    "TEXT": ("a text", None),
    "CONDITION": ("a condition", 'such as label == "drowsy"'),
}
"""What each value's terminal is called, and what its form is."""

_BLOCK_OF = {
    "when": "conditions stand under 'switch'",
    "otherwise": "'otherwise' stands under 'switch'",
    "%": "weights stand under 'split'",
}

_WORD = re.compile(r"[^\s,#→]++")
_STARTS_LIKE_A_NAME = re.compile(r"[A-Za-z]")
_LIKE_AN_ARROW = re.compile(r"=+>|-{2,}>|[\u2013\u2014]>|[\u21d2\u27f6\u2794\u279c>]")
# Within a bound, so that a line of many errors costs no more than its length.
_ARROW_AHEAD = re.compile(r"[^\n#]{0,400}?(?:→|->)")
_SEPARATOR = re.compile(r"[,#\n]")
_LINE_END = re.compile(r"[#\n]")


class Recovery:
    """The syntax errors of one text, as lark meets them, and the gaps that they leave."""

    def __init__(self, text: str) -> None:
        self.diagnostics: list[Diagnostic] = []
        self.gaps = Gaps()
        self._text = text

    def on_error(self, error: UnexpectedInput) -> bool:
        """Report ``error`` and mend the parser; False where reading cannot go on."""
        if not isinstance(error, UnexpectedToken) or error.token.type == "$END":
            return False
        if len(self.diagnostics) > MOST_DIAGNOSTICS:
            return False
        interactive: Any = error.interactive_parser
        self._parser = interactive.parser_state
        self._counter = interactive.lexer_thread.state.line_ctr
        self._token = error.token
        self._word = self._whole_word()
        place = self._place()
        if place is Place.SOURCES:
            return self._in_sources()
        if place in (Place.TOP, Place.META_ITEM, Place.OPERATOR_ITEM):
            return self._at_item(place)
        if place in (Place.AFTER_NAME, Place.AFTER_VALUE, Place.AFTER_FLOW, Place.TARGETS):
            return self._after_something_complete(place)
        return self._at_value(place)

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
        match = _WORD.match(self._text, self._token.start_pos or 0)
        return self._at_token(self._token.type, match.group() if match else str(self._token))

    def _at_token(self, kind: str, text: str) -> Token:
        token = self._token
        return Token(kind, text, token.start_pos, token.line, token.column)

    def _nothing_there(self) -> bool:
        return self._word[:1] in ("", "\n", ",", "#")

    def _flow_line_ahead(self) -> bool:
        return _ARROW_AHEAD.match(self._text, self._token.start_pos or 0) is not None

    # ---- what is wrong, place by place

    def _at_item(self, place: Place) -> bool:
        """At the start of a factor, an entry or, before the first section, a line."""
        word = self._word
        if self._flow_line_ahead():
            self.gaps.edges = True
            hint = "put 'logical flow' and 'distribute' or 'reduce' above it"
            self._report("U017", "a flow line outside of a flow", word, hint)
        elif self._nothing_there():
            self._report("U015", "nothing stands before this comma", word, "delete the comma")
        elif self._read_as_meant(word):
            return True
        elif place is Place.OPERATOR_ITEM and word[0].isdigit():
            hint = "a batch schedule reads: batch 32, 64 from epoch 3"
            self._report("U011", f"{quote(word)} is no factor", word, hint)
        elif place is Place.TOP:
            self.gaps.declarations = self.gaps.edges = True
            hint = "a section starts with 'meta', 'operator NAME' or 'logical flow'"
            self._report("U010", f"{quote(word)} stands in no section", word, hint)
        else:
            what = "factor" if place is Place.OPERATOR_ITEM else "entry"
            hint = f"there are {', '.join(self._keys())}"
            self._report("U011", f"unknown {what} {quote(word)}", word, hint)
        return self._replace()

    def _at_value(self, place: Place) -> bool:
        """Where a name or a value has to be."""
        word, before = self._word, self._before()
        if place is not Place.VALUE:
            self.gaps.edges = True
        if place is Place.CASE:
            self._in_case(word, before)
            return self._replace()
        terminal = next(t for t in _NEEDS if t in self._accepted())
        needed, form = _NEEDS[terminal]
        no_name = self._nothing_there() or word in ("→", "->")
        if place is Place.LINE and no_name:
            self._report("U016", "the flow line does not start with a name", word)
        elif place is Place.NAME and no_name:
            after = "the arrow" if before is not None and before.type == "ARROW" else "a comma"
            self._report("U016", f"a name is missing after {after}", word)
        elif self._nothing_there():
            self._report("U012", f"{quote(before or '')} needs {needed}", word, form)
        elif terminal == "NAME":
            self._report("U014", f"{quote(word)} is no name", word, form)
        else:
            message = f"{quote(before or '')} needs {needed}, found {quote(word)}"
            self._report("U013", message, word, form)
        return self._replace()

    def _in_case(self, word: Token, before: Token | None) -> None:
        """After a target, where its condition or weight has to be."""
        target = quote(before or "")
        if "PERCENT" in self._accepted():
            message = f"target {target} of a split has no weight"
            hint = "a split reads: Router -> v1 90%, v2 10%"
        else:
            message = f"target {target} of a switch has no condition"
            hint = 'a switch reads: Detector -> Fatigue when label == "drowsy", Echo otherwise'
        if not self._nothing_there():
            message += f", found {quote(word)}"
        self._report("U016", message, word, hint)

    def _in_sources(self) -> bool:
        """After a source, where a comma or an arrow has to be."""
        word, before = self._word, self._before()
        # The line is "WORD" or "WORD WORD": perhaps its first word was to be a keyword.
        if before is not None and not self._flow_line_ahead():
            while "ERROR" not in self._accepted() and self._drop():
                pass
            if self._read_as_meant(before):
                return True
        self.gaps.edges = True
        if self._nothing_there():
            hint = "a flow line reads 'source → target' or 'source -> target'"
            self._report("U016", "the flow line has no arrow", word, hint)
        elif _LIKE_AN_ARROW.match(word):
            self._report("U016", f"{quote(word)} is no arrow", word, "write → or ->")
        elif _STARTS_LIKE_A_NAME.match(word):
            hint = "a name is one word; a flow line reads 'source → target'"
            self._report("U016", f"a comma or an arrow is missing before {quote(word)}", word, hint)
        else:
            self._report("U014", f"{quote(word)} cannot stand here", word, _NEEDS["NAME"][1])
        return self._replace()

    def _after_something_complete(self, place: Place) -> bool:
        """Where a comma or a line end has to be."""
        word, before = self._word, self._before()
        if place is Place.AFTER_VALUE and word in self._keys():
            hint = f"write a comma before {quote(word)}"
            self._report(
                "U015", f"a comma or a line end is missing before {quote(word)}", word, hint
            )
            self._parser.feed_token(self._at_token("_SEP", ""))
            self._go_to(word.start_pos or 0)
            return True
        if place is Place.TARGETS:
            self.gaps.edges = True
            if word in ("→", "->"):
                hint = "write each edge on its own line"
                self._report("U016", "a second arrow in one line", word, hint)
            else:
                block = _BLOCK_OF.get("%" if word.endswith("%") else str(word))
                self._report("U016", f"a comma is missing before {quote(word)}", word, block)
            return self._replace()
        if place is Place.AFTER_FLOW:
            self._report("U015", f"unexpected {quote(word)}", word, "start a new line")
        elif place is Place.AFTER_NAME:
            hint = "a name is one word"
            if _STARTS_LIKE_A_NAME.match(word) and before is not None and len(before + word) < 60:
                hint += f", such as {before}-{word}"
            self._report("U015", f"unexpected {quote(word)} after the name", word, hint)
        else:
            after = f" after {quote(before)}" if before is not None else ""
            hint = "a comma or a line end separates"
            self._report("U015", f"unexpected {quote(word)}{after}", word, hint)
        self._skip()
        return True

    def _keys(self) -> list[str]:
        """The keywords of the entries or factors of the section that is being read."""
        states = self._parser.parse_conf.states
        for state in reversed(self._parser.state_stack):
            # lark's tables are not in the grammar's order, but messages are always the same.
            keys = sorted(_keyword(t) for t in states[state] if t.startswith("KEY_"))
            if keys:
                return keys
        return []

    # ---- how reading goes on

    def _read_as_meant(self, word: Token) -> bool:
        """Read the misspelt ``word`` as the keyword that was meant, if one was."""
        if len(word) < 3 or not word[0].isalpha():
            return False
        keywords = {_keyword(t): t for t in sorted(self._accepted()) if _is_keyword(t)}
        near = Suggestions(keywords).near(str(word))
        if near is None:
            return False
        key = keywords[near].startswith("KEY_")
        what = "factor" if key and "KEY_IMAGE" in self._accepted() else "entry" if key else "word"
        hint = f"did you mean '{near}'?"
        if word.lower() == near:
            hint = f"keywords are in small letters: {near}"
        self._report("U011", f"unknown {what} {quote(word)}", word, hint)
        start = word.start_pos or 0
        read = Token(keywords[near], str(word), start, word.line, word.column)
        self._parser.feed_token(read)
        self._go_to(start + len(word))
        return True

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
        separator = _SEPARATOR if "_SEP" in self._accepted() else _LINE_END
        if separator is _SEPARATOR and self._flow_line_ahead():
            separator = _LINE_END
        found = separator.search(self._text, start)
        self._go_to(found.start() if found else len(self._text))

    def _go_to(self, position: int) -> None:
        """Read on from ``position``, which is in the line of the error."""
        token, counter = self._token, self._counter
        counter.char_pos = position
        counter.line = token.line
        counter.line_start_pos = (token.start_pos or 0) - (token.column or 1) + 1

    def _report(self, code: str, message: str, at: Token, hint: str | None = None) -> None:
        line, column = at.line or 1, at.column or 1
        # A line end, or the start of a comment, is one place.
        length = 1 if at[:1] in ("", "\n", "#") else len(at)
        span = Span(line, column, column + length)
        self.diagnostics.append(Diagnostic(code, message, span, hint))


def _is_keyword(terminal: str) -> bool:
    return terminal in _SECTIONS or terminal.startswith("KEY_")


def _keyword(terminal: str) -> str:
    """The word that a keyword's terminal stands for."""
    return terminal.removeprefix("KEY_").lower().replace("_", "-")
