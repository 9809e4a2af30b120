"""Changing how a node batches, and who has."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class BatchChange(BaseModel):
    """What is absent stays as it is; ``reset`` goes back to what is declared, and stands alone.
    The bounds are the runtime's own."""

    model_config = ConfigDict(extra="forbid")

    limit: int | None = Field(None, ge=1, le=2**31 - 1)
    wait_ms: float | None = Field(None, ge=0, le=60_000, allow_inf_nan=False)
    objective_ms: float | None = Field(None, ge=0, le=86_400_000, allow_inf_nan=False)
    dynamic: bool | None = None
    reset: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> BatchChange:
        given = [self.limit, self.wait_ms, self.objective_ms, self.dynamic]
        some = any(value is not None for value in given)
        if self.reset and some:
            raise ValueError("'reset' stands alone: leave the other fields out")
        if not self.reset and not some:
            raise ValueError("name limit, wait_ms, objective_ms or dynamic, or reset")
        return self


class BatchSettingView(BaseModel):
    """How a node batched at one time."""

    limit: int
    dynamic: bool
    wait_ms: float
    objective_ms: float


class BatchChangeRecord(BaseModel):
    """A change as Airflow's audit log has it; ``from`` is what was set before."""

    model_config = ConfigDict(populate_by_name=True)

    at: float
    who: str
    node: str
    before: BatchSettingView = Field(alias="from")
    after: BatchSettingView = Field(alias="to")


class BatchChangeList(BaseModel):
    """The newest first."""

    changes: list[BatchChangeRecord]
