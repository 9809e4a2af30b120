"""What the ``kubernetes`` target writes, read back as Kubernetes does."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

import udgl
from earg.config import read_static
from earg.extras import read_extras
from earg.wiring_places import read_places
from tests.targets.service_monitor import errors_of
from tests.targets.support import golden_graphs
from udgl.targets import target

VERSIONS = ("1.31", "1.34", "1.37")

GRAPH = """\
meta
name Sentiment
version 1
description What people think
owner speech team
tags speech, nlp
operator Split
image team/split:1
replicas 3
host gpu-box
gpu 1
memory 1GiB
cpu 0.5
env LANG=en
entrypoint models.a:Split
input fp32[3x224x224]
output fp32[10]
operator Count
image team/count:1
stateful Yes
batch dynamic 32
latency 50ms
logical flow
distribute
Split -> Count
"""


def objects(text: str = GRAPH) -> list[dict[str, Any]]:
    compilation = target("kubernetes").compile_graph(udgl.parse(text, "g.udgl"))
    return [one for file in compilation.files for one in yaml.safe_load_all(file.text)]


def found(kind: str, name: str, text: str = GRAPH) -> dict[str, Any]:
    (one,) = (o for o in objects(text) if (o["kind"], o["metadata"]["name"]) == (kind, name))
    return one


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_in_strict_mode(version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    # The first graph says all that reaches an object.
    made = [*objects(), *objects(golden_graphs()["simpledag"])]
    kinds = {one["kind"] for one in made}
    for one in made:
        if one["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(one, version, strict=True)
    assert kinds == {
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceMonitor",
        "StatefulSet",
    }
    wrong = found("Deployment", "sentiment-split")
    wrong["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_the_service_monitor_is_what_the_prometheus_operator_takes() -> None:
    monitor = found("ServiceMonitor", "sentiment")
    assert errors_of(monitor) == []
    monitor["spec"]["endpoints"][0]["prot"] = "metrics"
    assert errors_of(monitor)


def test_what_the_service_monitor_scrapes_are_ports_of_labelled_services() -> None:
    monitor = found("ServiceMonitor", "sentiment")
    label = monitor["spec"]["selector"]["matchLabels"].items()
    ports = {
        port["name"]
        for one in objects()
        if one["kind"] == "Service" and label <= one["metadata"]["labels"].items()
        for port in one["spec"]["ports"]
    }
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_the_config_map_holds_what_the_wiring_reads() -> None:
    data = found("ConfigMap", "sentiment-config")["data"]
    config = read_static(data["graph.earg"], choices=True)
    assert read_extras(data["extras.json"], config).of(2).latency == 0.05
    places = read_places(data["places.yaml"], config)
    assert [[pair.proxy for pair in node] for node in places.nodes] == [
        ["sentiment-split"],
        ["sentiment-count-0.sentiment-count", "sentiment-count-1.sentiment-count"],
    ]
    assert places.nodes[0][0].models == (
        "sentiment-split",
        "sentiment-split-more-0.sentiment-split-more",
        "sentiment-split-more-1.sentiment-split-more",
    )


@pytest.mark.slow
def test_every_host_of_the_wiring_is_a_service_that_selects_pods() -> None:
    for text in (GRAPH, *golden_graphs().values()):
        try:
            made = objects(text)
        except udgl.UdglError:
            continue
        by_kind: dict[str, dict[str, dict[str, Any]]] = {}
        for one in made:
            by_kind.setdefault(one["kind"], {})[one["metadata"]["name"]] = one
        (config,) = by_kind["ConfigMap"].values()
        places = yaml.safe_load(config["data"]["places.yaml"])
        hosts = [places["frontend"]]
        for pairs in places["nodes"].values():
            for pair in pairs:
                hosts += [pair["proxy"], *pair["models"]]
        workloads = [*by_kind["Deployment"].values(), *by_kind.get("StatefulSet", {}).values()]
        for host in hosts:
            first, _, service = host.partition(".")
            headless = by_kind["Service"][service or first]
            assert headless["spec"]["clusterIP"] == "None"
            selector = headless["spec"]["selector"].items()
            (selected,) = (
                one
                for one in workloads
                if selector <= one["spec"]["template"]["metadata"]["labels"].items()
            )
            if service:
                number = int(first.removeprefix(f"{service}-"))
                assert number < selected["spec"]["replicas"]
                assert selected["spec"]["serviceName"] == service


def test_a_stateful_operator_is_two_pods_on_different_hosts_of_which_one_goes_at_a_time() -> None:
    one = found("StatefulSet", "sentiment-count")
    assert one["spec"]["replicas"] == 2
    assert one["spec"]["podManagementPolicy"] == "Parallel"
    # What is new takes over the state before what is old goes.
    assert one["spec"]["minReadySeconds"] == 10
    pod = one["spec"]["template"]["spec"]
    (term,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert found("PodDisruptionBudget", "sentiment-count")["spec"]["maxUnavailable"] == 1
    _, proxy = pod["containers"]
    assert {"name": "FENCED", "value": "true"} in proxy["env"]
    alone = GRAPH.replace("stateful Yes", "stateful Yes\nbackup 0")
    assert found("StatefulSet", "sentiment-count", alone)["spec"]["replicas"] == 1


def test_a_factor_is_where_kubernetes_looks_for_it() -> None:
    pod = found("Deployment", "sentiment-split")["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"hogar/host": "gpu-box"}
    model, _ = pod["containers"]
    amounts = {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"}
    assert model["resources"] == {"requests": amounts, "limits": amounts}
    assert {"name": "LANG", "value": "en"} in model["env"]
    assert {"name": "EARG_ENTRYPOINT", "value": "models.a:Split"} in model["env"]
    assert found("StatefulSet", "sentiment-split-more")["spec"]["replicas"] == 2


def test_no_pod_may_more_than_it_needs() -> None:
    for one in objects():
        if one["kind"] not in ("Deployment", "StatefulSet"):
            continue
        pod = one["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in (*pod["initContainers"], *pod["containers"]):
            confined = container["securityContext"]
            assert confined["allowPrivilegeEscalation"] is False
            assert confined["capabilities"] == {"drop": ["ALL"]}
            is_model = container["name"] == "model"
            assert is_model or confined["readOnlyRootFilesystem"] is True
            if container["name"] != "token":
                env = {variable["name"]: variable for variable in container["env"]}
                assert env["EARG_TOKEN_FILE"]["value"] == "/run/earg/token"


def test_only_the_frontend_is_open_to_everybody() -> None:
    whole = found("NetworkPolicy", "sentiment")["spec"]
    own, metrics = whole["ingress"]
    assert own == {"from": [{"podSelector": whole["podSelector"]}]}
    assert metrics["ports"] == [{"protocol": "TCP", "port": 22224}]
    frontend = found("NetworkPolicy", "sentiment-frontend")["spec"]
    assert frontend["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8500}]}]
    pods = [
        one["metadata"]["name"]
        for one in objects()
        if one["kind"] in ("Deployment", "StatefulSet")
        and frontend["podSelector"]["matchLabels"].items()
        <= one["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert pods == ["sentiment-frontend"]


def test_a_proxy_starts_anew_only_where_its_graph_is_another() -> None:
    def digests(text: str) -> dict[str, str]:
        return {
            one["metadata"]["name"]: one["spec"]["template"]["metadata"]
            .get("annotations", {})
            .get("hogar/graph-digest", "")
            for one in objects(text)
            if one["kind"] in ("Deployment", "StatefulSet")
        }

    before = digests(GRAPH)
    other_batch = digests(GRAPH.replace("dynamic 32", "dynamic 16"))
    changed = {name for name in before if before[name] != other_batch[name]}
    assert changed == {"sentiment-count", "sentiment-wiring"}
    more = "operator Last\nimage team/last:1\nlogical flow\ndistribute\nCount -> Last"
    other_graph = digests(GRAPH.replace("logical flow\ndistribute", more))
    assert {"sentiment-split", "sentiment-count"} <= {
        name for name in before if before[name] != other_graph[name]
    }


def test_names_that_an_operator_takes_are_left_to_it() -> None:
    text = (
        "meta\nname g\nversion 1\noperator frontend\nimage a:1\nreplicas 2\n"
        "operator frontend-more\nimage a:1\noperator token\nimage a:1\nlogical flow\n"
        "distribute\nfrontend -> frontend-more\nfrontend-more -> token"
    )
    named = [(one["kind"], one["metadata"]["name"]) for one in objects(text)]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("name", ["kubernetes", "compose"])
def test_an_operator_without_an_image_is_an_error_at_its_line(name: str) -> None:
    text = (
        "meta\nname g\nversion 1\noperator A\nentrypoint m:A\noperator B\nimage b:1\n"
        "logical flow\ndistribute\nA -> B"
    )
    with pytest.raises(udgl.UdglError) as caught:
        target(name).compile_graph(udgl.parse(text))
    (one,) = caught.value.diagnostics
    assert one.code == f"{name.upper()}102"
    assert one.span is not None
    assert one.span.line == 4
