"""Enough of TextMate's rules to colour a text by a grammar: begin/end, match, captures, include.

Editors run the expressions with Oniguruma; those of UDGL's grammar mean the same to ``re``.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple


class Colored(NamedTuple):
    """``text`` at ``column`` of ``line`` (both from 0) has ``scope``, the innermost one."""

    line: int
    column: int
    text: str
    scope: str


@cache
def compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression)


def colored(grammar: dict[str, Any], text: str) -> list[Colored]:
    """What has a scope, in order."""
    found: list[Colored] = []
    stack: list[dict[str, Any]] = [{"patterns": grammar["patterns"]}]
    for number, line in enumerate(text.split("\n")):
        position = 0
        # Where a rule was begun that took no text: it may not begin there once more.
        begun: set[tuple[int, int]] = set()
        while position <= len(line):
            top = stack[-1]
            best: tuple[int, int, re.Match[str], dict[str, Any] | None] | None = None
            if "end" in top and (end := compiled(top["end"]).search(line, position)):
                best = (end.start(), -1, end, None)
            for order, rule in enumerate(_rules(grammar, top["patterns"])):
                expression = rule.get("match") or rule["begin"]
                match = compiled(expression).search(line, position)
                if match is None or (id(rule), match.start()) in begun:
                    continue
                if best is None or (match.start(), order) < best[:2]:
                    best = (match.start(), order, match, rule)
            if best is None:
                _add(found, number, line, position, len(line), top.get("name"))
                break
            start, _, match, rule = best
            _add(found, number, line, position, start, top.get("name"))
            if rule is None:
                _add(found, number, line, start, match.end(), top.get("name"))
                stack.pop()
                if position == match.end() == len(line):
                    break
            else:
                if "begin" in rule:
                    stack.append(rule)
                    begun.add((id(rule), match.start()))
                captures = rule.get("captures") or rule.get("beginCaptures") or {}
                for group, capture in captures.items():
                    first, last = match.span(int(group))
                    if last > first:
                        _add(found, number, line, first, last, capture["name"])
                if not captures:
                    _add(found, number, line, start, match.end(), rule.get("name"))
                assert match.end() > position or "begin" in rule, "a rule that takes nothing"
            position = match.end()
        while len(stack) > 1 and (end := compiled(stack[-1]["end"]).search(line, len(line))):
            stack.pop()
    return found


def _rules(grammar: dict[str, Any], patterns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = []
    for pattern in patterns:
        if "include" in pattern:
            named = grammar["repository"][pattern["include"].removeprefix("#")]
            plain = "match" in named or "begin" in named
            rules += _rules(grammar, [named] if plain else named["patterns"])
        else:
            rules.append(pattern)
    return rules


def _add(
    found: list[Colored], line: int, text: str, start: int, end: int, scope: str | None
) -> None:
    if scope and end > start:
        found.append(Colored(line, start, text[start:end], scope))
