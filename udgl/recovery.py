"""What a syntax error is called, and where reading goes on after it.

lark reports the token that the parser could not accept. :class:`Recovery` tells from the state of
the parser where in the language that is, words a :class:`Diagnostic`, and mends the parser, so that
the rest of the file is read:

* a misspelt keyword is read as the keyword that was meant;
* a missing separator is read as if it were there, and a name in quotes as the name;
* a sign of another language, such as ':' after a keyword, is skipped;
* text after something complete is skipped, up to the next separator;
* anything else is dropped back to the start of its factor or line, where the grammar accepts
  ERROR in its place, and skipped up to the next separator.

Each of these is followed by text that the parser accepts, so reading always gets on, in a time
that is linear in the text.
"""

from __future__ import annotations

import re
from typing import Any

from lark.exceptions import UnexpectedInput, UnexpectedToken
from lark.lexer import Token

from udgl.diagnostics import MOST_DIAGNOSTICS, quote
from udgl.habits import (
    COMMENTS,
    COMMON_FACTORS,
    ELSE,
    JOINERS,
    NAME_IN_DRESS,
    NO_FACTOR,
    SYNONYMS,
    after_value_hint,
    value_hint,
)
from udgl.mending import ARROW_AHEAD, LINE_END, SEPARATOR, WORD, Mending
from udgl.places import NEEDS, SHAPES, Place, is_keyword, keyword
from udgl.suggestions import Suggestions
from udgl.vocabulary import BLOCKS, ENTRIES, FACTORS

_CASE_WORDS = ("when", "otherwise", "if", "else", "elif", "case", "default")
"""What people start a line of a switch with."""

