"""``airflow hogar training``: an operator's trainings, and changing their batch size."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from hogar_provider.cli.engine import command
from hogar_provider.cli.table import moment, show

if TYPE_CHECKING:
    from earg.training.plan import TrainingPlan
    from hogar_provider.training.runs import TrainingRun


@command
def run(args: Namespace) -> None:
    """Do it: runs, or one run's epochs, or the change that was made."""
    from airflow.utils.session import create_session

    from earg.cli.errors import CommandError
    from hogar_provider.training.change import BatchChangeError, BatchOrder, change_batch
    from hogar_provider.training.runs import MOST_RUNS, training_runs

    changes = args.batch is not None or args.reset
    if args.batch is not None and args.reset:
        raise CommandError("either --batch or --reset")
    if not changes and (args.from_epoch is not None or args.only):
        raise CommandError("--from-epoch and --only say where --batch or --reset begins")
    with create_session() as session:
        plans = _plans(session, args.graph)
        if args.operator is not None:
            plans = [_of(plans, args.operator)]
        if changes:
            if len(plans) != 1:
                names = ", ".join(plan.operator for plan in plans) or "none"
                raise CommandError(f"name the operator by --operator: the graph trains {names}")
            order = BatchOrder(args.batch, args.from_epoch, args.only, args.run)
            try:
                made = change_batch(session, args.graph, plans[0], order, _who())
            except BatchChangeError as error:
                raise CommandError(str(error)) from None
            rows = [{"operator": plans[0].operator, **made.as_json(), "at": moment(made.at)}]
        elif args.run is not None or (args.operator is not None and args.epochs):
            rows = []
            for plan in plans:
                most = 1 if args.run is None else MOST_RUNS
                for one in training_runs(session, args.graph, plan, most, run_id=args.run):
                    rows += _epochs(plan.operator, one)
        else:
            rows = [
                _row(plan.operator, one)
                for plan in plans
                for one in training_runs(session, args.graph, plan, args.runs)
            ]
    if args.json:
        args.output = "json"
    if args.output in ("table", "plain"):
        rows = [{name: _readable(value) for name, value in row.items()} for row in rows]
    show(args, rows)


def _plans(session: Any, dag_id: str) -> list[TrainingPlan]:
    from airflow.models.dag import DagModel
    from airflow.models.dagcode import DagCode

    from earg.cli.errors import CommandError
    from hogar_provider.training.runs import trained_operators

    if session.get(DagModel, dag_id) is None:
        raise CommandError(f"there is no DAG {dag_id}; 'airflow hogar graphs' lists the graphs")
    code = DagCode.get_latest_dagcode(dag_id, session=session)
    plans = list(trained_operators("" if code is None else code.source_code))
    if not plans:
        raise CommandError(f"graph {dag_id} trains no operator: none says 'train'")
    return plans


def _of(plans: list[TrainingPlan], operator: str) -> TrainingPlan:
    from earg.cli.errors import CommandError

    for plan in plans:
        if plan.operator == operator:
            return plan
    names = ", ".join(plan.operator for plan in plans)
    raise CommandError(f"the graph trains no operator {operator!r}; it trains {names}")


def _row(operator: str, run: TrainingRun) -> dict[str, Any]:
    last = run.records[-1][0] if run.records else None
    following = run.decision(run.next_epoch) if run.live else None
    return {
        "operator": operator,
        "run_id": run.run_id,
        "state": run.state,
        "epoch": f"{run.last_epoch}/{run.plan.epochs}",
        "metrics": {} if last is None else _figures(last.metrics),
        "batch": None if last is None else last.decision.batch,
        "next_batch": None if following is None else following.batch,
        "best_epoch": run.summary.best_epoch,
        "ended_by": run.summary.ended_by,
        "resumed": [one["epoch"] for one in run.summary.resumed],
        "message": run.summary.message,
    }


def _epochs(operator: str, run: TrainingRun) -> list[dict[str, Any]]:
    return [
        {
            "operator": operator,
            "run_id": run.run_id,
            "epoch": record.epoch,
            "metrics": _figures(record.metrics),
            "batch": record.decision.batch,
            "set_by": record.decision.set_by,
            "samples_per_s": _rounded(record.samples_per_second),
            "seconds": round(record.duration, 3),
            "cpu_s": record.cpu_seconds,
            "memory": record.memory,
            "checkpoint": record.checkpoint,
            "try": tried,
        }
        for record, tried in run.records
    ]


def _figures(metrics: Any) -> dict[str, float | None]:
    return {
        name: None if value is None else float(f"{value:.6g}") for name, value in metrics.items()
    }


def _readable(value: Any) -> Any:
    """As a person reads it in a table."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{n} {'not a number' if v is None else v}" for n, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _who() -> str:
    from airflow.utils.platform import getuser

    return f"{getuser()} (airflow hogar training)"
