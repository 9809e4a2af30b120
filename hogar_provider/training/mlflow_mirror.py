"""A copy of a training's figures in MLflow, for those who keep them there.

It is made where MLflow is installed beside Airflow and ``MLFLOW_TRACKING_URI`` is set. Airflow's
own record is the one that counts: what MLflow does not take is said once in the log, and the
training goes on without.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from typing import Any

from earg.training.plan import TrainingPlan
from earg.training.record import EpochRecord
from hogar_provider.training.state import TRAINED

VARIABLE = "MLFLOW_TRACKING_URI"

EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"

log = logging.getLogger(__name__)


def is_configured() -> bool:
    """Whether there is an MLflow to mirror to."""
    return bool(os.environ.get(VARIABLE)) and importlib.util.find_spec("mlflow") is not None


class MlflowMirror:
    """One run of MLflow's. ``run`` is its id, empty where MLflow did not take it."""

    def __init__(self, client: Any, run: str) -> None:
        self._client = client
        self.run = run

    def ended(self, record: EpochRecord) -> None:
        """Log the epoch's figures, with the epoch as their step."""

        def write() -> None:
            figures: dict[str, float | None] = {
                **record.metrics,
                "batch_size": record.decision.batch,
                "epoch_seconds": record.duration,
                "samples_per_second": record.samples_per_second,
                "cpu_seconds": record.cpu_seconds,
                "memory_bytes": record.memory,
            }
            at = int(record.at * 1000)
            for name, value in figures.items():
                if value is not None:
                    self._client.log_metric(self.run, name, float(value), at, record.epoch)

        self._attempt(write)

    def close(self, state: str) -> None:
        """End the run."""
        status = "FINISHED" if state == TRAINED else "FAILED"
        self._attempt(lambda: self._client.set_terminated(self.run, status))

    def _attempt(self, write: Callable[[], None]) -> None:
        if self._client is None:
            return
        try:
            write()
        except Exception as error:
            log.warning("MLflow does not take the figures, so they are Airflow's alone: %s", error)
            self._client = None


def mlflow_mirror(
    plan: TrainingPlan, dag_id: str, airflow_run: str, run: str, client: Any = None
) -> MlflowMirror | None:
    """A mirror into MLflow's ``run``, or a new run where that is empty; None where MLflow is not
    configured or does not answer. ``client`` is an ``MlflowClient``; unless given, one is made."""
    if client is None and not is_configured():
        return None
    try:
        if client is None:
            client = importlib.import_module("mlflow").MlflowClient()
        if run:
            client.update_run(run, "RUNNING")
            return MlflowMirror(client, run)
        name = os.environ.get(EXPERIMENT) or dag_id
        experiment = client.get_experiment_by_name(name)
        experiment_id = (
            client.create_experiment(name) if experiment is None else experiment.experiment_id
        )
        made = client.create_run(
            experiment_id,
            run_name=f"{plan.operator} {airflow_run}",
            tags={"dag_id": dag_id, "airflow_run_id": airflow_run, "operator": plan.operator},
        )
        mirror = MlflowMirror(client, made.info.run_id)
        params = {
            "function": plan.function,
            "epochs": plan.epochs,
            "schedule": ", ".join(f"{batch} from epoch {epoch}" for epoch, batch in plan.schedule),
            "learning_rate": plan.learning_rate,
            "dataset": plan.dataset,
            **dict(plan.params),
        }
        for key, value in params.items():
            if value is not None:
                client.log_param(mirror.run, key, value)
    except Exception as error:
        log.warning("MLflow is set by %s but does not take the training: %s", VARIABLE, error)
        return None
    return mirror
