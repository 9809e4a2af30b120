"""Tasks that wait in the triggerer: deferred for a real agent, their triggers run, and resumed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from earg.client import AgentClient, connect
from hogar_provider.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from hogar_provider.operators import deploy, probe
from hogar_provider.operators.deploy import DeployNodeOperator
from hogar_provider.operators.probe import ProbeNodeOperator
from hogar_provider.sensors.graph import GraphHealthySensor, NodeMetricSensor
from hogar_provider.triggers.node import ProbeTrigger
from tests.hogar_provider.folders import ROOT
from tests.hogar_provider.running import build, deferred, event_of, prepared, restored, run

pytestmark = pytest.mark.slow

LONG = 60.0
"""Seconds in which whatever is waited for happens, on a machine that does much else."""


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks leave the waiting to the triggerer soon."""
    monkeypatch.setattr(deploy, "PATIENCE", 1.0)
    monkeypatch.setattr(probe, "PATIENCE", 1.0)


@pytest.fixture
def warming(models: Path, agent: AgentClient, _impatient: None) -> Iterator[Any]:
    """A task that deploys a model which warms up until :func:`warm` is called."""
    dag = build(models, "test/warmsup:1")
    yield prepared(dag, "deploy.A")
    warm(models)


def warm(models: Path, how: str = "yes") -> None:
    (models / "new").write_text(how)
    (models / "new").replace(models / "warm")


def children(agent: AgentClient) -> list[psutil.Process]:
    _, pid = agent.hello()
    return psutil.Process(pid).children(recursive=True)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {LONG:.0f} s"
        time.sleep(0.05)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.05)


def test_a_model_that_warms_up_is_waited_for_in_the_triggerer(
    warming: Any, models: Path, agent: AgentClient, capfd: pytest.CaptureFixture[str]
) -> None:
    deferral = deferred(lambda: warming.execute({}))
    before = {process.pid for process in children(agent)}
    assert before

    async def scenario() -> dict[str, Any]:
        waiting = asyncio.create_task(event_of(restored(deferral)))
        # The event loop goes on meanwhile: other tasks' triggers run in it, too.
        for _ in range(20):
            await asyncio.sleep(0.05)
        assert not waiting.done()
        warm(models)
        return await waiting

    event = asyncio.run(scenario())
    assert event == {"status": "done"}
    resumed = prepared(warming.dag, "deploy.A")
    result = resumed.execute_complete({}, event=event, **deferral.kwargs)
    assert result["change"] == "started as version 1"
    # It is what the task had begun to start, not a second one.
    assert result["pairs"][0]["model_pid"] in before
    # `airflow dags test` hands on the event alone.
    again = prepared(warming.dag, "deploy.A").execute_complete({}, event=event)
    assert again == {**result, "change": "deployed as version 1", "difference": None}
    assert "the triggerer waits for it" in capfd.readouterr().out


