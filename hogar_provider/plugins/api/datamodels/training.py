"""Trainings: their epochs, and changing their batch size. Times are in seconds since 1970."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from earg.training.batch import LARGEST_BATCH


class TrainingBatchChange(BaseModel):
    """``batch`` samples from ``from_epoch`` on (absent: the next epoch), in all that follow or in
    that one ``only``; ``reset`` goes back to the schedule. ``run_id`` absent: the newest run that
    waits or trains."""

    model_config = ConfigDict(extra="forbid")

    batch: int | None = Field(None, ge=1, le=LARGEST_BATCH)
    from_epoch: int | None = Field(None, ge=1)
    only: bool = False
    reset: bool = False
    run_id: str | None = Field(None, max_length=250)

    @model_validator(mode="after")
    def _says_one_thing(self) -> TrainingBatchChange:
        if self.reset == (self.batch is not None):
            raise ValueError("name batch, or reset")
        return self


class TrainingBatchChangeView(BaseModel):
    """A change. ``from`` is what the epoch would have had, ``to`` is null for a reset;
    ``effective_epoch`` is null until it has taken effect."""

    model_config = ConfigDict(populate_by_name=True)

    id: str
    at: float
    who: str
    before: int = Field(alias="from")
    after: int | None = Field(alias="to")
    from_epoch: int
    only: bool
    effective_epoch: int | None = None


class ScheduleStep(BaseModel):
    """From ``epoch`` on, so many samples at once."""

    epoch: int
    batch: int


class EarlyStopView(BaseModel):
    """Training ends where the metric has not become better for ``patience`` epochs."""

    metric: str
    patience: int
    less_is_better: bool


class NextBatch(BaseModel):
    """The batch size of the epoch that begins next, as things stand."""

    epoch: int
    batch: int
    set_by: str


class EpochView(BaseModel):
    """One epoch. A metric is null where the function reported no finite number; ``at`` is its end,
    ``change`` the id of the change that set its batch size."""

    epoch: int
    at: float
    duration_s: float
    metrics: dict[str, float | None]
    samples: int | None
    samples_per_s: float | None
    batch: int
    batch_set_by: str
    change: str | None
    cpu_s: float
    cpu_cores: float | None
    memory_bytes: int
    checkpoint: bool
    try_number: int


class ResumptionView(BaseModel):
    """The training went on after ``epoch``, in that try of its task."""

    epoch: int
    at: float
    try_number: int


class TrainingRunView(BaseModel):
    """One run's training. Another ``attempt`` has begun anew: its epochs replace those before."""

    run_id: str
    run_at: float | None
    state: str = Field(description="waiting, training, trained, unchanged or failed")
    task_state: str | None
    try_number: int
    attempt: str | None
    begun: float | None
    ended: float | None
    epoch: int | None
    epochs_planned: int
    last_epoch: int | None
    schedule: list[ScheduleStep]
    learning_rate: float | None
    params: dict[str, str]
    resumed: list[ResumptionView]
    ended_by: str | None
    best_epoch: int | None
    message: str
    next_batch: NextBatch | None
    changes: list[TrainingBatchChangeView]
    epochs: list[EpochView]


class TrainedOperatorView(BaseModel):
    """An operator that is trained, as declared, and its newest runs, the newest first."""

    operator: str
    task_id: str
    function: str
    epochs: int
    schedule: list[ScheduleStep]
    learning_rate: float | None
    early_stop: EarlyStopView | None
    dataset: str | None
    params: dict[str, str]
    metrics: list[str]
    runs: list[TrainingRunView]


class TrainingView(BaseModel):
    """``cursor`` is what to give as ``since`` after ``poll_ms`` milliseconds."""

    cursor: str
    poll_ms: int
    operators: list[TrainedOperatorView]
