"""The trained model that a node's containers are handed."""

from __future__ import annotations

from earg.artifact import VARIABLE
from earg.images import Implementation
from earg.plan import Plan

FOLDER = "/hogar/artifact"
"""Where a model's container finds it."""


def trained_folder(plan: Plan, index: int, implementation: Implementation) -> str:
    """The folder of this machine that node ``index`` is handed; empty for one that is not trained,
    or whose graph says itself where its image has the model."""
    if VARIABLE in dict(plan.extras.of(index).env):
        return ""
    return dict(implementation.environment).get(VARIABLE, "")
