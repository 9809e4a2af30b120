"""YAML that a person writes, read without YAML's surprises.

Only ``true``, ``false``, ``null`` and numbers as JSON writes them are anything but text, so that
an operator called ``No`` or ``1:30`` stays text. A key is the text that is written. Anchors,
aliases, tags, several documents and a key that comes twice are refused, as is deep nesting.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 8
"""How deep lists and mappings may nest."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?\Z")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class PlainYamlError(ValueError):
    """A text that is not YAML of this kind; ``line`` and ``column`` are 1-based, or 0."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(f"line {line}, column {column}: {message}" if line else message)
        self.message = message
        self.line = line
        self.column = column


def load_plain(text: str) -> Any:
    """The mappings, lists, text, numbers and words of ``text``; None where it is empty.

    JSON is read as such first, and needs no YAML library. Raises :class:`PlainYamlError`.
    """
    if text.lstrip(" \t\r\n").startswith(("{", "[")):
        try:
            return json.loads(text, object_pairs_hook=_unique, parse_constant=str)
        except json.JSONDecodeError:
            pass  # YAML may begin with a brace as well
        except RecursionError:
            raise PlainYamlError(f"lists and mappings nest more than {MAX_DEPTH} deep") from None
        except PlainYamlError:
            raise
        except ValueError:
            raise PlainYamlError("a number has too many digits") from None
    return _load_yaml(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise PlainYamlError(f"the key {twice!r} comes twice")
    return found


def _load_yaml(text: str) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _build(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"this is not YAML: {error.problem or error.context}"
        raise PlainYamlError(message, *((mark.line + 1, mark.column + 1) if mark else ())) from None
    except yaml.YAMLError as error:
        raise PlainYamlError(f"this is not YAML: {error}") from None
    except UnicodeEncodeError:
        raise PlainYamlError("this is not YAML: it holds half of a surrogate pair") from None


class _Open:
    """A list or a mapping that is being read."""

    def __init__(self, is_mapping: bool) -> None:
        self.is_mapping = is_mapping
        self.members: list[Any] = []
        self.pairs: dict[str, Any] = {}
        self.key: str | None = None

    @property
    def wants_key(self) -> bool:
        return self.is_mapping and self.key is None

    def add(self, value: Any) -> None:
        if self.key is None:
            self.members.append(value)
        else:
            self.pairs[self.key] = value
            self.key = None

    @property
    def value(self) -> Any:
        return self.pairs if self.is_mapping else self.members


def _build(events: Any) -> Any:
    import yaml

    # The outermost list holds the documents.
    open_ = [_Open(False)]
    for event in events:
        mark = event.start_mark
        at = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        if isinstance(event, yaml.DocumentStartEvent):
            if open_[0].members:
                raise PlainYamlError("one document is expected, not several", *at)
        elif isinstance(event, yaml.AliasEvent):
            raise PlainYamlError("an alias (*name) is not accepted; write the value out", *at)
        elif isinstance(event, yaml.NodeEvent):
            _refuse_decoration(event, at)
            top = open_[-1]
            if isinstance(event, yaml.ScalarEvent):
                if not top.wants_key:
                    top.add(_scalar(event))
                elif event.value in top.pairs:
                    raise PlainYamlError(f"the key {event.value!r} comes twice", *at)
                else:
                    top.key = event.value
                continue
            if top.wants_key:
                raise PlainYamlError("a key has to be plain text", *at)
            if len(open_) > MAX_DEPTH:
                raise PlainYamlError(f"lists and mappings nest more than {MAX_DEPTH} deep", *at)
            open_.append(_Open(isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            done = open_.pop()
            open_[-1].add(done.value)
    documents = open_[0].members
    return documents[0] if documents else None


def _refuse_decoration(event: Any, at: tuple[int, int]) -> None:
    if event.anchor is not None:
        raise PlainYamlError("an anchor (&name) is not accepted; write the value out", *at)
    if event.tag is not None:
        raise PlainYamlError(f"a tag ({event.tag}) is not accepted", *at)


def _scalar(event: Any) -> Any:
    text: str = event.value
    if event.style is not None and event.style != "":
        return text
    if text in _WORDS:
        return _WORDS[text]
    if not _NUMBER.match(text):
        return text
    return float(text) if any(c in text for c in ".eE") else int(text)
