"""Versions for platforms that number them: a folder of whole numbers for each model."""

from __future__ import annotations

from udgl.graph import Operator


def is_numbered(operator: Operator) -> bool:
    """Whether the operator's version is a whole number of 64 bits, at least 1."""
    version = operator.version
    return version.isdecimal() and version.isascii() and len(version) < 19 and int(version) > 0


def version_number(operator: Operator) -> str:
    """The number of the operator's version; 1 where that is none."""
    return str(int(operator.version)) if is_numbered(operator) else "1"
