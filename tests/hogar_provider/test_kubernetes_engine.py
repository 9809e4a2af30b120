"""The engine ``kubernetes``: what its connection means, and its agent's process."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kmock
import pytest

import udgl
from earg.addresses import AddressPool
from earg.client import AgentClient, AgentError, NoAgentError
from earg.ledger import started_at
from hogar_provider.dag_builder import build_dag
from hogar_provider.engines.agent import marker_of
from hogar_provider.engines.kubernetes import KubernetesEngine, _credentials
from hogar_provider.engines.kubernetes_settings import KubernetesSettings, Reach, SettingsError
from hogar_provider.exceptions import AirflowException, AirflowFailException
from hogar_provider.hooks.earg import EargHook
from tests.hogar_provider.running import run
from tests.kubernetes.cluster import Cluster, settings_of, unwired, waiting
from tests.kubernetes.graphs import GRAPH
from tests.kubernetes.processes import Processes

TOKEN = "a-token-that-nobody-else-may-see-4711"


@pytest.fixture
def cluster() -> Iterator[tuple[Cluster, str]]:
    """A cluster, and the text of a kubeconfig to it; its loop runs in a thread."""
    ready, done = threading.Event(), threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        async with Cluster() as one, kmock.Server(one) as server:
            config = settings_of(f"http://127.0.0.1:{server.port}").kubeconfig
            found.update(cluster=one, kubeconfig=config)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield found["cluster"], found["kubeconfig"]
    finally:
        done.set()
        thread.join(30)


def define(
    monkeypatch: pytest.MonkeyPatch,
    kubernetes: dict[str, Any],
    password: str = "",
    conn_id: str = "kube",
    **extra: Any,
) -> KubernetesEngine:
    """The engine of a connection, and of the connection to the API that it names."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_CLUSTER", json.dumps({"conn_type": "kubernetes", "extra": kubernetes})
    )
    own = {"engine": "kubernetes", "kubernetes_conn_id": "cluster"} | extra
    value = {"conn_type": "earg", "password": password, "extra": own}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(value))
    engine = EargHook(conn_id).engine()
    assert isinstance(engine, KubernetesEngine)
    return engine


def test_a_connection_says_where_and_as_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARG_HOME", str(tmp_path / "earg"))
    engine = define(
        monkeypatch,
        {"kube_config_path": "/etc/kube", "namespace": "team", "cluster_context": "prod"},
        TOKEN,
        url="https://ml.example/{graph}",
        artifacts={"claim": "trainings", "path": "/opt/trainings"},
    )
    assert (engine.name, engine.runs_images, engine.token) == ("kubernetes", True, TOKEN)
    assert engine.home.path == tmp_path / "earg" / "engines" / "kube"
    assert engine.settings == KubernetesSettings(
        "team",
        kubeconfig_path="/etc/kube",
        context="prod",
        url="https://ml.example/{graph}",
        token=TOKEN,
        artifacts_claim="trainings",
        artifacts_path="/opt/trainings",
    )
    assert KubernetesSettings.from_json(engine.settings.to_json()) == engine.settings
    # The engine's namespace wins, and a folder that is named.
    other = define(
        monkeypatch,
        {"kube_config": "{}", "namespace": "team", "disable_verify_ssl": True},
        namespace="models",
        reach="service",
        home=str(tmp_path / "own"),
    )
    assert other.home.path == tmp_path / "own"
    assert (other.settings.namespace, other.settings.verify) == ("models", False)
    assert (other.settings.kubeconfig, other.settings.reach) == ("{}", Reach.SERVICE)


def test_credentials_are_heeded_in_the_hooks_order() -> None:
    cluster = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    inside = _credentials({"in_cluster": True}.get, cluster)
    assert (inside["in_cluster"], inside["service_host"]) == (True, "10.0.0.1")
    assert _credentials({}.get, {"KUBECONFIG": "/k"})["kubeconfig_path"] == "/k"
    assert _credentials({"kube_config": {"a": 1}}.get, {})["kubeconfig"] == '{"a": 1}'
    with pytest.raises(SettingsError, match="exclude each other"):
        _credentials({"in_cluster": True, "kube_config": "{}"}.get, cluster)


