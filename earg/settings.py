"""Numbers from the environment, within their bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping


class SettingError(ValueError):
    """A variable that holds no number, or one out of bounds, as a sentence."""


def whole_number(
    environment: Mapping[str, str], name: str, default: int, least: int, most: int
) -> int:
    """The variable ``name``, or ``default`` where it is not set; raises :class:`SettingError`."""
    text = environment.get(name)
    if text is None:
        return default
    # int() takes time over thousands of digits, and takes more than digits.
    if text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most:
        return int(text)
    raise SettingError(f"{name} must be a whole number from {least} to {most}, not {text[:40]!r}")


def port_number(environment: Mapping[str, str], name: str, default: int) -> int:
    """A TCP port; raises :class:`SettingError`."""
    return whole_number(environment, name, default, 1, 65535)


def real_number(
    environment: Mapping[str, str], name: str, default: float, least: float, most: float
) -> float:
    """The variable ``name``, or ``default`` where it is not set; raises :class:`SettingError`."""
    text = environment.get(name)
    if text is None:
        return default
    try:
        value = float(text) if len(text) < 40 else math.nan
    except ValueError:
        value = math.nan
    if least <= value <= most:
        return value
    raise SettingError(f"{name} must be a number from {least:g} to {most:g}, not {text[:40]!r}")
