"""Changing how a node batches, with a record of it in the audit log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hogar_provider.plugins.api.agents import ask, engine_of
from hogar_provider.plugins.api.audit import record_batch_change
from hogar_provider.plugins.api.batch_view import batch_view
from hogar_provider.plugins.api.datamodels.batching import BatchChange, BatchSettingView
from hogar_provider.plugins.api.datamodels.nodes import BatchView
from hogar_provider.plugins.api.declared import Declared, find_declared
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.window import report_of

if TYPE_CHECKING:
    from earg.client import BatchSetting
    from earg.config import NodeSpec
    from earg.extras import NodeExtras
    from earg.statistics import NodeReport, NodeStatistics
    from hogar_provider.engines.engine import Engine

log = logging.getLogger(__name__)


def change_batching(dag_id: str, index: int, change: BatchChange, user: Any) -> BatchView:
    """Change it; how the node batches now. Raises :class:`ApiError`; blocks.

    A change that the audit log does not take is taken back: none stands without its record.
    """
    declared = find_declared(dag_id)
    engine = engine_of(declared.conn_id)
    report = _report(engine, declared.name, index)
    spec = declared_spec(declared, report.name)
    who = f"{user.get_name()} in Airflow"
    wanted = _wanted(engine, declared, report, spec, change)
    before = ask(
        engine.home,
        lambda agent: agent.set_batch_limit(declared.name, index, who=who, **wanted),
    )
    now = _statistics(_report(engine, declared.name, index))
    try:
        record_batch_change(dag_id, user, report.name, _setting(before), _running(now))
    except Exception:
        log.exception("the audit log does not take a change of %s of %s", report.name, dag_id)
        ask(
            engine.home,
            lambda agent: agent.set_batch_limit(
                declared.name,
                index,
                before.limit,
                before.who,
                wait=before.wait,
                objective=before.objective,
                dynamic=before.dynamic,
            ),
        )
        raise ApiError(
            503,
            "no_audit_log",
            "The change was taken back: Airflow's database does not take its record. Try again "
            "when the database can be written.",
        ) from None
    return batch_view(now, now.batches, None if spec is None else spec.batch)


def declared_spec(declared: Declared, name: str) -> NodeSpec | None:
    """What is declared of the operator called ``name``."""
    if declared.config is None:
        return None
    return next((node for node in declared.config.nodes if node.name == name), None)


def _wanted(
    engine: Engine,
    declared: Declared,
    report: NodeReport,
    spec: NodeSpec | None,
    change: BatchChange,
) -> dict[str, Any]:
    if not change.reset:
        return {
            "limit": change.limit,
            "dynamic": change.dynamic,
            "wait": None if change.wait_ms is None else change.wait_ms / 1000,
            "objective": None if change.objective_ms is None else change.objective_ms / 1000,
        }
    if spec is None:
        raise ApiError(
            409,
            "not_declared",
            f"{report.name} is not declared, so there is nothing to go back to; set its limit.",
        )
    own = _declared_extras(engine, declared, report)
    return {
        "limit": abs(spec.batch) or 1,
        "dynamic": spec.batch < 0,
        "wait": own.wait,
        "objective": own.latency or 0.0,
    }


def _declared_extras(engine: Engine, declared: Declared, report: NodeReport) -> NodeExtras:
    if declared.extras is not None and declared.config is not None:
        names = [node.name for node in declared.config.nodes]
        return declared.extras.of(names.index(report.name) + 1)
    # Of a DAG whose extras are not known those that it was deployed with hold.
    from earg.plan import read_plan

    plan = read_plan(*ask(engine.home, lambda agent: agent.plan(declared.name)))
    return plan.extras.of(report.index)


def _report(engine: Engine, name: str, index: int) -> NodeReport:
    found = ask(engine.home, lambda agent: agent.statistics(name))
    report = report_of(found.nodes, index)
    if report is None:
        raise ApiError(404, "no_such_node", f"The deployed graph has no node {index}.")
    if report.statistics is None:
        raise ApiError(
            409, "node_does_not_answer", f"{report.name} tells nothing: {report.reason}."
        )
    return report


def _statistics(report: NodeReport) -> NodeStatistics:
    assert report.statistics is not None
    return report.statistics


def _setting(setting: BatchSetting) -> BatchSettingView:
    return BatchSettingView(
        limit=setting.limit,
        dynamic=setting.dynamic,
        wait_ms=round(setting.wait * 1000, 3),
        objective_ms=round(setting.objective * 1000, 3),
    )


def _running(now: NodeStatistics) -> BatchSettingView:
    return BatchSettingView(
        limit=now.batch_most if now.batch_dynamic else now.batch_limit,
        dynamic=now.batch_dynamic,
        wait_ms=round(now.batch_wait * 1000, 3),
        objective_ms=round(now.batch_objective * 1000, 3),
    )
