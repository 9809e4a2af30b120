"""Stopping a graph."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DrainOrder(BaseModel):
    """How long the graph may take to answer what it has accepted; with ``force`` it is stopped
    then all the same, else it serves again."""

    model_config = ConfigDict(extra="forbid")

    timeout_s: float = Field(60.0, ge=0, le=300, allow_inf_nan=False)
    force: bool = False


class DrainResult(BaseModel):
    """``left`` requests were without their reply when the time had passed."""

    stopped: bool
    left: int


class Down(BaseModel):
    """The graph is taken down."""
