"""A trained model comes to its pods, by a claim or as a ConfigMap, or nothing is applied."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from earg.training.store import TrainingStore
from hogar_provider.engines import kubernetes_agent, kubernetes_apply, kubernetes_rollout
from hogar_provider.engines.kubernetes_artifact import FOLDER, LARGEST, MOST_FILES
from tests.kubernetes.agents import Client, running_agent
from tests.kubernetes.cluster import (
    Cluster,
    read_role,
    running_cluster,
    unwired,
    waiting,
)
from tests.kubernetes.graphs import GRAPH
from tests.kubernetes.server_side_apply import Object
from tests.kubernetes.test_agent import ROLE, refusal

pytestmark = pytest.mark.slow

Scenario = Callable[[Cluster, Client], Awaitable[None]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (kubernetes_agent, kubernetes_apply, kubernetes_rollout):
        monkeypatch.setattr(module, "LOOK_INTERVAL", 0.05)


def run(folder: Path, scenario: Scenario, **settings: str) -> None:
    async def work() -> None:
        async with running_cluster(role=read_role(ROLE)) as (cluster, plain):
            cluster.says |= {"hello-greet": unwired, "hello-count": unwired}
            async with running_agent(folder / "home", replace(plain, **settings)) as client:
                await scenario(cluster, client)

    asyncio.run(work())


def trained(folder: Path, files: dict[str, bytes]) -> str:
    """The folder of another training of an operator, as its task hands it on."""
    store = TrainingStore(folder / "Hello" / "Greet")
    work = store.work("a run")
    for name, data in files.items():
        (work / "artifact" / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (work / "artifact" / name).write_bytes(data)
    return str(store.commit(work, {}).folder)


def model_of(cluster: Cluster, kind: str = "Deployment", name: str = "hello-greet") -> Object:
    """The mount of the model, with its volume and what the container is told of it; nothing else
    of the pod has it."""
    one = cluster.find(kind, name)
    assert one is not None
    pod = one["spec"]["template"]["spec"]
    containers = [*pod["containers"], *pod["initContainers"]]
    mounts = [
        (container["name"], mount)
        for container in containers
        for mount in container["volumeMounts"]
        if mount["name"] == "artifact"
    ]
    told = [
        (container["name"], one["value"])
        for container in containers
        for one in container.get("env", ())
        if one["name"] == "HOGAR_ARTIFACT"
    ]
    volumes = [one for one in pod["volumes"] if one["name"] == "artifact"]
    if not volumes:
        assert mounts == []
        return {"told": told}
    ((owner, mount),), (volume,) = mounts, volumes
    assert owner == "model"
    assert told == [("model", FOLDER)]
    assert (mount["mountPath"], mount["readOnly"]) == (FOLDER, True)
    return {"mount": mount, "volume": volume}


def models(cluster: Cluster) -> list[Object]:
    """The ConfigMaps with models."""
    return [one for one in cluster.all("ConfigMap") if "-model-" in one["metadata"]["name"]]


def files_of(cluster: Cluster, volume: Object) -> dict[str, bytes]:
    """What a kubelet puts into the folder."""
    one = cluster.find("ConfigMap", volume["configMap"]["name"])
    assert one is not None
    assert one["immutable"]
    data = one["binaryData"]
    items = volume["configMap"]["items"]
    return {item["path"]: base64.b64decode(data[item["key"]]) for item in items}


def uids(cluster: Cluster) -> set[str]:
    return {str(pod["metadata"]["uid"]) for pod in cluster.pods_of("hello-greet")}


def test_a_small_model_goes_with_the_graph_and_the_next_training_replaces_it(
    tmp_path: Path,
) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        weights = bytes(range(256))
        first = trained(tmp_path, {"model": weights, "deep/er/tokens.txt": b"a b"})
        await client.deployed(1, artifact=first)
        found = model_of(cluster)
        files = files_of(cluster, found["volume"])
        assert files.pop("about.json")
        assert files == {"model": weights, "deep/er/tokens.txt": b"a b"}
        # Each replica has it, and no other operator.
        assert model_of(cluster, "StatefulSet", "hello-greet-more") == found
        await client.deployed(2)
        assert model_of(cluster, "StatefulSet", "hello-count") == {"told": []}

        before, versions = uids(cluster), cluster.find("Deployment", "hello-greet")
        await client.deployed(1, artifact=first)
        assert (uids(cluster), cluster.find("Deployment", "hello-greet")) == (before, versions)

        await client.deployed(1, artifact=trained(tmp_path, {"model": b"better"}))
        assert uids(cluster) & before == set()
        assert files_of(cluster, model_of(cluster)["volume"])["model"] == b"better"
        assert len(models(cluster)) == 1
        # It is no graph.
        (graph,) = await client.graphs()
        assert [node.name for node in graph.nodes] == ["Greet", "Count"]

        # No longer trained: it goes with the pods that had it.
        await client.deployed(1)
        assert model_of(cluster) == {"told": []}
        assert models(cluster) == []
        await client.deployed(1, artifact=first)
        await client.down()
        assert cluster.names() == {("Secret", "hogar-token")}

    run(tmp_path, scenario)


def test_a_model_is_mounted_from_the_claim_that_the_connection_names(tmp_path: Path) -> None:
    # Airflow's own way to it may be a link, which is none of the claim's.
    (tmp_path / "real").mkdir()
    (tmp_path / "trainings").symlink_to(tmp_path / "real")

    async def scenario(cluster: Cluster, client: Client) -> None:
        large = {"model": b"x" * (LARGEST + 1)}
        first = trained(tmp_path / "trainings" / "own", large)
        await client.deployed(1, artifact=first)
        found = model_of(cluster)
        source = {"claimName": "trainings", "readOnly": True}
        assert found["volume"] == {"name": "artifact", "persistentVolumeClaim": source}
        part = found["mount"]["subPath"]
        assert part.startswith("own/Hello/Greet/artifacts/000001-")
        assert (tmp_path / "real" / part / "model").is_file()
        assert model_of(cluster, "StatefulSet", "hello-greet-more") == found
        assert models(cluster) == []
        # The pods' user is another one.
        for path in Path(first).rglob("*"):
            assert path.stat().st_mode & 0o044 == 0o044
        assert Path(first).stat().st_mode & 0o055 == 0o055
        assert Path(first).parent.stat().st_mode & 0o077 == 0

        before = uids(cluster)
        await client.deployed(1, artifact=trained(tmp_path / "trainings" / "own", large))
        assert uids(cluster) & before == set()
        assert "000002-" in model_of(cluster)["mount"]["subPath"]

        names, elsewhere = cluster.names(), trained(tmp_path / "other", {"model": b"x"})
        said = await refusal(client.deploy(1, version="2", artifact=elsewhere))
        assert f"{elsewhere} is not below {tmp_path / 'trainings'}" in said
        assert "the claim trainings" in said
        assert cluster.names() == names
        await client.down()

    run(
        tmp_path,
        scenario,
        artifacts_claim="trainings",
        artifacts_path=str(tmp_path / "trainings"),
    )


def test_a_model_that_cannot_be_handed_over_is_refused_before_anything_is_applied(
    tmp_path: Path,
) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        large = trained(tmp_path, {"model": b"x" * LARGEST})
        said = await refusal(client.deploy(1, artifact=large))
        assert "has 1.0 MiB, and without a claim" in said
        assert "set 'artifacts' in the extra of the connection" in said
        many = trained(tmp_path, {f"part-{number}": b"" for number in range(MOST_FILES)})
        assert f"more than {MOST_FILES} files" in await refusal(client.deploy(1, artifact=many))
        said = await refusal(client.deploy(1, artifact=str(tmp_path / "nowhere")))
        assert said.startswith(f"there is no trained model in {tmp_path / 'nowhere'}")
        assert cluster.names() == set()
        # A graph that says where the image has it needs no handing over.
        own = GRAPH.replace("greet:1\n", "greet:1\nenv HOGAR_ARTIFACT=/in/the/image\n")
        await client.deployed(1, own, artifact=large)
        assert model_of(cluster) == {"told": [("model", "/in/the/image")]}

    run(tmp_path, scenario)


def test_a_model_that_does_not_load_leaves_nothing_of_a_new_node(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        crash: dict[str, Any] = {
            "restartCount": 3,
            "lastState": {"terminated": {"exitCode": 1}},
        }
        cluster.says["hello-greet"] = waiting("model", "CrashLoopBackOff", "back-off", **crash)
        reply = await client.deploy(1, artifact=trained(tmp_path, {"model": b"broken"}))
        assert "CrashLoopBackOff" in reply.failure
        assert models(cluster) == []

    run(tmp_path, scenario)


def test_somebody_elses_config_map_is_left_and_named(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, client: Client) -> None:
        found = trained(tmp_path, {"model": b"weights"})
        await client.deployed(1, artifact=found)
        (one,) = models(cluster)
        await client.down()
        theirs = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": one["metadata"]["name"]},
            "data": {"a": "b"},
        }
        cluster.add(theirs)
        with pytest.raises(grpc.aio.AioRpcError, match="is there already and is not of this graph"):
            await client.deploy(1, artifact=found)
        left = cluster.find("ConfigMap", one["metadata"]["name"])
        assert left is not None
        assert left["data"] == {"a": "b"}

    run(tmp_path, scenario)
