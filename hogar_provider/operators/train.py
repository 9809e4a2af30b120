"""Train one operator's model before it serves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from hogar_provider.arguments import truth
from hogar_provider.configuration import training_folder
from hogar_provider.exceptions import AirflowException, AirflowFailException, AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context

    from earg.training.plan import TrainingPlan
    from earg.training.runner import TrainingProcess
    from earg.training.store import Artifact, TrainingStore
    from hogar_provider.training.link import TaskState

ARTIFACT = "artifact"
"""The XCom key of the trained model's folder."""


class TrainOperator(BaseOperator):
    """Call a training function in a process of its own, and keep its figures epoch by epoch.

    The function gets a :class:`earg.training.TrainingContext`. A task that is retried or cleared
    goes on after its last checkpoint. Where neither the operator's version, nor the plan, nor the
    function's file, nor the data have changed since the model was trained that there is, the task
    is skipped, unless it is forced. Either way the XCom ``artifact`` is the trained model's folder.
    Returns ``{"operator", "epochs", "ended_by", "best_epoch", "artifact", "fingerprint"}``.

    :param plan: what :meth:`earg.training.TrainingPlan.as_json` gives; modules are looked for in
        its ``folder``, or beside the DAG's file where that is empty.
    :param version: the operator's version.
    :param force: train although nothing has changed (templated).
    :param dry: a dry run: only say in the log what would be done (templated).
    """

    template_fields: Sequence[str] = ("force", "dry")
    ui_color = "#fde2c8"
    custom_operator_name = "Train"

    def __init__(
        self,
        *,
        plan: Mapping[str, Any],
        version: str,
        force: bool | str = False,
        dry: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.plan = dict(plan)
        self.version = version
        self.force = force
        self.dry = dry
        self._process: TrainingProcess | None = None

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Train; see the class."""
        from earg.training.errors import TrainingError

        try:
            return self._execute(context)
        except TrainingError as error:
            raise AirflowFailException(str(error)) from None

    def _execute(self, context: Context) -> dict[str, Any] | None:
        from earg.training.checkpoint import Checkpoint, read_checkpoint
        from earg.training.fingerprint import fingerprint

        plan = self.effective_plan()
        print_ = fingerprint(plan, self.version)
        store = self.store(context["dag"].dag_id)
        found = None if truth(self.force, "force") else store.find(print_)
        if truth(self.dry, "dry"):
            what = (
                f"is trained already: {found.folder}"
                if found is not None
                else f"would be trained by {plan.function} for {plan.epochs} epochs"
            )
            self.log.info("Dry run: %s %s", plan.operator, what)
            return None
        state = _task_state(context, self.log)
        work = store.work(context["run_id"])
        goes_on = isinstance(read_checkpoint(work, print_), Checkpoint)
        # A run that was forced, and broken off, goes on where it was.
        if found is not None and not goes_on:
            self._skip(context, state, plan, found)
        return self._train(context, plan, print_, store, work, state)

    def _skip(
        self, context: Context, state: TaskState, plan: TrainingPlan, found: Artifact
    ) -> None:
        from hogar_provider.training.state import SUMMARY, TRAINED, UNCHANGED, Summary, read_summary

        sentence = (
            "Nothing that the training depends on has changed, so the model that there is is "
            "used; the run's parameter 'retrain' trains it all the same."
        )
        before = read_summary(state.get(SUMMARY))
        own = found.about.get("run_id") == context["run_id"]
        if before is not None and (own or before.state == TRAINED):
            # This run has trained it, and was cleared since, or failed only after that.
            state.set(SUMMARY, replace(before, state=TRAINED).as_json())
        else:
            kept = {k: v for k, v in plan.as_json().items() if k != "folder"}
            state.set(SUMMARY, Summary(UNCHANGED, plan=kept, message=sentence).as_json())
        context["ti"].xcom_push(key=ARTIFACT, value=str(found.folder))
        self.log.info("Model: %s", found.folder)
        raise AirflowSkipException(sentence)

    def _train(
        self,
        context: Context,
        plan: TrainingPlan,
        print_: str,
        store: TrainingStore,
        work: Path,
        state: TaskState,
    ) -> dict[str, Any]:
        from earg.training.runner import TrainingFailedError, TrainingProcess
        from hogar_provider.training.link import TaskStateLink
        from hogar_provider.training.mlflow_mirror import mlflow_mirror

        dag_id, run_id = context["dag"].dag_id, context["run_id"]
        link = TaskStateLink(
            plan,
            state,
            context["ti"].try_number,
            lambda line: self.log.info("%s", line),
            lambda run: mlflow_mirror(plan, dag_id, run_id, run),
        )
        self.log.info(
            "Train %s %s by %s from %s: %d epochs",
            *(plan.operator, self.version, plan.function, plan.folder, plan.epochs),
        )
        self._process = TrainingProcess(plan, work, link, print_, training_environment())
        try:
            trained = self._process.run()
        except TrainingFailedError as error:
            link.failed(error.sentence)
            for line in error.traceback.strip().splitlines():
                self.log.error("%s", line)
            if error.killed or error.traceback:
                raise AirflowException(error.sentence) from None
            raise
        artifact = store.commit(
            work,
            {
                "fingerprint": print_,
                "operator": plan.operator,
                "version": self.version,
                "dag_id": dag_id,
                "run_id": run_id,
                "epochs": trained.epoch,
                "best_epoch": trained.best_epoch,
            },
        )
        link.trained(trained.early, trained.best_epoch)
        context["ti"].xcom_push(key=ARTIFACT, value=str(artifact.folder))
        self.log.info("Model: %s", artifact.folder)
        return {
            "operator": plan.operator,
            "epochs": trained.epoch,
            "ended_by": "early-stop" if trained.early else "epochs",
            "best_epoch": trained.best_epoch,
            "artifact": str(artifact.folder),
            "fingerprint": print_,
        }

    def on_kill(self) -> None:
        """End the function's process, with all that it started."""
        if self._process is not None:
            self._process.stop()

    def effective_plan(self) -> TrainingPlan:
        """The plan, with the folder that modules are looked for in."""
        from earg.training.plan import read_plan

        plan = read_plan(self.plan)
        if plan.folder:
            return plan
        return replace(plan, folder=str(Path(os.path.normpath(self.dag.fileloc)).parent))

    def store(self, dag_id: str) -> TrainingStore:
        """Where the operator's models are kept."""
        from airflow.configuration import AIRFLOW_HOME

        from earg.training.store import TrainingStore

        root = Path(AIRFLOW_HOME) / Path(training_folder()).expanduser()
        return TrainingStore(root / dag_id / str(self.plan["operator"]))


def training_environment() -> dict[str, str]:
    """What the function's process gets of the task's environment: all but Airflow's own settings,
    which hold passwords."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "_AIRFLOW"))
    }


class _BoundState:
    """Airflow's task state, kept for as long as the run is."""

    def __init__(self, accessor: Any) -> None:
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        self._accessor = accessor
        self._retention = NEVER_EXPIRE

    def get(self, key: str) -> Any:
        return self._accessor.get(key)

    def set(self, key: str, value: Any) -> None:
        self._accessor.set(key, value, retention=self._retention)

    def delete(self, key: str) -> None:
        self._accessor.delete(key)


class _UnkeptState(dict[str, Any]):
    """What stands for the task state where Airflow has none: it goes with the task's process."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


def _task_state(context: Context, log: Any) -> TaskState:
    accessor = context.get("task_state_store")
    if accessor is not None:
        return _BoundState(accessor)
    from hogar_provider.training.state import NO_TASK_STATE

    log.warning("%s", NO_TASK_STATE)
    return _UnkeptState()
