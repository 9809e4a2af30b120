"""A graph that says ``engine docker``: its DAG deploys it on two Docker hosts, without an images
file, and Airflow's commands tell what is where."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from earg.client import AgentError, connect
from tests.containers.docker_host import GRAPH
from tests.engines.docker_machines import Machine
from tests.engines.test_docker_engine_serves import TOKEN, ask
from tests.hogar_provider.airflows import AirflowCommand
from tests.hogar_provider.folders import LOADERS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def airflow(machines: list[Machine]) -> Iterator[AirflowCommand]:
    """An Airflow whose connection ``docker`` has both hosts."""
    # A socket's path is short.
    home = Path(tempfile.mkdtemp(prefix="hogar-dag-"))
    here, there = (machine.host for machine in machines)
    assert there.tls is not None
    hosts = {
        here.name: {"url": here.url, "address": here.address, "publish": here.publish},
        there.name: {"docker_conn_id": "docker_two", "labels": "zone=two, gpu-box"},
    }
    for host in (here, there):
        hosts[host.name]["subnet"] = host.subnet
    connections = {
        "AIRFLOW_CONN_DOCKER": {
            "conn_type": "earg",
            "password": TOKEN,
            "extra": {"engine": "docker", "hosts": hosts, "stop_grace": 2},
        },
        # As Airflow's own DockerOperator has it.
        "AIRFLOW_CONN_DOCKER_TWO": {
            "conn_type": "docker",
            "extra": {
                "docker_url": there.url,
                "tls_ca_cert": there.tls.ca,
                "tls_client_cert": there.tls.certificate,
                "tls_client_key": there.tls.key,
            },
        },
    }
    airflow = AirflowCommand(home, {name: json.dumps(one) for name, one in connections.items()})
    airflow.dags.mkdir()
    for file in LOADERS:
        shutil.copy(file, airflow.dags)
    try:
        airflow.run("db", "migrate")
        yield airflow
    finally:
        try:
            with connect(airflow.earg / "engines" / "docker", start=False) as client:
                for graph in client.graphs():
                    client.down(graph.name)
                client.shutdown()
        except AgentError:
            pass
        shutil.rmtree(home, ignore_errors=True)


def test_the_dag_of_a_graph_deploys_it_where_it_says(
    airflow: AirflowCommand, machines: list[Machine]
) -> None:
    text = GRAPH.replace("version 1\n", "version 1\nengine docker\n", 1)
    text = text.replace("replicas 2\n", "memory 256MiB, cpu 0.5, host gpu-box\n")
    (airflow.dags / "hello.udgl").write_text(text)
    log = airflow.run("dags", "test", "Hello")
    assert "on the engine docker: image test/greet:1" in log
    assert "of host two" in log

    # It runs there and nowhere else.
    ((row,), nodes, here) = airflow.rows(
        "hogar status --conn-id docker", "hogar nodes --conn-id docker", "hogar status"
    )
    assert here == []
    assert (row["state"], row["nodes"], row["hosts"]) == ("serving", "2/2", "2/2 answer")
    hosts = {(node["node"], node["role"]): node["host"] for node in nodes}
    assert hosts["Greet", "primary"] == "two"
    assert {hosts["Count", "primary"], hosts["Count", "backup"]} == {"one", "two"}
    assert ask(row["url"], "you") == "1: hello you"

    # The model has its share of the machine, and no more.
    docker = machines[1].docker

    def started(image: str) -> list[dict[str, Any]]:
        found = docker.run("docker", "ps", "-q", "--filter", f"ancestor={image}").split()
        return list(json.loads(docker.run("docker", "inspect", *found)))

    (greet,), count = started("test/greet:1"), started("test/count:1")
    assert greet["HostConfig"]["Memory"] == 256 * 2**20
    assert greet["HostConfig"]["NanoCpus"] == 500_000_000

    # Another amount of memory is another container; what is as it was is left.
    (airflow.dags / "hello.udgl").write_text(text.replace("256MiB", "300MiB"))
    airflow.run("dags", "test", "Hello")
    (other,) = started("test/greet:1")
    assert other["Id"] != greet["Id"]
    assert other["HostConfig"]["Memory"] == 300 * 2**20
    assert [one["Id"] for one in started("test/count:1")] == [one["Id"] for one in count]
    assert ask(row["url"], "you") == "2: hello you"
