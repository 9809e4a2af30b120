"""What the factors of one operator, or of ``defaults``, say: tokens to values.

A value that cannot be used is reported at its words, and the factor then counts as not given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lark.lexer import Token

from udgl.diagnostics import Diagnostic, quote
from udgl.graph import BatchStep, EarlyStop, Span
from udgl.quantities import (
    parse_duration,
    parse_number,
    parse_pair,
    parse_size,
    parse_value,
)

LARGEST_BATCH = 999_999_999
"""The largest batch limit; EARG's own readers take no more digits."""

LARGEST_COUNT = 1_000_000
"""The most replicas, retries and epochs that the language takes; platforms take fewer."""

_Read = Callable[[Token, list[Diagnostic]], Any]


@dataclass(slots=True)
class Factors:
    """The values of one section, by the names of :class:`udgl.graph.Operator`'s fields."""

    values: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    """By the names of :class:`udgl.graph.Training`'s fields; ``function`` is there where the
    operator is trained."""
    steps: list[BatchStep] = field(default_factory=list)
    spans: list[tuple[str, Span]] = field(default_factory=list)
    whole: bool = True
    """Whether all of the section's factors could be read."""


def read_factors(section: list[Any], owner: str, found: list[Diagnostic]) -> Factors:
    """The factors of a ``section`` (lists of keyword and value, a step alone, or ERROR alone);
    ``owner`` is what messages call it."""
    factors = Factors()
    values, spans = factors.values, factors.spans
    seen: set[str] = set()
    after_batch = False
    for pair in section:
        if len(pair) == 1:
            token = pair[0]
            if token.type == "SCHEDULE_STEP":
                _read_step(token, after_batch, factors, found)
            else:
                factors.whole = False
                # What could not be read may have been the batch limit.
                after_batch = True
            continue
        key, token = pair
        kind = key.type
        after_batch = kind == "KEY_BATCH"
        name, read = _READERS[kind]
        word = kind[4:].lower().replace("_", "-")
        if kind in seen and kind not in _REPEATED:
            # A misspelt word was told already, and may have been another one.
            if key == word:
                message = f"{quote(key)} of {quote(owner)} is given twice"
                hint = "delete one of them"
                found.append(Diagnostic("U104", message, span_of(key), hint))
            continue
        seen.add(kind)
        value = read(token, found)
        if value is None:
            factors.whole = False
            continue
        if kind == "KEY_BATCH":
            values["batch"], values["dynamic"] = value
        elif kind in _REPEATED:
            into = values if kind == "KEY_ENV" else factors.training
            pairs = into.setdefault(name, {})
            if value[0] in pairs:
                message = f"{quote(value[0])} is given twice among {quote(key)} of {quote(owner)}"
                found.append(Diagnostic("U133", message, span_of(token), "delete one of them"))
            pairs[value[0]] = value[1]
        elif kind in _OF_TRAINING:
            factors.training[name] = value
        else:
            values[name] = value
        spans.append((word, span_of(token)))
    return factors


def span_of(token: Token) -> Span:
    """Where the token stands; trailing white space is no part of it."""
    assert token.line is not None
    assert token.column is not None
    return Span(token.line, token.column, token.column + len(token.rstrip() or token))


def _read_step(token: Token, after_batch: bool, factors: Factors, found: list[Diagnostic]) -> None:
    words = token.split()
    batch = _batch_size(token, words[0], found)
    epoch = _whole_number(words[3])
    if not after_batch and not factors.steps:
        message = f"{quote(token)} does not follow a batch limit"
        hint = "a batch schedule reads: batch 32, 64 from epoch 3"
        found.append(Diagnostic("U019", message, span_of(token), hint))
        factors.whole = False
    elif batch is None or not 1 <= epoch <= LARGEST_COUNT:
        if batch is not None:
            message = f"epoch {quote(words[3])} is out of range"
            hint = f"epochs count from 1, to at most {LARGEST_COUNT}"
            found.append(Diagnostic("U125", message, span_of(token), hint))
        factors.whole = False
    else:
        factors.steps.append(BatchStep(epoch, batch))
        factors.spans.append(("step", span_of(token)))


def _whole_number(digits: str) -> int:
    # Reading more digits than these would take time that grows with their square.
    return int(digits) if len(digits) <= 12 else 10**12


def _batch_size(token: Token, digits: str, found: list[Diagnostic]) -> int | None:
    size = _whole_number(digits)
    if 1 <= size <= LARGEST_BATCH:
        return size
    wrong = "is not at least 1" if size < 1 or digits.startswith("-") else "is too large"
    hint = "1 is no batching" if wrong == "is not at least 1" else f"the most is {LARGEST_BATCH}"
    found.append(Diagnostic("U109", f"batch {quote(digits)} {wrong}", span_of(token), hint))
    return None


def _batch(token: Token, found: list[Diagnostic]) -> tuple[int, bool] | None:
    size = _batch_size(token, token.split()[-1], found)
    # A limit out of range is told once: what is read on has some limit.
    return (1 if size is None else size, token.startswith("dynamic"))


