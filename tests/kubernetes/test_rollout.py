"""A rollout is waited for, and what is in its way is told in Kubernetes' own words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hogar_provider.engines import kubernetes_rollout
from hogar_provider.engines.kubernetes_api import Api
from hogar_provider.engines.kubernetes_apply import apply_all
from hogar_provider.engines.kubernetes_graph import compile_objects
from hogar_provider.engines.kubernetes_rollout import Level, RolloutError, wait_rollout
from tests.kubernetes.cluster import (
    Cluster,
    running,
    running_cluster,
    unschedulable,
    unwired,
    waiting,
)
from tests.kubernetes.graphs import GRAPH, plan_of

Scenario = Callable[[Cluster, Api], Awaitable[None]]
GREET = [("Deployment", "hello-greet"), ("StatefulSet", "hello-greet-more")]
COUNT = [("StatefulSet", "hello-count")]


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_rollout, "LOOK_INTERVAL", 0.05)


def run(folder: Path, scenario: Scenario, text: str = GRAPH) -> None:
    async def work() -> None:
        async with running_cluster() as (cluster, settings):
            api = await Api.open(settings, folder)
            try:
                objects = compile_objects("hello", "1", plan_of(text))
                for pair in objects.nodes:
                    await apply_all(api, "hello", pair)
                await scenario(cluster, api)
            finally:
                await api.close()

    asyncio.run(work())


async def failure(api: Api, names: Any, timeout: float = 1.0) -> RolloutError:
    with pytest.raises(RolloutError) as caught:
        await wait_rollout(api, names, Level.UP, timeout)
    return caught.value


def test_pods_without_a_graph_are_up_and_not_ready(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        cluster.says["hello-greet"] = unwired
        await wait_rollout(api, GREET, Level.UP, 20)
        with pytest.raises(RolloutError) as caught:
            await wait_rollout(api, GREET, Level.READY, 0.2)
        said = "not there after 0 s: Deployment hello-greet: 0 of 1 pods are ready"
        assert str(caught.value) == said
        cluster.says["hello-greet"] = running
        await wait_rollout(api, GREET, Level.READY, 20)

    run(tmp_path, scenario)


def test_a_change_is_waited_for_until_the_old_pods_are_gone(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        await wait_rollout(api, COUNT, Level.UP, 20)
        before = {pod["metadata"]["uid"] for pod in cluster.pods_of("hello-count")}
        plan = plan_of(GRAPH.replace("count:1", "count:2"))
        await apply_all(api, "hello", compile_objects("hello", "1", plan).nodes[1])
        await wait_rollout(api, COUNT, Level.UP, 20)
        pods = cluster.pods_of("hello-count")
        assert before & {pod["metadata"]["uid"] for pod in pods} == set()
        assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"team/count:2"}

    run(tmp_path, scenario)


def test_an_image_that_cannot_be_pulled_ends_the_wait_early_with_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_rollout, "PULL_PATIENCE", 0.3)
    monkeypatch.setitem(kubernetes_rollout.HOPELESS, "ImagePullBackOff", 0.3)

    async def scenario(cluster: Cluster, api: Api) -> None:
        message = 'Back-off pulling image "team/count:1"'
        cluster.says["hello-count"] = waiting("model", "ImagePullBackOff", message)
        pod = cluster.pods_of("hello-count")[0]
        why = 'Failed to pull image "team/count:1": not found'
        cluster.event(pod, "Failed", why)
        cluster.event(pod, "BackOff", message)
        begin = time.monotonic()
        error = await failure(api, COUNT, 60)
        assert 0.3 <= time.monotonic() - begin < 20
        assert str(error) == (
            f"pod hello-count-0, container model: ImagePullBackOff: {message} (Failed: {why})"
        )
        # The pod's events are for the task's log.
        failed, backed_off = error.log.splitlines()
        assert failed.endswith(f"Z Warning Failed hello-count-0: {why}")
        assert backed_off.endswith(f"Z Warning BackOff hello-count-0: {message}")

    run(tmp_path, scenario)


def test_an_image_that_can_be_pulled_after_all_is_waited_for(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        cluster.says["hello-count"] = waiting("model", "ErrImagePull", "registry is away")
        asyncio.get_running_loop().call_later(0.5, cluster.says.__setitem__, "hello-count", running)
        await wait_rollout(api, COUNT, Level.UP, 20)

    run(tmp_path, scenario)


def test_a_model_that_ends_on_every_start_ends_the_wait_with_its_last_lines(
    tmp_path: Path,
) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        crash = {
            "restartCount": 3,
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
        }
        message = "back-off 40s restarting failed container=model"
        cluster.says["hello-count"] = waiting("model", "CrashLoopBackOff", message, **crash)
        lines = "".join(f"line {number}\n" for number in range(100))
        cluster.logs["hello-count", "model", True] = f"{lines}ValueError: no weights\n"
        error = await failure(api, COUNT, 60)
        assert str(error) == (
            f"pod hello-count-0, container model: CrashLoopBackOff: {message}; "
            "it ended with exit code 1 (Error)"
        )
        assert error.log.endswith("line 99\nValueError: no weights")
        assert len(error.log.splitlines()) == 30

    run(tmp_path, scenario)


def test_a_model_that_ended_once_may_come_up_yet(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        crash = {
            "restartCount": 1,
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
        }
        cluster.says["hello-count"] = waiting("model", "CrashLoopBackOff", "back-off", **crash)
        error = await failure(api, COUNT, 0.5)
        assert "not there after 0 s: pod hello-count-0" in str(error)
        assert "exit code 137 (OOMKilled)" in str(error)

    run(tmp_path, scenario)


def test_pods_that_fit_nowhere_are_told_as_the_scheduler_says(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        said = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
        cluster.says["hello-greet"] = unschedulable(said)
        error = await failure(api, GREET, 0.5)
        assert str(error).endswith(f": Unschedulable: {said}")
        assert "pod hello-greet-" in str(error)
        assert error.log == ""

    run(tmp_path, scenario)


def test_a_pod_of_which_nothing_is_known_is_told_with_its_events(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        cluster.says["hello-count"] = waiting("model", "ContainerCreating", "")
        said = 'MountVolume.SetUp failed for volume "secret": secret "hello-token" not found'
        cluster.event(cluster.pods_of("hello-count")[0], "FailedMount", said)
        error = await failure(api, COUNT, 0.3)
        missing = "not there after 0 s: StatefulSet hello-count: 0 of 2 pods are up"
        assert str(error) == f"{missing} (FailedMount: {said})"
        assert error.log.endswith(f"Warning FailedMount hello-count-0: {said}")

    run(tmp_path, scenario)


def test_pods_that_may_not_be_made_are_told_by_their_workload(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        one = cluster.find("Deployment", "hello-greet")
        assert one is not None
        said = 'pods "hello-greet-x" is forbidden: exceeded quota: team, requested: cpu=4'
        condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
        one["status"] = {"conditions": [condition | {"message": said}]}
        cluster._store("deployments", one)
        cluster.says["hello-greet"] = unwired
        cluster.says["hello-greet-more"] = waiting("model", "ContainerCreating", "")
        error = await failure(api, GREET, 0.5)
        assert f"Deployment hello-greet: FailedCreate: {said}" in str(error)

    run(tmp_path, scenario)
