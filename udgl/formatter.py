"""Canonical text of a UDGL file: the look of :func:`udgl.dumps`, with every comment kept.

The order of everything stays the author's, and so does which factors share a line. What changes is
white space, ``→`` for ``->``, ``Yes`` and ``No``, ``logical flow`` for ``flow``. A section stands
after a blank line; elsewhere one blank line is kept where there were some. A comment at a line's
end stays there, and one on a line of its own stays above what it stood above; where a blank line
parts it from the next section, and none from the lines before, it belongs to those. Where the value
of a factor stands on a line below its word, with a comment between the two, it stays there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from udgl.diagnostics import UdglError
from udgl.parser import syntax_errors, tokens

_SECTIONS = ("META", "DEFAULTS", "OPERATOR", "FLOW")
_BLOCKS = ("DISTRIBUTE", "REDUCE", "SWITCH", "SPLIT")
_ITEM = "item"
_END = "end"

_INDENT = "  "


class _Gap(NamedTuple):
    """What stands between two parts of a text: the comment at the end of the first one's line, the
    lines between (a comment each, or empty), and whether there is a line end at all."""

    comment: str | None
    lines: list[str]
    breaks: bool


def format_text(text: str, source: str = "<string>") -> str:
    """``text`` in canonical form, which :func:`udgl.parse` reads as the same graph; what is
    canonical stays as it is. Ends with one line end, if there is anything.

    Raises :class:`udgl.UdglError` for syntax errors; ``source`` is the text's name in it. Errors of
    meaning, such as a cycle, are no reason not to format. Takes time linear in the text.
    """
    read = tokens(text)
    if read is None:
        raise UdglError(source, syntax_errors(text, source), text)
    lines: list[str] = []
    section = before = ""
    for kind, words, separator in _parts(read):
        gap = _gap(separator, at_start=not before)
        if gap.comment:
            lines[-1] += f"  {gap.comment}"
        if kind != _ITEM:
            _add_before_section(lines, gap.lines, before, kind)
            lines.append(words)
            section = kind
        elif before == _ITEM and section in ("OPERATOR", "DEFAULTS") and not gap.breaks:
            lines[-1] += f", {words}"
        else:
            between = gap.lines if before == _ITEM else _from_first(gap.lines)
            _add(lines, between, _INDENT)
            lines.append(f"{_INDENT}{words}")
        before = kind
    # The end is a part without words.
    text = "\n".join(lines[:-1]).rstrip("\n")
    return f"{text}\n" if text else ""


def _add_before_section(lines: list[str], between: list[str], before: str, kind: str) -> None:
    """Add the lines that stand before a section, a block or the end."""
    if kind in _BLOCKS and before != _ITEM:
        # A block right below a head stands close to it.
        between = _from_first(between)
    if before not in ("", "FLOW") or (before == "FLOW" and kind not in _BLOCKS):
        count = next((n for n, line in enumerate(between) if not line), len(between))
        if count < len(between) or kind == _END:
            # No blank line before these, but one after.
            _add(lines, between[:count], _INDENT)
            between = between[count:]
    if kind in _BLOCKS:
        _add(lines, between, "")
        return
    if lines:
        lines.append("")
    _add(lines, _from_first(between), "")


def _add(lines: list[str], more: Iterable[str], indent: str) -> None:
    lines += (f"{indent}{line}" if line else "" for line in more)


def _from_first(lines: list[str]) -> list[str]:
    """The lines without a blank one at their start."""
    return lines[1:] if lines and not lines[0] else lines


def _parts(read: list[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Section heads, words of blocks, and items (an entry, a factor or a flow line); of each its
    kind, its canonical text, and the separator before it. Last the end, with none."""
    separator = ""
    kind = ""
    words: list[str] = []
    named = False
    for terminal, word in read:
        if terminal == "_BREAK":
            gap = _gap(word)
            if gap.comment or any(gap.lines):
                after = [f"  {gap.comment}"] if gap.comment else []
                own = [f"\n{_INDENT * 2}{line}" for line in gap.lines if line]
                words += [*after, *own, f"\n{_INDENT * 2}"]
        elif terminal == "_COMMA":
            words.append(",")
        elif terminal[0] == "_":
            if kind:
                yield kind, "".join(words), separator
            kind, words, separator = "", [], word
        elif terminal in _SECTIONS or terminal in _BLOCKS:
            kind = terminal
            words = ["logical flow" if terminal == "FLOW" else word]
            named = terminal != "OPERATOR"
        elif kind == "OPERATOR" and not named:
            named = True
            words.append(f" {word}")
        else:
            if kind and kind != _ITEM:
                yield kind, "".join(words), separator
                kind, words, separator = "", [], ""
            text = _canonical(terminal, word, words)
            words.append(f" {text}" if kind and words[-1][-1] != " " else text)
            kind = _ITEM
    yield _END, "", separator


def _gap(separator: str, *, at_start: bool = False) -> _Gap:
    first, *rest = separator.split("\n")
    comment = _comment(first)
    # The last line is that of the next part.
    lines = [_comment(line) for line in rest[:-1] if line.strip() != ","]
    if at_start:
        lines = [comment, *lines] if rest else []
        comment = ""
    kept = [line for n, line in enumerate(lines) if line or n == 0 or lines[n - 1]]
    return _Gap(comment or None, kept, bool(rest))


def _comment(line: str) -> str:
    """The comment in a line of a separator; a comma may stand before it."""
    return line.strip().removeprefix(",").strip()


def _canonical(terminal: str, word: str, before: list[str]) -> str:
    """The word or value as it is written; ``before`` is what its item has so far."""
    if terminal == "ARROW":
        return "→"
    if terminal == "BOOLEAN":
        return "Yes" if word.lower() in ("yes", "true") else "No"
    if terminal in ("DURATION", "SIZE", "PERCENT"):
        return "".join(word.split())
    if terminal in ("BATCH_LIMIT", "SCHEDULE_STEP", "EARLY_STOP"):
        return " ".join(word.split())
    if terminal == "TEXT" and before and before[0] in ("tags", "platform"):
        listed = [each.strip() for each in word.split(",")]
        return ", ".join(filter(None, listed)) or word.strip()
    return word.strip() if terminal in ("TEXT", "CONDITION") else word