def _text(token: Token, found: list[Diagnostic]) -> str:
    return str(token)


def _flag(token: Token, found: list[Diagnostic]) -> bool:
    return token.lower() in ("yes", "true")


def _out_of_range(token: Token, hint: str, found: list[Diagnostic]) -> None:
    found.append(Diagnostic("U125", f"{quote(token)} is out of range", span_of(token), hint))


def _count(least: int, most: int, hint: str) -> _Read:
    def read(token: Token, found: list[Diagnostic]) -> int | None:
        number = _whole_number(token)
        if least <= number <= most:
            return number
        _out_of_range(token, hint, found)
        return None

    return read


def _number(hint: str) -> _Read:
    def read(token: Token, found: list[Diagnostic]) -> float | None:
        number = parse_number(token)
        if number is not None and number > 0:
            return number
        _out_of_range(token, hint, found)
        return None

    return read


def _duration(most: float, *, zero: bool, hint: str) -> _Read:
    def read(token: Token, found: list[Diagnostic]) -> float | None:
        seconds = parse_duration(token)
        if seconds is not None and seconds <= most and (seconds > 0 or zero):
            return seconds
        _out_of_range(token, hint, found)
        return None

    return read


def _size(token: Token, found: list[Diagnostic]) -> int | None:
    size = parse_size(token)
    hint = "an amount of memory is a whole number of bytes, at least 1"
    if not size:
        _out_of_range(token, hint, found)
    return size or None


def _quoted(parse: Callable[[str], Any], token: Token, found: list[Diagnostic]) -> Any:
    value = parse(str(token))
    if value is None:
        message = f"what stands in the double quotes of {quote(token)} is no text"
        hint = r"in double quotes write \" for a quote, \\ for a backslash, \n for a line end"
        found.append(Diagnostic("U013", message, span_of(token), hint))
    return value


def _value(token: Token, found: list[Diagnostic]) -> str | None:
    value: str | None = _quoted(parse_value, token, found)
    return value


def _pair(token: Token, found: list[Diagnostic]) -> tuple[str, str] | None:
    pair: tuple[str, str] | None = _quoted(parse_pair, token, found)
    return pair


def _early_stop(token: Token, found: list[Diagnostic]) -> EarlyStop | None:
    *metric, digits = token.split()
    patience = _whole_number(digits)
    if not 1 <= patience <= LARGEST_COUNT:
        _out_of_range(token, "the patience is at least 1 epoch", found)
        return None
    return EarlyStop(patience, *metric)


LONGEST_WAIT = 60.0
LONGEST_TIME = 86_400.0

_READERS: dict[str, tuple[str, _Read]] = {
    "KEY_VERSION": ("version", _text),
    "KEY_IMAGE": ("image", _text),
    "KEY_ENTRYPOINT": ("entrypoint", _text),
    "KEY_BATCH": ("batch", _batch),
    "KEY_STATEFUL": ("stateful", _flag),
    "KEY_WAIT": ("wait", _duration(LONGEST_WAIT, zero=True, hint="a batch waits at most 60 s")),
    "KEY_LATENCY": (
        "latency",
        _duration(LONGEST_TIME, zero=False, hint="above 0, and at most 24 h"),
    ),
    "KEY_TIMEOUT": (
        "timeout",
        _duration(LONGEST_TIME, zero=False, hint="above 0, and at most 24 h"),
    ),
    "KEY_RETRIES": ("retries", _count(0, 100, "retries are 0 to 100")),
    "KEY_REPLICAS": (
        "replicas",
        _count(1, LARGEST_COUNT, f"replicas are 1 to {LARGEST_COUNT}"),
    ),
    "KEY_BACKUP": ("backup", _count(0, 1, "a backup is 0 or 1")),
    "KEY_CPU": ("cpu", _number("above 0 cores")),
    "KEY_MEMORY": ("memory", _size),
    "KEY_GPU": ("gpu", _count(0, 1024, "GPUs are 0 to 1024")),
    "KEY_HOST": ("host", _text),
    "KEY_ENV": ("env", _pair),
    "KEY_INPUT": ("input", _text),
    "KEY_OUTPUT": ("output", _text),
    "KEY_TRAIN": ("function", _text),
    "KEY_EPOCHS": ("epochs", _count(1, LARGEST_COUNT, f"epochs are 1 to {LARGEST_COUNT}")),
    "KEY_LEARNING_RATE": ("learning_rate", _number("above 0")),
    "KEY_EARLY_STOP": ("early_stop", _early_stop),
    "KEY_DATASET": ("dataset", _value),
    "KEY_PARAM": ("params", _pair),
}
"""For each keyword, the field that it gives and how its value is read."""

_REPEATED = {"KEY_ENV", "KEY_PARAM"}
_OF_TRAINING = {
    "KEY_TRAIN",
    "KEY_EPOCHS",
    "KEY_LEARNING_RATE",
    "KEY_EARLY_STOP",
    "KEY_DATASET",
    "KEY_PARAM",
}