def test_what_cancels_the_trigger_ends_what_was_starting(warming: Any, agent: AgentClient) -> None:
    deferral = deferred(lambda: warming.execute({}))
    assert children(agent)

    async def scenario() -> None:
        waiting = asyncio.create_task(event_of(restored(deferral)))
        await asyncio.sleep(1.0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(scenario())
    wait_for(lambda: not children(agent), "end of the processes")


def test_a_model_that_fails_while_the_triggerer_waits_fails_with_its_traceback(
    warming: Any, models: Path, agent: AgentClient, capfd: pytest.CaptureFixture[str]
) -> None:
    deferral = deferred(lambda: warming.execute({}))
    warm(models, "no")
    event = asyncio.run(event_of(restored(deferral)))
    assert event["status"] == "failed"
    with pytest.raises(AirflowFailException, match="RuntimeError: the GPU is gone"):
        warming.execute_complete({}, event=event, **deferral.kwargs)
    assert "in warm_up" in capfd.readouterr().out
    assert children(agent) == []


def test_the_time_limit_holds_for_task_and_trigger_together(
    warming: Any, agent: AgentClient
) -> None:
    warming.timeout = 4.0
    begin = time.time()
    deferral = deferred(lambda: warming.execute({}))
    event = asyncio.run(event_of(restored(deferral)))
    assert event["status"] in ("timeout", "failed")
    assert time.time() - begin < LONG
    with pytest.raises(AirflowException):
        warming.execute_complete({}, event=event, **deferral.kwargs)
    wait_for(lambda: not children(agent), "end of the processes")


def test_a_model_that_is_up_soon_is_not_deferred(models: Path, agent: AgentClient) -> None:
    (deployed,) = run(build(models, "test/upper:1"), "deploy.A")
    assert deployed["node"] == "A"


def test_a_task_that_is_killed_leaves_nothing_half_started(
    models: Path, agent: AgentClient
) -> None:
    task = prepared(build(models, "test/warmsup:1"), "deploy.A")
    task.deferrable = False
    begun = threading.Event()

    def kill() -> None:
        wait_for(lambda: bool(children(agent)), "model that starts")
        begun.set()
        os.kill(os.getpid(), signal.SIGTERM)

    # As Airflow's task runner does it.
    before = signal.signal(signal.SIGTERM, lambda *_: task.on_kill())
    killer = threading.Thread(target=kill)
    try:
        killer.start()
        with pytest.raises(AirflowException, match="The task was killed"):
            task.execute({})
        killer.join()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert begun.is_set()
    wait_for(lambda: not children(agent), "end of the processes")
    warm(models)
    # A retry has nothing in its way.
    (deployed,) = run(task.dag, "deploy.A")
    assert deployed["change"] == "started as version 1"


@pytest.mark.usefixtures("_impatient")
def test_a_probe_waits_in_the_triggerer(models: Path, agent: AgentClient) -> None:
    dag = build(models, "test/upper:1")
    run(dag, "deploy.A")
    # It is not wired yet.
    deferral = deferred(lambda: run(dag, "probe.A"))

    async def scenario() -> dict[str, Any]:
        waiting = asyncio.create_task(event_of(restored(deferral)))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await asyncio.to_thread(agent.wire, "Small")
        return await waiting

    event = asyncio.run(scenario())
    assert event == {"status": "done"}
    prepared(dag, "probe.A").execute_complete({}, event=event, **deferral.kwargs)


def test_a_probe_outlives_its_agent(models: Path, agent: AgentClient, connection: Path) -> None:
    dag = build(models, "test/upper:1", "test/backwards:1")
    run(dag, "deploy.A", "deploy.B", "wire", "probe.A")
    _, pid = agent.hello()
    (node, _) = agent.graph("Small").nodes
    trigger = ProbeTrigger(str(connection), time.time() + LONG, "Small", 1)

    async def scenario() -> dict[str, Any]:
        os.kill(pid, signal.SIGKILL)
        os.kill(node.pairs[0].model_pid, signal.SIGKILL)
        return await event_of(trigger)

    # Another agent follows, and brings the model back.
    assert asyncio.run(scenario()) == {"status": "done"}


def test_a_trigger_says_what_a_node_waited_for_in_vain(
    models: Path, agent: AgentClient, connection: Path
) -> None:
    dag = build(models, "test/upper:1")
    run(dag, "deploy.A")
    trigger = ProbeTrigger(str(connection), time.time() + 3.0, "Small", 1)
    event = asyncio.run(event_of(trigger))
    assert event["status"] in ("failed", "timeout")
    task = ProbeNodeOperator(task_id="probe", graph="Small", index=1)
    with pytest.raises(AirflowException):
        task.execute_complete({}, event=event, begin=0.0)


def test_without_an_agent_a_trigger_gives_up_at_its_deadline(tmp_path: Path) -> None:
    trigger = ProbeTrigger(str(tmp_path / "none"), time.time() + 0.5, "Small", 1)
    event = asyncio.run(event_of(trigger))
    assert event["status"] == "timeout"
    assert "no agent runs in" in event["error"]


def test_a_trigger_holds_nothing_of_the_models_environment(
    warming: Any, models: Path, agent: AgentClient
) -> None:
    _, arguments = deferred(lambda: warming.execute({})).trigger.serialize()
    assert set(arguments) == {"folder", "deadline", "start"}


def test_a_start_that_ended_with_the_triggerer_is_begun_again(
    warming: Any, models: Path, agent: AgentClient, connection: Path
) -> None:
    deferral = deferred(lambda: warming.execute({}))

    async def scenario() -> None:
        waiting = asyncio.create_task(event_of(restored(deferral)))
        await asyncio.sleep(1.0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(scenario())
    # Airflow gives the trigger to another triggerer.
    event = asyncio.run(event_of(restored(deferral)))
    assert event["status"] == "gone"
    warm(models)
    result = None
    while result is None:
        task = prepared(warming.dag, "deploy.A")
        try:
            result = task.execute_complete({}, event=event, **deferral.kwargs)
        except TaskDeferred as again:
            deferral = again
            event = asyncio.run(event_of(restored(deferral)))
    assert result["change"] == "started as version 1"


def test_a_worker_that_is_killed_leaves_nothing_half_started(
    models: Path, agent: AgentClient, connection: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from earg.client import connect\n"
        "from earg.images import Implementation\n"
        "connect(Path(sys.argv[1])).deploy_node('Small', '1', '1\\n0\\nA,1,i,false,1\\n', 1,\n"
        "    Implementation('small:WarmsUp', sys.argv[2]), start='s', start_timeout=300)\n"
    )
    command = [sys.executable, "-c", code, str(connection), str(models)]
    with subprocess.Popen(command, cwd=ROOT) as worker:
        wait_for(lambda: bool(children(agent)), "model that starts")
        worker.kill()
    wait_for(lambda: not children(agent), "end of the processes")


def test_airflows_own_setting_decides_where_the_operator_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments: dict[str, Any] = {"graph": "G", "version": "1", "config": "", "index": 1}
    assert DeployNodeOperator(task_id="a", **arguments).deferrable is False
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert DeployNodeOperator(task_id="a", **arguments).deferrable is True
    assert GraphHealthySensor(task_id="b", graph="G").deferrable is True


def test_the_health_sensor_tells_who_is_not_ready_and_waits_in_the_triggerer(
    models: Path, agent: AgentClient, capfd: pytest.CaptureFixture[str]
) -> None:
    dag = build(models, "test/upper:1", "test/backwards:1")
    sensor = GraphHealthySensor(
        task_id="healthy", graph="Small", deferrable=True, poke_interval=0.1, timeout=LONG
    )
    assert sensor.poke({}) is False
    run(dag, "deploy.A")
    deferral = deferred(lambda: sensor.execute({}))
    log = capfd.readouterr().out
    assert "graph Small is not deployed" in log
    assert "1 of 2 nodes are not deployed" in log
    assert "A is starting" in log

    async def scenario() -> dict[str, Any]:
        waiting = asyncio.create_task(event_of(restored(deferral)))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await asyncio.to_thread(run, dag, "deploy.B", "wire")
        return await waiting

    event = asyncio.run(scenario())
    sensor.execute_complete({}, event=event)
    assert event["sentence"] == "graph Small is healthy: every node is ready"
    assert sensor.execute({}) is None


def test_the_health_sensor_fails_with_the_reason_and_can_be_skipped_instead(
    connection: Path, agent: AgentClient
) -> None:
    arguments: dict[str, Any] = {"graph": "None", "poke_interval": 0.1, "timeout": 0.5}
    sensor = GraphHealthySensor(task_id="healthy", deferrable=True, **arguments)
    event = asyncio.run(event_of(restored(deferred(lambda: sensor.execute({})))))
    with pytest.raises(AirflowSensorTimeout, match="graph None is not deployed"):
        sensor.resume_execution("execute_complete", {"event": event}, {})
    soft = GraphHealthySensor(task_id="soft", soft_fail=True, **arguments)
    with pytest.raises(AirflowSkipException):
        soft.resume_execution("execute_complete", {"event": event}, {})
    with pytest.raises(AirflowSensorTimeout):
        GraphHealthySensor(task_id="poking", deferrable=False, **arguments).execute({})


def test_a_metric_is_waited_for_until_requests_have_come(
    models: Path, agent: AgentClient, connection: Path
) -> None:
    dag = build(models, "test/upper:1")
    run(dag, "deploy.A", "wire", "probe.A")
    (url,) = run(dag, "serve")
    sensor = NodeMetricSensor(
        task_id="fast",
        graph="Small",
        node="A",
        metric="p99",
        below=30.0,
        seconds=3,
        poke_interval=0.1,
        timeout=LONG,
        deferrable=True,
    )
    assert sensor.poke({}) is False
    from tests.hogar_provider.test_operators import ask

    async def scenario() -> dict[str, Any]:
        waiting = asyncio.create_task(event_of(restored(deferred(lambda: sensor.execute({})))))
        while not waiting.done():
            await asyncio.to_thread(ask, url, "hogar")
            await asyncio.sleep(0.1)
        return await waiting

    event = asyncio.run(scenario())
    assert event["sentence"].startswith("p99 of A over the last 3 s is ")
    with connect(connection, start=False) as client:
        assert client.statistics("Small").nodes[0].statistics is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "p98", "below": 1.0}, "'p98' is none of p50, p95, p99"),
        ({"metric": "p99"}, "give a bound"),
        ({"metric": "p99", "below": 1.0, "seconds": 901}, "1 to 900"),
    ],
)
def test_a_metric_that_is_none_is_refused_when_the_dag_is_parsed(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NodeMetricSensor(task_id="fast", graph="Small", node="A", **arguments)
