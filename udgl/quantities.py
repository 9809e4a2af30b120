"""Times, amounts of memory and pairs, as a text writes them and back.

Each ``parse_...`` reads what the grammar's terminal accepts; each ``format_...`` writes the
shortest text that reads as the same value.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal

_UNITS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}

_SIZES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}

_QUANTITY = re.compile(r"([0-9.]+)\s*([A-Za-z]*)")

LONGEST_NUMBER = 30
"""Characters of a number that are read: more would take time that grows with their square."""


def parse_duration(text: str) -> float | None:
    """Seconds, of ``5ms``, ``1.5s``, ``2m``, ``1h`` or ``0``; None for a longer number."""
    match = _QUANTITY.fullmatch(text)
    if match is None or len(match[1]) > LONGEST_NUMBER:
        return None
    return float(Decimal(match[1]) * _UNITS[match[2] or "s"])


def format_duration(seconds: float) -> str:
    """A text that :func:`parse_duration` reads as ``seconds``, which are finite and at least 0."""
    if not seconds:
        return "0"
    # Without a unit's last digits being lost: float -> shortest decimal -> exact division.
    exact = Decimal(repr(float(seconds)))
    for unit in ("h", "m", "s", "ms"):
        amount = exact / _UNITS[unit]
        if amount == amount.to_integral_value() and amount * _UNITS[unit] == exact:
            return f"{int(amount)}{unit}"
    unit = "s" if exact >= 1 else "ms"
    return f"{(exact / _UNITS[unit]).normalize():f}{unit}"


def parse_size(text: str) -> int | None:
    """Bytes, of ``512MiB``, ``512Mi``, ``1.5GB`` or ``100B``; None where it is no whole number of
    bytes, or a longer number."""
    match = _QUANTITY.fullmatch(text)
    if match is None or len(match[1]) > LONGEST_NUMBER:
        return None
    unit = match[2][0].upper() + match[2][1:]
    size = Decimal(match[1]) * _SIZES[unit if unit.endswith("B") else f"{unit}B"]
    return int(size) if size == size.to_integral_value() else None


def format_size(size: int) -> str:
    """A text that :func:`parse_size` reads as ``size`` bytes."""
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "KB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return f"{size}B"


def parse_number(text: str) -> float | None:
    """The number; None where it is longer than numbers are, or infinite."""
    if len(text) > LONGEST_NUMBER:
        return None
    number = float(text)
    return number if abs(number) != float("inf") else None


def format_number(number: float) -> str:
    """A text that :func:`parse_number` reads as ``number``."""
    whole = int(number)
    return str(whole) if whole == number and abs(whole) < 10**15 else repr(number)


def parse_value(text: str) -> str | None:
    """A word, or what stands in the double quotes; None where those hold no JSON text."""
    if not text.startswith('"'):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, str) and _whole(value) else None


def format_value(value: str) -> str:
    """``value`` as one word where that can be, else in double quotes."""
    return value if re.fullmatch(r"""[^\s,#"]+""", value) else json.dumps(value, ensure_ascii=False)


def parse_pair(text: str) -> tuple[str, str] | None:
    """Name and value of ``NAME=value``; None where the quotes hold no JSON text."""
    name, _, written = text.partition("=")
    value = parse_value(written)
    return None if value is None else (name, value)


def format_pair(name: str, value: str) -> str:
    """A text that :func:`parse_pair` reads as this pair."""
    return f"{name}={format_value(value) if value else ''}"


def _whole(value: str) -> bool:
    """Whether it can be written as UTF-8: JSON's escapes can name half of a surrogate pair."""
    return not any("\ud800" <= c <= "\udfff" for c in value)
