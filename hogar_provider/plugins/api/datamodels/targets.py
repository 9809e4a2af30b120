"""What a graph compiles to for other platforms."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class TargetView(BaseModel):
    """A platform that a graph can be compiled to; ``declared`` where the graph names it."""

    name: str
    description: str
    declared: bool


class TargetsReply(BaseModel):
    """All of them, in alphabetical order."""

    targets: list[TargetView]


class Finding(BaseModel):
    """What a platform cannot express, or not as a whole. ``line`` is the UDGL text's, from 1; 0
    where it is about no line."""

    code: str
    severity: Literal["error", "warning", "note"]
    message: str
    hint: str
    line: int


class TargetFile(BaseModel):
    """A file, whose ``name`` is relative, with ``/`` between folders."""

    name: str
    text: str


class CompiledView(BaseModel):
    """``files`` is empty where one of the ``findings`` is an error."""

    name: str
    files: list[TargetFile]
    findings: list[Finding]
