"""A graph's texts."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Piece(BaseModel):
    """A stretch of text within a line, and what it is coloured as; ``""`` is plain text."""

    kind: Literal["", "key", "name", "flow", "value", "comment"]
    text: str


class SourceView(BaseModel):
    """``udgl`` is the DAG's code as Airflow keeps it. ``earg`` and ``extras`` are what runs where
    ``deployed``, else what the UDGL text compiles to. ``udgl_lines`` are the lines of ``udgl`` in
    coloured pieces, None where it is too long to be coloured."""

    udgl: str
    udgl_lines: list[list[Piece]] | None
    earg: str
    extras: str
    deployed: bool