@pytest.mark.parametrize(
    ("kubernetes", "password", "extra", "sentence"),
    [
        ({"kube_config": "{}"}, "", {"reach": "tunnel"}, "'reach' must be one of auto, service,"),
        ({"kube_config": "{}"}, "", {"namespace": "A b"}, "is no name of a namespace"),
        ({"kube_config": "{}"}, "", {"namespace": 1}, "'namespace' must be text, not 1"),
        ({"kube_config": "{}"}, "", {"nodes": "x"}, "a key of the extra must be one of engine"),
        ({"kube_config": "{}"}, "short", {}, "the token must be 32 to 1024 printable"),
        ({"in_cluster": True}, "", {}, "KUBERNETES_SERVICE_HOST is not set here"),
        ({"kube_config": "{}"}, "", {"url": "ftp://x"}, "'url' must be an http URL"),
        (
            {"kube_config": "{}"},
            "",
            {"artifacts": "x"},
            "'artifacts' must be {\"claim\": name of a",
        ),
        ({"kube_config": "{}"}, "", {"artifacts": {"claim": "x"}}, "'artifacts' must be {"),
        (
            {"kube_config": "{}"},
            "",
            {"artifacts": {"claim": "A_b", "path": "/x"}},
            "'claim' 'A_b' of 'artifacts' is no name of a PersistentVolumeClaim",
        ),
        (
            {"kube_config": "{}"},
            "",
            {"artifacts": {"claim": "b", "path": "x"}},
            "'path' of 'artifacts' must be an absolute path",
        ),
    ],
)
def test_a_connection_that_makes_no_sense_says_why(
    kubernetes: dict[str, Any],
    password: str,
    extra: dict[str, Any],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(AirflowException) as caught:
        define(monkeypatch, kubernetes, password, **extra)
    assert str(caught.value).startswith("Connection 'kube': ")
    assert sentence in str(caught.value)
    assert "short" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ("{}", "'namespace' is missing"),
        ('{"namespace": "a", "tokne": "secret"}', "unknown setting 'tokne'"),
        ('{"namespace": "a", "verify": "secret"}', "'verify' must be true or false"),
        ('{"namespace": "a"}', "say one of 'in_cluster', 'kubeconfig' and 'kubeconfig_path'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_without_their_values(
    text: str, sentence: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        KubernetesSettings.from_json(text)
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_agents_process_needs_no_airflow() -> None:
    code = "import sys, hogar_provider.engines.kubernetes_agent; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "kubernetes_asyncio" in loaded
    # The engine's API is asked by one client: not by Airflow's, too.
    assert loaded & {"airflow", "sqlalchemy", "kubernetes", "docker"} == set()


def test_a_connections_test_names_the_rights_that_are_missing(
    cluster: tuple[Cluster, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kube, kubeconfig = cluster
    define(monkeypatch, {"kube_config": kubeconfig}, namespace="graphs")
    assert EargHook("kube").test_connection() == (
        True,
        "The Kubernetes API answers, and graphs may be deployed in graphs.",
    )
    kube.role = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    assert EargHook("kube").test_connection() == (
        False,
        "In namespace graphs the account may not patch deployments, patch statefulsets. "
        "docs/kubernetes_role.yaml has the Role that it needs.",
    )


def test_a_connections_test_says_that_the_api_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    kubeconfig = settings_of("http://127.0.0.1:1").kubeconfig
    define(monkeypatch, {"kube_config": kubeconfig}, namespace="graphs")
    ok, sentence = EargHook("kube").test_connection()
    assert not ok
    assert sentence.startswith("The Kubernetes API cannot be asked: ")


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_another(client: AgentClient, pid: int) -> bool:
    try:
        return client.hello()[1] != pid
    except AgentError:
        return False


def token_of(kube: Cluster) -> str:
    secret = kube.find("Secret", "hogar-token")
    assert secret is not None
    return base64.b64decode(secret["data"]["token"]).decode()


@pytest.fixture
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Processes]:
    """What runs in the pods."""
    pool = AddressPool(f"{request.node.nodeid} {os.getpid()}")
    found = Processes(tmp_path / "pods", pool)
    try:
        yield found
    finally:
        found.close()
        pool.close()


@pytest.mark.slow
def test_the_tasks_of_a_dag_bring_a_graph_up_in_a_cluster_and_the_agent_outlives_a_kill(
    cluster: tuple[Cluster, str],
    processes: Processes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    kube, kubeconfig = cluster
    kube.says |= dict.fromkeys(("hello-greet", "hello-count", "hello-frontend"), unwired)
    kube.ips |= processes.ips
    kube.ports |= processes.ports
    text = GRAPH.replace("replicas 2\n", "").replace("meta\n", "meta\nengine kubernetes\n")
    text = text.replace("team/greet:1\n", "team/greet:1\nentrypoint counting_models:Greet\n")
    (tmp_path / "hello.udgl").write_text(text)
    dag = build_dag(udgl.load(tmp_path / "hello.udgl"), tmp_path / "hello.udgl", text)
    home = tmp_path / "home"
    # The graph names its engine, and that the connection of its name.
    define(
        monkeypatch,
        {"kube_config": kubeconfig, "namespace": "graphs"},
        conn_id="kubernetes",
        home=str(home),
    )
    hook = EargHook("kubernetes")
    engine = hook.engine()
    assert engine.token == ""
    with pytest.raises(NoAgentError):
        engine.connect(start=False)

    with engine.connect() as client:
        try:
            (greet,) = run(dag, "deploy.Greet")
            assert greet["change"] == "started as version 1"
            kube.says["hello-count"] = waiting("model", "InvalidImageName", "no such image")
            kube.event(kube.pods_of("hello-greet")[0], "Pulled", "not of this pod", "Normal")
            with pytest.raises(AirflowFailException, match="InvalidImageName: no such image"):
                run(dag, "deploy.Count")
            kube.says["hello-count"] = unwired
            run(dag, "deploy.Count")
            log = capfd.readouterr().out
            assert "Count: primary on 127." in log
            assert "Count: backup on 127." in log

            # The token is the namespace's, for whoever asks a graph, and in no file here.
            token = token_of(kube)
            assert engine.token == token
            for file in home.rglob("*"):
                if file.is_file():
                    written = file.read_bytes()
                    assert token.encode() not in written
                    assert b"the-account's-own-token" not in written

            _, pid = client.hello()
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: is_another(client, pid))

            processes.give_token(token)
            processes.start_pods()

            def start_wiring() -> None:
                eventually(lambda: kube.find("Deployment", "hello-wiring") is not None)
                one = kube.find("Deployment", "hello-wiring")
                config = kube.find("ConfigMap", "hello-config")
                assert one is not None
                assert config is not None
                processes.start_wiring(one, config)

            starting = threading.Thread(target=start_wiring)
            starting.start()
            run(dag, "wire")
            starting.join()
            (*_, url) = run(dag, "probe.Greet", "probe.Count", "serve")
            assert url.startswith("http://127.0.0.1:")
            assert hook.send(url, b"a", "text/plain") == (b"1: hello a", "text/plain")
            assert [graph.name for graph in client.graphs()] == ["hello"]
            client.down("hello")
            assert kube.names() == {("Secret", "hogar-token")}
        except BaseException:
            print(processes.logs(), (home / "agent.log").read_text())
            raise
        finally:
            # The supervisor, which ends its agent.
            _, pid, _, _ = marker_of(engine.home)
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: started_at(pid) is None)
    assert not engine.home.socket.exists()
