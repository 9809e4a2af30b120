"""Objects are applied as compiled, owned, taken over only from the same files, and pruned."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hogar_provider.engines import kubernetes_api
from hogar_provider.engines.kubernetes_api import DEPLOYMENT, Api, ApiError
from hogar_provider.engines.kubernetes_apply import (
    Applied,
    OwnerError,
    apply_all,
    find_all,
    prune,
    wait_gone,
)
from hogar_provider.engines.kubernetes_graph import GraphObjects, compile_objects
from hogar_provider.engines.kubernetes_settings import KubernetesSettings
from tests.kubernetes.cluster import API_TOKEN, Cluster, running_cluster
from tests.kubernetes.graphs import GRAPH, plan_of

Scenario = Callable[[Cluster, Api], Awaitable[None]]


def hello(text: str = GRAPH) -> GraphObjects:
    return compile_objects("hello", "1", plan_of(text))


def run(folder: Path, scenario: Scenario) -> None:
    async def work() -> None:
        async with running_cluster() as (cluster, settings):
            api = await Api.open(settings, folder)
            try:
                await scenario(cluster, api)
            finally:
                await api.close()

    asyncio.run(work())


def test_what_is_compiled_is_there_after_an_apply_and_a_second_one_changes_nothing(
    tmp_path: Path,
) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        objects = hello()
        first = await apply_all(api, "hello", objects.all)
        assert len(first.created) == len(list(objects.all))
        assert cluster.names() == {(o["kind"], o["metadata"]["name"]) for o in objects.all}
        # What confines pods, and what they mount, comes before them.
        kinds = [one["kind"] for one in cluster.applied]
        assert kinds.index("NetworkPolicy") < kinds.index("ConfigMap") < kinds.index("Deployment")
        labels = [one["metadata"]["labels"] for one in cluster.applied]
        assert {one["hogar/engine"] for one in labels} == {"kubernetes"}
        assert {one["hogar/graph"] for one in labels} == {"hello"}
        versions = {o["metadata"]["name"]: o["metadata"] for o in cluster.all("Deployment")}
        second = await apply_all(api, "hello", objects.all)
        assert second.created == second.changed == ()
        assert str(second) == "nothing had changed"
        after = {o["metadata"]["name"]: o["metadata"] for o in cluster.all("Deployment")}
        assert after == versions

    run(tmp_path, scenario)


def test_only_what_differs_is_changed(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        await apply_all(api, "hello", hello().all)
        changed = await apply_all(api, "hello", hello(GRAPH.replace("greet:1", "greet:2")).all)
        assert set(changed.changed) == {
            "Deployment hello-greet",
            "StatefulSet hello-greet-more",
            # The image is in the graph's text.
            "ConfigMap hello-config",
            "Deployment hello-wiring",
        }
        one = cluster.find("Deployment", "hello-greet")
        assert one is not None
        assert one["metadata"]["generation"] == 2

    run(tmp_path, scenario)


def test_fields_that_others_have_set_stay_and_own_ones_are_taken_back(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        await apply_all(api, "hello", hello().all)
        name = "hello-frontend"
        theirs = {
            "metadata": {"name": name, "annotations": {"team/note": "x"}},
            "spec": {"replicas": 7},
        }
        cluster.set_field("Deployment", name, theirs, "kubectl-edit")
        assert (cluster.find("Deployment", name) or {})["spec"]["replicas"] == 7
        applied = await apply_all(api, "hello", hello().frontend_objects)
        assert applied.changed == (f"Deployment {name}",)
        one = cluster.find("Deployment", name)
        assert one is not None
        assert one["spec"]["replicas"] == 1
        assert one["metadata"]["annotations"]["team/note"] == "x"

    run(tmp_path, scenario)


def test_an_object_that_is_not_the_graphs_is_left_and_named(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        foreign = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "hello", "labels": {"app": "else"}},
            "spec": {"ports": [{"name": "http", "port": 99}]},
        }
        cluster.add(dict(foreign))
        with pytest.raises(OwnerError, match="Service hello is there already and is not of this"):
            await apply_all(api, "hello", hello().all)
        assert (cluster.find("Service", "hello") or {})["spec"] == foreign["spec"]

    run(tmp_path, scenario)


def test_what_kubectl_applied_from_the_same_files_is_taken_over(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        for one in hello().all:
            cluster.add({**one, "metadata": {**one["metadata"]}})
        await apply_all(api, "hello", hello(GRAPH.replace("greet:1", "greet:2")).all)
        greet = cluster.find("Deployment", "hello-greet")
        assert greet is not None
        assert greet["metadata"]["labels"]["hogar/engine"] == "kubernetes"
        model, _ = greet["spec"]["template"]["spec"]["containers"]
        assert model["image"] == "team/greet:2"

    run(tmp_path, scenario)


def test_what_an_operator_had_is_pruned_with_it_and_nothing_else(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        more = "operator Last\nimage team/last:1\nlogical flow\ndistribute\nCount -> Last\n"
        longer = GRAPH.replace("logical flow\ndistribute\n", more)
        other = compile_objects("other", "1", plan_of(GRAPH.replace("name hello", "name other")))
        await apply_all(api, "hello", hello(longer).all)
        await apply_all(api, "other", other.all)
        mine = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "own", "labels": {"hogar/graph": "hello"}},
            "data": {"a": "b"},
        }
        cluster.add(mine)
        shorter = hello()
        await apply_all(api, "hello", shorter.all)
        gone = await prune(api, "hello", shorter.kept)
        assert gone == ("Deployment hello-last", "Service hello-last")
        await wait_gone(api, "hello", 20)
        expected = [*shorter.all, *other.all, mine]
        assert cluster.names() == {(o["kind"], o["metadata"]["name"]) for o in expected}
        # Fewer replicas need nothing of those they had.
        single = hello(GRAPH.replace("replicas 2\n", ""))
        await apply_all(api, "hello", single.nodes[0])
        assert await prune(
            api, "hello", single.kept, labels={"app.kubernetes.io/name": "Greet"}
        ) == (
            "StatefulSet hello-greet-more",
            "PodDisruptionBudget hello-greet-more",
            "Service hello-greet-more",
        )

    run(tmp_path, scenario)


def test_an_apply_waits_for_what_is_being_deleted(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        await apply_all(api, "hello", hello().all)
        before = cluster.find("Deployment", "hello-greet")
        await api.delete(DEPLOYMENT, "hello-greet")
        applied = await apply_all(api, "hello", hello().nodes[0])
        assert "Deployment hello-greet" in applied.created
        after = cluster.find("Deployment", "hello-greet")
        assert before is not None
        assert after is not None
        assert before["metadata"]["uid"] != after["metadata"]["uid"]

    run(tmp_path, scenario)


def test_what_the_api_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster, api: Api) -> None:
        said = 'Deployment.apps "hello-greet" is invalid: spec.selector: field is immutable'
        cluster.refuses["Deployment/hello-greet"] = (422, said)
        with pytest.raises(ApiError, match="field is immutable") as caught:
            await apply_all(api, "hello", hello().all)
        assert caught.value.status == 422
        # Strict: what the API does not know is refused, not dropped.
        wrong = {**hello().config, "dat": {}}
        with pytest.raises(ApiError, match="ConfigMap 'hello-config' is invalid"):
            await apply_all(api, "hello", [wrong])
        cluster.role = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
        with pytest.raises(ApiError, match='cannot patch resource "configmaps"') as caught:
            await apply_all(api, "hello", [hello().config])
        assert caught.value.status == 403
        assert "docs/kubernetes_role.yaml" in str(caught.value)
        with pytest.raises(ApiError, match="cannot list resource"):
            await find_all(api, "hello")

    run(tmp_path, scenario)


def test_an_api_that_is_busy_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "PAUSES", (0.01, 0.01))

    async def scenario(cluster: Cluster, api: Api) -> None:
        cluster.busy += [503, 429]
        await apply_all(api, "hello", [hello().config])
        assert cluster.busy == []
        cluster.busy += [503, 503, 503]
        with pytest.raises(ApiError, match="answers 503: the server is busy"):
            await apply_all(api, "hello", [hello().config])
        # What may have been done is not done twice.
        cluster.busy += [500]
        with pytest.raises(ApiError, match="answers 500"):
            await api.create(hello().config)

    run(tmp_path, scenario)


def test_credentials_that_were_renewed_in_their_file_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with running_cluster() as (cluster, settings):
            file = tmp_path / "kubeconfig"
            file.write_text(settings.kubeconfig)
            api = await Api.open(KubernetesSettings("graphs", kubeconfig_path=str(file)), tmp_path)
            try:
                await find_all(api, "hello")
                cluster.token = "renewed"
                with pytest.raises(ApiError, match="credentials are not accepted"):
                    await find_all(api, "hello")
                monkeypatch.setattr(kubernetes_api, "LOGIN_INTERVAL", 0.0)
                with pytest.raises(ApiError, match="credentials are not accepted"):
                    # The file still has the old ones.
                    await find_all(api, "hello")
                file.write_text(settings.kubeconfig.replace(API_TOKEN, "renewed"))
                assert await find_all(api, "hello") == []
            finally:
                await api.close()

    asyncio.run(work())


def test_an_api_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_api, "PAUSES", (0.01,))

    async def work() -> None:
        async with running_cluster() as (_, settings):
            pass
        api = await Api.open(settings, tmp_path)
        try:
            with pytest.raises(ApiError, match="cannot be reached"):
                await find_all(api, "hello")
        finally:
            await api.close()

    asyncio.run(work())


def test_an_applied_summary_names_what_it_did() -> None:
    said = str(Applied(("Service a",), ("Deployment b",), ("Service c",), ("Service d",)))
    assert said == "created Service a; changed Deployment b; removed Service d"
