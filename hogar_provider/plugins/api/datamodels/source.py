"""A graph's texts."""

from __future__ import annotations

from pydantic import BaseModel


class SourceView(BaseModel):
    """``udgl`` is the DAG's code as Airflow keeps it. ``earg`` and ``extras`` are what runs where
    ``deployed``, else what the UDGL text compiles to."""

    udgl: str
    earg: str
    extras: str
    deployed: bool
