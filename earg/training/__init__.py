"""Training an operator's model before it serves.

A training function takes a :class:`TrainingContext`. It needs neither Airflow nor anything else of
this project to be tried: see :func:`local_context`, and ``python -m earg.training --help``.
"""

from __future__ import annotations

from earg.training.context import TrainingContext, local_context
from earg.training.errors import TrainingError
from earg.training.link import LocalLink
from earg.training.plan import EarlyStop, TrainingPlan

__all__ = [
    "EarlyStop",
    "LocalLink",
    "TrainingContext",
    "TrainingError",
    "TrainingPlan",
    "local_context",
]