_ALONE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*[^\S\n]*(?=[#\n])")
_NAMES = re.compile(r"[A-Za-z][A-Za-z0-9_.]*(?:-(?!>)[A-Za-z0-9_.]*)*")
_WORD_AHEAD = re.compile(r"[^\S\n]+[^\s,#]{1,40}")
_PLAIN_SHARE = re.compile(r"\(?([0-9]{1,3}|0?\.[0-9]{1,2})%?\)?")
_PERCENT_WORD = re.compile(r"[^\S\n]*(?:percent|pct|per cent)\b")
_CASE_AHEAD = re.compile(r"[^\S\n]*(?:when|otherwise)(?![^\s,#])")
_META_LINE = re.compile(r"^[^\S\n]*meta(?![^\s,#])", re.MULTILINE)

_STARTS_LIKE_A_NAME = re.compile(r"[A-Za-z]")
_LIKE_AN_ARROW = re.compile(r"=+>|-{2,}>|~>|[\u2013\u2014]>|[\u21d2\u27f6\u2794\u279c]|>+")
_BACKWARDS = re.compile(r"<[-=]+|\u2190|\u21d0")
_NAME_AND_ARROW = re.compile(r"([A-Za-z][A-Za-z0-9_.]*)(?:=>|~>|[\u2013\u2014]>|[\u21d2\u27f6])")
_KEY_AND_SIGN = re.compile(r"([A-Za-z][A-Za-z_-]{0,40})([:=]+)")
_SIGN = re.compile(r"[:=]+")
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?%)[^\S\n]*([A-Za-z][A-Za-z0-9_.-]*)")
_STEP = re.compile(r"([0-9]{1,12})[^\S\n]+[A-Za-z][^,#\n]{0,60}?([0-9]{1,12})[^\S\n]*(?=[,#\n])")
_BRACKETS = re.compile(r"[^\s,#\[]*\[[^\]\n#]{0,100}\][^\s,#]*")
_SOURCE = re.compile(r"[^\S\n]*([A-Za-z][A-Za-z0-9_.-]*?)[^\S\n]*(?:→|->)")


class Recovery(Mending):
    """The syntax errors of one text, as lark meets them, and the gaps that they leave."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._lost: set[str] = set()
        """Words that are no names, and were told to be none."""
        self._braces = False
        """Whether a brace was told."""
        self._source = "SOURCE"
        """The source of the switch or split that was told of last."""
        self._in_flows: set[str] | None = None
        """The names in flow lines; None where nobody asked."""
        self._told_blocks: set[tuple[int, str]] = set()
        """Where blocks start whose lines are those of another, and the hint that told so."""
        self._meta_ahead: bool | None = None
        """Whether the text has a meta section; None where nobody asked."""
        self._bracket_line = 0
        """The last line of which brackets were told."""

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
        try:
            return self._mend(place)
        except UnexpectedToken:
            # What was to be read in place of the text is not accepted here, either.
            self._lose_line()
            return self._replace()

    def _mend(self, place: Place) -> bool:
        if self._of_another_language(place):
            return True
        if place is Place.SOURCES:
            return self._in_sources()
        if place in (Place.TOP, Place.META_ITEM, Place.OPERATOR_ITEM):
            return self._at_item(place)
        if place in (Place.AFTER_NAME, Place.AFTER_VALUE, Place.AFTER_FLOW, Place.TARGETS):
            return self._after_something_complete(place)
        return self._at_value(place)

    # ---- what is wrong, place by place

    def _at_item(self, place: Place) -> bool:
        """At the start of a factor, an entry or, before the first section, a line."""
        word = self._word
        if self._flow_line_ahead():
            self._lose_line()
            hint = "put 'logical flow' and 'distribute' or 'reduce' above it"
            self._report("U017", "a flow line outside of a flow", word, hint)
        elif self._nothing_there():
            self._report("U015", "nothing stands before this comma", word, "delete the comma")
        elif place is Place.TOP and self._key(word) in ENTRIES:
            ahead = self._has_meta()
            hint = "move it below 'meta'" if ahead else "put 'meta' above it"
            self._report("U010", f"{quote(word)} stands in no section", word, hint)
            if ahead:
                return self._replace()
            # Read on as if it were there.
            self._parser.feed_token(self._at_token("META", "meta"))
            self._parser.feed_token(self._at_token("_SEP", ""))
            self._go_to(word.start_pos or 0)
            return True
        elif self._elsewhere(place, word):
            # Read on where it may stand, or without it.
            return self._place() is not place or self._replace()
        elif self._read_as_meant(word):
            return True
        elif place is Place.OPERATOR_ITEM and word[0].isdigit():
            hint = "a batch schedule reads: batch 32, 64 from epoch 3"
            step = _STEP.match(self._text, word.start_pos or 0)
            if step is not None:
                hint = f"write '{step[1]} from epoch {step[2]}'"
                word = self._at_token(word.type, step[0].rstrip())
            self._report("U011", f"{quote(word)} is no factor", word, hint)
        elif place is Place.TOP:
            self.gaps.declarations = self.gaps.edges = True
            self.gaps.meta = self.gaps.meta or not self._has_meta()
            hint = "a section starts with 'meta', 'operator NAME' or 'logical flow'"
            if self._key(word) in FACTORS:
                hint = "put 'operator' and a name above it"
            self._report("U010", f"{quote(word)} stands in no section", word, hint)
        elif place is Place.OPERATOR_ITEM:
            if self._alone_and_in_a_flow(word):
                self._report(
                    "U011", f"unknown factor {quote(word)}", word, f"write 'operator {word}'"
                )
                return self._read_as_operator(word)
            hint = NO_FACTOR.get(self._key(word), "")
            hint = hint or f"there are {COMMON_FACTORS}, among others; docs/udgl.md has them all"
            if not any(c.isalnum() for c in word):
                hint = "delete it"
            self._report("U011", f"unknown factor {quote(word)}", word, hint)
        else:
            if self._alone_and_in_a_flow(word):
                self._report(
                    "U011", f"unknown entry {quote(word)}", word, f"write 'operator {word}'"
                )
                return self._read_as_operator(word)
            hint = f"there are {', '.join(ENTRIES)}"
            self._report("U011", f"unknown entry {quote(word)}", word, hint)
        return self._replace()

    def _alone_and_in_a_flow(self, word: Token) -> bool:
        """Whether the word stands alone on its line and in a flow line: the name of an operator
        without 'operator' before it."""
        start = word.start_pos or 0
        if (
            not _ALONE.match(self._text, start)
            or self._text[start - (word.column or 1) + 1 : start].strip()
        ):
            return False
        if self._in_flows is None:
            self._in_flows = {
                name
                for line in self._text.split("\n")
                if "->" in line or "→" in line
                for name in _NAMES.findall(line)
            }
        return word in self._in_flows

    def _read_as_operator(self, word: Token) -> bool:
        self._start_section("OPERATOR", "operator")
        self._parser.feed_token(self._at_token("NAME", str(word)))
        self._go_to((word.start_pos or 0) + len(word))
        return True

    def _start_section(self, terminal: str, word: str) -> None:
        if terminal not in self._accepted():
            # After a section's word, on its line.
            self._parser.feed_token(self._at_token("_SEP", ""))
        self._parser.feed_token(self._at_token(terminal, word))

    def _has_meta(self) -> bool:
        if self._meta_ahead is None:
            self._meta_ahead = _META_LINE.search(self._text) is not None
        return self._meta_ahead

    @staticmethod
    def _key(word: Token) -> str:
        """The word without a sign of another language after it."""
        match = _KEY_AND_SIGN.match(word)
        return (match[1] if match else str(word)).lower()

    def _elsewhere(self, place: Place, word: Token) -> bool:
        """Tell of a factor that stands in meta, and of an entry that stands in an operator."""
        key = self._key(word)
        if place is Place.META_ITEM and key in FACTORS and key not in ENTRIES:
            hint = f"{quote(key)} is a factor: write 'operator NAME' or 'defaults' above it"
            self._report("U011", f"unknown entry {quote(word)}", word, hint)
            # The line that starts its section is missing, and the section said for nothing.
            self.gaps.declarations = self.gaps.meta = True
            self._start_section("DEFAULTS", "")
            self._parser.feed_token(self._at_token("_SEP", ""))
            self._go_to(word.start_pos or 0)
        elif place is Place.OPERATOR_ITEM and key in ENTRIES and key not in (*FACTORS, "name"):
            hint = f"{quote(key)} is an entry: write it below 'meta'"
            self._report("U011", f"unknown factor {quote(word)}", word, hint)
        else:
            return False
        return True

    def _of_another_language(self, place: Place) -> bool:
        """Tell of comments, braces, and signs after a keyword, and skip them."""
        word, before = self._word, self._before()
        start = word.start_pos or 0
        if word.startswith(COMMENTS):
            self._report("U015", f"{quote(word[:2])} starts no comment", word, "write # instead")
            complete = (Place.AFTER_NAME, Place.AFTER_VALUE, Place.AFTER_FLOW, Place.TARGETS)
            if place not in complete and not self._replace():
                return False
            end = LINE_END.search(self._text, start)
            self._go_to(end.start() if end else len(self._text))
            return True
        if word[:1] in ("{", "}"):
            if not self._braces:
                hint = "there are no braces: a section ends where the next one starts"
                self._report("U015", f"unexpected {quote(word)}", word, hint)
            self._braces = True
            if place is Place.TOP:
                self.gaps.meta = self.gaps.declarations = self.gaps.edges = True
            if place in (Place.AFTER_NAME, Place.AFTER_VALUE, Place.AFTER_FLOW):
                self._go_to(start + 1)
                return True
            return self._replace()
        sign = _SIGN.match(word)
        if sign and place in (Place.VALUE, Place.OPERATOR_NAME, Place.AFTER_FLOW):
            return self._skip_sign(before or word, start, sign[0])
        key = _KEY_AND_SIGN.match(word)
        if key and place in (Place.TOP, Place.META_ITEM, Place.OPERATOR_ITEM, Place.LINE):
            keywords = {keyword(t): t for t in sorted(self._accepted()) if is_keyword(t)}
            terminal = keywords.get(key[1].lower())
            if terminal is not None:
                read = self._at_token(terminal, key[1])
                self._parser.feed_token(read)
                return self._skip_sign(read, start + len(key[1]), key[2])
        return False

    def _skip_sign(self, key: Token, start: int, sign: str) -> bool:
        """Tell of ``sign``, which stands at ``start`` after the keyword ``key``, and read on."""
        value = WORD.search(self._text, start + len(sign), start + len(sign) + 60)
        there = value and not self._text[start + len(sign) : value.start()].strip(" \t")
        word = "operator" if key.type == "OPERATOR" else keyword(key.type)
        hint = f"write '{word} {value[0]}'" if value and there else f"write '{word}'"
        column = (self._token.column or 1) + start - (self._token.start_pos or 0)
        at = Token("SIGN", sign, start, self._token.line, column)
        self._report("U015", f"unexpected {quote(sign)} after {quote(key)}", at, hint)
        self._go_to(start + len(sign))
        return True

    def _at_value(self, place: Place) -> bool:
        """Where a name or a value has to be."""
        word, before = self._word, self._before()
        if place is Place.CASE:
            return self._in_case(word, before)
        terminal = next(t for t in NEEDS if t in self._accepted())
        needed, form = NEEDS[terminal]
        no_name = self._nothing_there() or word.startswith(("→", "->"))
        guessed = before is not None and before.lower() != keyword(before.type)
        if place in (Place.VALUE, Place.OPERATOR_NAME) and guessed:
            # The keyword is told already; what was meant by its value is not known.
            if place is Place.OPERATOR_NAME:
                self.gaps.edges = self.gaps.declarations = True
            return self._replace()
        ends = word[:1] in ("", "\n", "#")
        if place is Place.NAME and ends and self._at_the_last_comma(before):
            return True
        if terminal == "NAME" and not no_name:
            return self._at_no_name(place, word, before)
        if place is not Place.VALUE:
            self._lose_line()
        if place is Place.LINE and no_name:
            hint = "write the source before the arrow"
            self._report("U016", "the flow line does not start with a name", word, hint)
        elif place is Place.NAME and no_name:
            after = "the arrow" if before is not None and before.type == "ARROW" else "a comma"
            block = self._block()
            self._report("U016", f"a name is missing after {after}", word, SHAPES.get(block))
        elif self._nothing_there():
            if place is Place.OPERATOR_NAME:
                self.gaps.declarations = True
            self._report("U012", f"{quote(before or '')} needs {needed}", word, form)
        else:
            brackets = _BRACKETS.match(self._text, word.start_pos or 0)
            if brackets and "]" not in word:
                word = self._at_token(word.type, brackets[0])
            message = f"{quote(before or '')} needs {needed}, found {quote(word)}"
            start = (word.start_pos or 0) + len(word)
            end = SEPARATOR.search(self._text, start)
            after = self._text[start : min(end.start() if end else start, start + 60)]
            key = keyword(before.type) if before is not None else ""
            known = value_hint(terminal, key, word, after)
            self._report("U013", message, word, known or form)
            if len(word) > len(self._word):
                # What stands in the brackets is no factor.
                replaced = self._replace()
                self._go_to(start)
                return replaced
        return self._replace()

    def _at_the_last_comma(self, comma: Token | None) -> bool:
        """Where a line of targets ends with a comma: read on without it, or with the next line
        where that has the other targets."""
        states, stack = self._parser.parse_conf.states, self._parser.state_stack
        if comma is None or comma.type != "_COMMA" or "_NL" not in states[stack[-2]]:
            return False
        start = self._text.index("\n", self._word.start_pos or 0) + 1
        following = self._text[start : start + 400].partition("\n")[0].strip()
        first = following.split(None, 1)[0] if following else ""
        rest = following[len(first) :].strip()
        goes_on = first[:1].isalpha() and not ARROW_AHEAD.match(following + " ")
        if goes_on and (rest[:1].isdigit() or rest.startswith(("when", "otherwise"))):
            source = self._source_before()
            hint = f"repeat the source: {source} -> {following}"
            message = "a flow line ends with its line"
            self._report("U016", message, comma, hint if len(hint) < 100 else None)
            self._next_line(start)
            return True
        self._report("U016", "a name is missing after a comma", comma, "delete the comma")
        self._drop()
        self._go_to(self._word.start_pos or 0)
        return True

    def _source_before(self) -> str:
        """The source of this line or, where it has none, of the line before it."""
        line_start = (self._token.start_pos or 0) - (self._token.column or 1) + 1
        match = _SOURCE.match(self._text, line_start)
        if match is None and line_start:
            above = self._text.rfind("\n", max(0, line_start - 400), line_start - 1) + 1
            match = _SOURCE.match(self._text, above)
        if match is not None:
            self._source = match[1]
        return self._source

    def _at_no_name(self, place: Place, word: Token, before: Token | None) -> bool:
        """Where a name has to be, and a word is that is none."""
        start = word.start_pos or 0
        name = _NAME_AND_ARROW.match(word)
        if place in (Place.LINE, Place.NAME) and name:
            # What is no arrow is told when it is met.
            self._parser.feed_token(self._at_token("NAME", name[1]))
            self._go_to(start + len(name[1]))
            return True
        if place is Place.LINE and word in ("-", "*", "\u2022"):
            hint = f"delete the '{word}'"
            self._report("U016", "the flow line does not start with a name", word, hint)
            self._go_to(start + 1)
            return True
        share = _SHARE.match(self._text, start)
        if place is Place.NAME and share and self._block() == "split":
            hint = f"write '{share[2]} {share[1]}'"
            self._report("U016", "a weight stands after its target", word, hint)
            self._parser.feed_token(self._at_token("NAME", share[2]))
            self._parser.feed_token(self._at_token("PERCENT", share[1]))
            self._go_to(share.end())
            return True
        form = NEEDS["NAME"][1]
        if "->" in word[1:]:
            word = self._at_token(word.type, word.partition("->")[0])
        dressed = NAME_IN_DRESS.fullmatch(word)
        switch = self._block() == "switch"
        if place is Place.LINE and switch and dressed and dressed["name"] in _CASE_WORDS:
            return self._condition_first(self._at_token("NAME", dressed["name"]))
        # After a comma, it may be a part of the condition.
        target = before is None or before.type != "_COMMA"
        target = target or _CASE_AHEAD.match(self._text, start + len(word)) is not None
        in_switch = place is Place.NAME and switch and not target
        if dressed and not (in_switch and word[0] in "\"'"):
            self._at_dressed_name(place, word, dressed)
            return True
        if word not in self._lost:
            if in_switch and word[0] in "\"'":
                form = "a condition has one value: write a case for each"
            elif not word.isascii():
                form = "the letters of a name are those from A to Z and from a to z"
            self._report("U014", f"{quote(word)} is no name", word, form)
        if len(self._lost) < MOST_DIAGNOSTICS:
            self._lost.add(str(word))
        if place is not Place.VALUE:
            self._lose_line()
        if place is Place.OPERATOR_NAME:
            self.gaps.declarations = True
        return self._replace()

    def _at_dressed_name(self, place: Place, word: Token, dressed: re.Match[str]) -> None:
        """Read ``word`` as the name that stands in quotes or brackets, or before a colon."""
        name, before, after = dressed["name"], dressed["before"], dressed["after"]
        start = word.start_pos or 0
        arrow = place is Place.LINE and after == ":"
        if arrow:
            at = Token("SIGN", ":", start, word.line, (word.column or 1) + len(before + name))
            target = WORD.search(self._text, start + len(word), start + len(word) + 60)
            hint = "write → or ->"
            if target and _STARTS_LIKE_A_NAME.match(target[0].strip("[]")):
                hint = f"write '{name} -> {target[0].strip('[]')}'"
            self._report("U016", "':' is no arrow", at, hint)
        elif set(before + after) & set("[]()<>"):
            # The brackets of one line are one mistake.
            if self._bracket_line != word.line:
                self._bracket_line = word.line or 0
                message = f"{quote(word)} is no name"
                self._report("U014", message, word, f"write it without brackets: {name}")
        else:
            hint = f"write it without quotes: {name}" if before else f"write '{name}'"
            self._report("U014", f"{quote(word)} is no name", word, hint)
        column = (word.column or 1) + len(before)
        self._parser.feed_token(Token("NAME", name, start + len(before), word.line, column))
        if arrow:
            self._parser.feed_token(self._at_token("ARROW", "->"))
        self._go_to(start + len(word))

    def _in_case(self, word: Token, target: Token | None) -> bool:
        """After a target, where its condition or weight has to be."""
        start = word.start_pos or 0
        split = "PERCENT" in self._accepted()
        meant = SYNONYMS.get(word.lower(), "")
        plain = _PLAIN_SHARE.fullmatch(word)
        if split and plain:
            share = plain[1]
            if "." in share:
                share = str(round(float(share) * 100))
            percent_word = _PERCENT_WORD.match(self._text, start + len(word))
            self._report("U016", f"{quote(word)} is no weight", word, f"write '{share}%'")
            self._parser.feed_token(self._at_token("PERCENT", f"{share}%"))
            self._go_to(percent_word.end() if percent_word else start + len(word))
            return True
        if not split and target in ELSE and _STARTS_LIKE_A_NAME.match(word):
            hint = f"write '{word} otherwise'"
            self._report("U016", f"{quote(target)} stands after its target", target, hint)
            self._drop()
            name = NAME_IN_DRESS.fullmatch(word)
            if name and name["name"] == word and word not in ("when", "if"):
                self._parser.feed_token(self._at_token("NAME", str(word)))
                self._parser.feed_token(self._at_token("OTHERWISE", "otherwise"))
                self._go_to(start + len(word))
                return True
            self._lose_line()
            return self._replace()
        if not split and (meant in ("when", "otherwise") or word == "default"):
            meant = meant or "otherwise"
            self._report("U011", f"unknown word {quote(word)}", word, f"write '{meant}'")
            read = self._at_token(meant.upper(), meant)
            self._parser.feed_token(read)
            self._go_to(start + len(word))
            return True
        named = quote(target or "")
        if split:
            message, hint = f"target {named} of a split has no weight", SHAPES["split"]
            if word in ("when", "otherwise"):
                hint = "a line with conditions stands under 'switch'"
        else:
            message, hint = f"target {named} of a switch has no condition", SHAPES["switch"]
            if word.endswith("%"):
                hint = "a line with weights stands under 'split'"
            elif word[:1] in ("", "\n", "#"):
                hint = f"write '{target} otherwise' for all other requests"
        line_start = start - (word.column or 1) + 1
        line = self._text[line_start : line_start + 400].partition("\n")[0]
        other = not split and word.endswith("%")
        other = other or (split and word in ("when", "otherwise"))
        if ("%" if split else " when ") not in line and "otherwise" not in line and not other:
            # The line is of another block, and so may be the ones below it.
            other = True
            hint = f"{hint}; a line without {'weights' if split else 'conditions'} "
            hint += "stands under 'distribute'"
        if not self._nothing_there():
            message += f", found {quote(word)}"
        if not other or self._first_of_block(hint):
            self._report("U016", message, word, hint)
        self._lose_line()
        return self._replace()

    def _first_of_block(self, hint: str) -> bool:
        """Whether no line of this block was told to belong in another one, with this hint."""
        opener = self._block_word()
        start = (opener.start_pos or 0) if opener is not None else -1
        first = (start, hint) not in self._told_blocks
        self._told_blocks.add((start, hint))
        return first

    def _lose_line(self) -> None:
        """Note that a flow line, or what may have been one, could not be read."""
        self.gaps.edges = True
        if self._block() in ("switch", "split"):
            self.gaps.choices = True

    def _in_sources(self) -> bool:
        """After a source, where a comma or an arrow has to be."""
        word, before = self._word, self._before()
        start = word.start_pos or 0
        arrow = _LIKE_AN_ARROW.match(word)
        if arrow:
            at = self._at_token("ARROW", arrow[0])
            self._report("U016", f"{quote(arrow[0])} is no arrow", at, "write → or ->")
            self._parser.feed_token(at)
            self._go_to(start + len(arrow[0]))
            return True
        if word in JOINERS:
            return self._read_as_comma()
        if before is not None and before in _CASE_WORDS and self._block() == "switch":
            return self._condition_first(before)
        no_arrow_ahead = not self._flow_line_ahead()
        if not no_arrow_ahead and word in ("when", "if") and self._block() == "switch":
            return self._condition_first(word)
        if no_arrow_ahead and (word in ("when", "otherwise") or word.endswith("%")):
            line = self._text[start : start + 60].partition("\n")[0].partition("#")[0].strip()
            hint = f"repeat the source: {self._source_before()} -> {before or '...'} {line}"
            self._report("U016", "the flow line has no source and no arrow", word, hint)
            self._lose_line()
            return self._replace()
        # The line is "WORD" or "WORD WORD": perhaps its first word was to be a keyword.
        if before is not None and no_arrow_ahead:
            while "ERROR" not in self._accepted() and self._drop():
                pass
            if self._read_as_meant(before):
                return True
        self._lose_line()
        if self._nothing_there():
            hint = "a flow line reads 'source → target' or 'source -> target'"
            self._report("U016", "the flow line has no arrow", word, hint)
        elif _BACKWARDS.match(word):
            hint = "an arrow leads from the source to the target: source -> target"
            self._report("U016", f"{quote(word)} is no arrow", word, hint)
        elif _STARTS_LIKE_A_NAME.match(word):
            hint = "a name is one word; a flow line reads 'source → target'"
            self._report("U016", f"a comma or an arrow is missing before {quote(word)}", word, hint)
        else:
            self._report("U014", f"{quote(word)} cannot stand here", word, NEEDS["NAME"][1])
        return self._replace()

    def _condition_first(self, word: Token) -> bool:
        self._report("U016", "a condition stands after its target", word, SHAPES["switch"])
        self._lose_line()
        return self._replace()

    def _read_as_comma(self) -> bool:
        word, before = self._word, self._before()
        start = word.start_pos or 0
        following = WORD.search(self._text, start + len(word), start + len(word) + 60)
        hint = f"write '{before}, {following[0]}'" if before and following else "write a comma"
        self._report("U016", f"{quote(word)} is no comma", word, hint)
        self._parser.feed_token(self._at_token("_COMMA", ","))
        self._go_to(start + len(word))
        return True

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
            return self._after_target(word, before)
        if place is Place.AFTER_FLOW:
            self._report("U015", f"unexpected {quote(word)}", word, "start a new line")
            if word in BLOCKS:
                self._parser.feed_token(self._at_token("_NL", ""))
                self._go_to(word.start_pos or 0)
                return True
        elif place is Place.AFTER_NAME and before is not None and before.type == "DEFAULTS":
            message = f"unexpected {quote(word)} after {quote(before)}"
            self._report("U015", message, word, "start a new line")
        elif place is Place.AFTER_NAME:
            hint = "a name is one word"
            if _STARTS_LIKE_A_NAME.match(word) and before is not None and len(before + word) < 60:
                hint += f", such as {before}-{word}"
            self._report("U015", f"unexpected {quote(word)} after the name", word, hint)
        elif before is not None and before.type == "BATCH_LIMIT" and word == "from":
            step = _STEP.match(self._text, before.start_pos or 0)
            if step and step[2] == "1":
                hint = "the first batch is that of epoch 1: delete 'from epoch 1'"
                self._report("U015", f"unexpected {quote(word)} after {quote(before)}", word, hint)
                self._skip()
                return True
            what = f"{step[1]} from epoch {step[2]}" if step else "64 from epoch 3"
            hint = (
                f"a batch schedule says 'batch' once, and that of epoch 1 first: batch 32, {what}"
            )
            self._report("U015", f"unexpected {quote(word)} after {quote(before)}", word, hint)
            return self._replace()
        else:
            after = f" after {quote(before)}" if before is not None else ""
            known = after_value_hint(before.type, before, word) if before is not None else None
            hint = known or "a comma or a line end separates"
            self._report("U015", f"unexpected {quote(word)}{after}", word, hint)
        self._skip()
        return True

    def _after_target(self, word: Token, before: Token | None) -> bool:
        block = self._block()
        if word in ("→", "->"):
            self._lose_line()
            hint = "write each edge on its own line"
            self._report("U016", "a second arrow in one line", word, hint)
            return self._replace()
        if word in JOINERS:
            return self._read_as_comma()
        if block in ("distribute", "reduce") and (
            word in ("when", "otherwise", "if") or word[:1].isdigit()
        ):
            self._lose_line()
            hint = "lines with conditions stand under 'switch'"
            if word[:1].isdigit():
                hint = "lines with weights stand under 'split'"
            if self._first_of_block(hint):
                self._report("U016", f"{quote(word)} cannot stand under {quote(block)}", word, hint)
            return self._replace()
        if before is not None and before.type == "OTHERWISE":
            hint = "delete it; or write 'when' in place of 'otherwise'"
            self._report("U016", f"unexpected {quote(word)} after 'otherwise'", word, hint)
            self._skip()
            return True
        hint = f"write '{before}, {word}'" if before is not None else "write a comma"
        self._report("U016", f"a comma is missing before {quote(word)}", word, hint)
        if _STARTS_LIKE_A_NAME.match(word):
            self._parser.feed_token(self._at_token("_COMMA", ","))
            self._go_to(word.start_pos or 0)
            return True
        self._lose_line()
        return self._replace()

    def _read_as_meant(self, word: Token) -> bool:
        """Read the misspelt ``word`` as the keyword that was meant, if one was."""
        if len(word) < 2 or not word[0].isalpha():
            return False
        sign = _KEY_AND_SIGN.match(word)
        plain = sign[1] if sign else str(word)
        keywords = {keyword(t): t for t in sorted(self._accepted()) if is_keyword(t)}
        meant = SYNONYMS.get(plain.lower())
        if plain.lower() in NO_FACTOR and "image" in keywords:
            return False
        if meant in keywords:
            written = "logical flow" if plain.lower().startswith("logical") else meant
            near, hint = meant, f"write '{written}'"
        elif len(plain) < 3 or (found := Suggestions(keywords).near(plain)) is None:
            return False
        else:
            near, hint = found, f"did you mean '{found}'?"
        key = keywords[near].startswith("KEY_")
        what = "factor" if key and "KEY_IMAGE" in self._accepted() else "entry" if key else "word"
        if plain.lower() == near:
            hint = f"keywords are in small letters: {near}"
        self._report(
            "U011",
            f"unknown {what} {quote(plain)}",
            Token("", plain, word.start_pos, word.line, word.column),
            hint,
        )
        start = word.start_pos or 0
        read = Token(keywords[near], plain, start, word.line, word.column)
        self._parser.feed_token(read)
        # A sign after a misspelt word is part of that mistake.
        self._go_to(start + (sign.end() if sign else len(word)))
        if near == "flow" and plain.lower() == "logical":
            # What follows was to be the word 'flow'.
            following = _WORD_AHEAD.match(self._text, start + len(word))
            if following is not None:
                self._go_to(following.end())
        return True
