"""Payload types as tensors, for platforms that know nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TENSOR = re.compile(r"([A-Za-z][A-Za-z0-9]*)(?:\[([0-9?x]+)\])?")

ELEMENTS = (
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "fp16",
    "fp32",
    "fp64",
    "bf16",
)
"""The element types of tensors, as the Open Inference Protocol names them (in small letters)."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A payload as a tensor without its batch dimension; -1 is a length that may vary."""

    element: str
    """One of :data:`ELEMENTS`, or ``bytes`` for text, JSON, media and anything else."""

    shape: tuple[int, ...]


def as_tensor(payload: str | None) -> Tensor:
    """What ``payload`` (a type of ``input`` or ``output``) is as a tensor."""
    match = _TENSOR.fullmatch(payload or "")
    if match is not None and match[1].lower() in ELEMENTS:
        lengths = match[2].split("x") if match[2] else ["1"]
        return Tensor(match[1].lower(), tuple(-1 if n == "?" else int(n) for n in lengths))
    return Tensor("bytes", (1,))
