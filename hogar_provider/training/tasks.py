"""The tasks of a graph's DAG that train its models, and how the others wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow.sdk import DAG, BaseOperator, Param, TaskGroup, TriggerRule

from hogar_provider.operators.train import ARTIFACT, TrainOperator
from hogar_provider.training.plans import GROUP, train_task, training_plan

if TYPE_CHECKING:
    from udgl.graph import Operator


def train_tasks(nodes: Sequence[Operator], dag: DAG, dry: str) -> list[TrainOperator]:
    """One for each operator that is trained; ``dry`` is the template of a dry run."""
    plans = [(operator, plan) for operator in nodes if (plan := training_plan(operator))]
    if not plans:
        return []
    group = TaskGroup(GROUP, dag=dag, tooltip="Train the models", ui_color="#fde2c8")
    return [
        TrainOperator(
            task_id=operator.name,
            plan=plan.as_json(),
            version=operator.version,
            force=f"{{{{ '{operator.name}' in params.retrain }}}}",
            dry=dry,
            doc_md=f"Trains **{operator.name}** by `{plan.function}`, {plan.epochs} epochs. "
            "Skipped where nothing that the training depends on has changed.",
            task_group=group,
            dag=dag,
        )
        for operator, plan in plans
    ]


def deploy_after(
    trainings: Sequence[TrainOperator], deploys: Sequence[BaseOperator], dag: DAG
) -> None:
    """Deploy nothing before everything is trained: what serves is not mixed with what will, for as
    long as that takes, and a training that fails leaves it alone. One that is skipped has its model
    already."""
    if not trainings:
        return
    gate: BaseOperator = trainings[0]
    if len(trainings) > 1:
        # One task between them: many trainings and many nodes would be very many edges.
        from airflow.providers.standard.operators.empty import EmptyOperator

        doc = "Every model is there: trained in this run, or before."
        gate = EmptyOperator(
            task_id="trained", trigger_rule=TriggerRule.NONE_FAILED, doc_md=doc, dag=dag
        )
        gate.set_upstream(list(trainings))
    for deploy in deploys:
        deploy.trigger_rule = TriggerRule.NONE_FAILED
        deploy.set_upstream(gate)


def artifact_of(operator: Operator) -> str | None:
    """The template of its trained model's folder; None where it is not trained."""
    if operator.training is None:
        return None
    task = train_task(operator.name)
    return f"{{{{ ti.xcom_pull(task_ids='{task}', key='{ARTIFACT}') or '' }}}}"


def retrain_param(nodes: Sequence[Operator]) -> dict[str, Param]:
    """The run's param that forces trainings; none where nothing is trained."""
    trained = [operator.name for operator in nodes if operator.training is not None]
    if not trained:
        return {}
    retrain = Param(
        [],
        type="array",
        title="Retrain",
        description="Operators to train although nothing that their training depends on has "
        "changed.",
        items={"type": "string", "enum": trained},
        examples=trained,
    )
    return {"retrain": retrain}
