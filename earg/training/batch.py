"""Which batch size an epoch has: what the schedule says, or what a person has set meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from earg.training.plan import TrainingPlan

SCHEDULE = "schedule"
"""Who has set a batch size that no person has."""

MOST_CHANGES = 200
"""Changes that one run takes."""

LARGEST_BATCH = 2**31 - 1

_ID = re.compile(r"[0-9a-f]{8,32}\Z")


@dataclass(frozen=True, slots=True)
class BatchChange:
    """Somebody's change. It holds in the first epoch that begins with the change known and is not
    before ``from_epoch``, and, unless it is for that one ``only``, in all that follow.

    ``batch`` is None for going back to the schedule; ``before`` is what the epoch would have had.
    ``at`` is in seconds since 1970.
    """

    id: str
    at: float
    who: str
    before: int
    batch: int | None
    from_epoch: int
    only: bool = False

    def as_json(self) -> dict[str, Any]:
        """As an object of JSON values."""
        return {
            "id": self.id,
            "at": self.at,
            "who": self.who,
            "from": self.before,
            "to": self.batch,
            "from_epoch": self.from_epoch,
            "only": self.only,
        }


@dataclass(frozen=True, slots=True)
class BatchDecision:
    """The batch size of one epoch, in samples, who has set it, and the id of their change."""

    batch: int
    set_by: str = SCHEDULE
    change: str | None = None


def read_changes(value: object) -> tuple[BatchChange, ...]:
    """The changes of a list of :meth:`BatchChange.as_json`, the oldest first; what is none of
    them is passed over, so that nothing that is stored can stop a training."""
    found = []
    for entry in value if isinstance(value, list) else ():
        try:
            change = BatchChange(
                id=str(entry["id"]),
                at=float(entry["at"]),
                who=str(entry["who"])[:256],
                before=int(entry["from"]),
                batch=None if entry["to"] is None else int(entry["to"]),
                from_epoch=int(entry["from_epoch"]),
                only=bool(entry.get("only", False)),
            )
        except (KeyError, TypeError, ValueError):
            continue
        if _ID.match(change.id) and (change.batch is None or 1 <= change.batch <= LARGEST_BATCH):
            found.append(change)
    return tuple(found[-MOST_CHANGES:])


def read_effective(value: object) -> dict[str, int]:
    """The epochs in which changes took effect, by the change's id."""
    if not isinstance(value, Mapping):
        return {}
    return {str(i): e for i, e in value.items() if isinstance(e, int) and not isinstance(e, bool)}


def take_effect(
    changes: Iterable[BatchChange], epoch: int, effective: Mapping[str, int]
) -> dict[str, int]:
    """``effective`` with those changes that take effect in ``epoch``, which begins."""
    new = {c.id: epoch for c in changes if c.id not in effective and c.from_epoch <= epoch}
    return {**effective, **new}


def decide(
    plan: TrainingPlan,
    epoch: int,
    changes: Sequence[BatchChange] = (),
    effective: Mapping[str, int] | None = None,
) -> BatchDecision:
    """The batch size of ``epoch``: that of the newest change that holds in it, or the schedule's.

    ``effective`` is from :func:`take_effect`.
    """
    decision = BatchDecision(plan.batch_at(epoch))
    for change in changes:
        since = (effective or {}).get(change.id)
        if since is None or since > epoch or (change.only and since != epoch):
            continue
        if change.batch is None:
            decision = BatchDecision(plan.batch_at(epoch), change.who, change.id)
        else:
            decision = BatchDecision(change.batch, change.who, change.id)
    return decision
