"""What a connection says of the Docker engine's hosts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection

from hogar_provider.engines.connection import EngineConnection
from hogar_provider.engines.docker import DockerEngine
from hogar_provider.engines.docker_settings import DockerTls, RegistryLogin
from hogar_provider.engines.registry import open_engine
from hogar_provider.exceptions import AirflowException, AirflowNotFoundException

DEFINED = {
    "docker_one": {
        "host": "registry.test",
        "port": 5000,
        "login": "ann",
        "password": "hunter2",
        "extra": {
            "docker_url": "tcp://10.0.0.1:2376",
            "tls_ca_cert": "/tls/ca.pem",
            "tls_client_cert": "/tls/cert.pem",
            "tls_client_key": "/tls/key.pem",
        },
    },
    "docker_two": {"host": "tcp://10.0.0.2", "port": 2375},
    "half_tls": {"extra": {"docker_url": "tcp://10.0.0.1:2376", "tls_ca_cert": "/tls/ca.pem"}},
    "registry_alone": {"host": "registry.test", "login": "ann", "password": "hunter2"},
}


def find(conn_id: str) -> Connection:
    if conn_id not in DEFINED:
        raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")
    given: dict[str, Any] = dict(DEFINED[conn_id])
    extra = json.dumps(given.pop("extra", {}))
    return Connection(conn_id=conn_id, conn_type="docker", extra=extra, **given)


def opened(tmp_path: Path, token: str = "", **extra: Any) -> DockerEngine:
    said = EngineConnection("earg_docker", "docker", tmp_path, token=token, extra=extra, find=find)
    engine = open_engine(said)
    assert isinstance(engine, DockerEngine)
    return engine


def test_without_any_settings_it_is_the_daemon_of_this_machine(tmp_path: Path) -> None:
    engine = opened(tmp_path)
    (host,) = engine.settings.hosts
    assert host.url == "unix:///var/run/docker.sock"
    assert (engine.name, engine.runs_images, engine.home.path) == ("docker", True, tmp_path)


def test_hosts_are_what_their_docker_connections_say(tmp_path: Path) -> None:
    hosts = {
        "one": "docker_one",
        "two": {"docker_conn_id": "docker_two", "gpus": 2, "labels": "zone=a, fast"},
        "three": {"url": "unix:///run/three.sock", "address": "10.0.0.3"},
    }
    engine = opened(tmp_path, hosts=hosts, ports="8000-8010", dead_after=5, token="p" * 40)
    one, two, three = engine.settings.hosts
    assert one.url == "tcp://10.0.0.1:2376"
    assert one.tls == DockerTls("/tls/ca.pem", "/tls/cert.pem", "/tls/key.pem")
    assert one.login == RegistryLogin("registry.test:5000", "ann", "hunter2")
    assert (two.url, two.gpus, two.labels) == (
        "tcp://10.0.0.2:2375",
        ("0", "1"),
        ("zone=a", "fast"),
    )
    assert (three.url, three.reached_at) == ("unix:///run/three.sock", "10.0.0.3")
    assert engine.settings.ports == (8000, 8010)
    assert engine.token == engine.settings.token == "p" * 40
    assert "hunter2" not in repr(engine)


def test_engines_of_two_agents_do_not_know_each_others_containers(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "a"), opened(tmp_path / "b")
    assert first.settings.engine == opened(tmp_path / "a").settings.engine
    assert first.settings.engine != second.settings.engine
    assert opened(tmp_path, engine_id="shared").settings.engine == "shared"


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"host": "one"}, "a key of the extra must be one of .*hosts.*, not 'host'"),
        ({"hosts": ["docker_one"]}, "'hosts' must map names to docker connections"),
        ({"hosts": {"a": {"gpu": 1}}}, "host a: unknown 'gpu'"),
        ({"hosts": {"a": {"url": "tcp://h:1", "gpus": "many"}}}, "host a: gpus must be a number"),
        ({"hosts": {"a": "registry_alone", "b": "docker_two"}}, "host a: where its daemon listens"),
        ({"hosts": {"a": "half_tls"}}, "must have all of tls_ca_cert"),
        ({"hosts": {"a": "docker_one"}, "docker_conn_id": "docker_two"}, "exclude each other"),
        ({"ports": "many"}, "'ports' must be the first and the last port"),
        ({"pull": "sometimes"}, "pull must be one of"),
    ],
)
def test_what_makes_no_sense_is_told_with_the_connection(
    tmp_path: Path, extra: dict[str, Any], said: str
) -> None:
    with pytest.raises(AirflowException, match=f"^Connection 'earg_docker': .*{said}"):
        opened(tmp_path, **extra)


def test_a_connection_that_is_not_defined_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(AirflowNotFoundException, match="docker_nine"):
        opened(tmp_path, docker_conn_id="docker_nine")


def test_the_test_of_a_connection_tells_which_host_does_not_answer(tmp_path: Path) -> None:
    hosts = {"a": {"url": f"unix://{tmp_path}/none.sock"}}
    well, sentence = opened(tmp_path, hosts=hosts).examine()
    assert not well
    assert sentence == f"Host a (unix://{tmp_path}/none.sock): No such file or directory."
    assert not (tmp_path / "agent.sock").exists()
