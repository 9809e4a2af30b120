"""A graph that Airflow deploys on two hosts, and what is told of it when one of them dies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from earg.addresses import AddressPool
from earg.client import AgentClient
from earg.extras import Extras
from earg.home import Home
from hogar_provider.cli.status import hosts_of
from hogar_provider.hooks.earg import EargHook
from hogar_provider.links import shown
from hogar_provider.plugins.api.datamodels.graphs import GraphView
from hogar_provider.plugins.api.declared import Declared
from hogar_provider.plugins.api.graph_view import graph_view, summary
from hogar_provider.plugins.api.looking import Looker
from tests.earg.test_wired_deployment import Engine as Hosted
from tests.hogar_provider.running import build, run

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class TwoHosts:
    """The engine as Airflow's side sees it; its platform runs classes, not images."""

    home: Home
    name: str = "docker"
    runs_images: bool = False
    token: str = ""

    def connect(self, start: bool = True) -> AgentClient:
        return AgentClient(self.home)


@pytest.fixture
def hosted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosted]:
    pool = AddressPool(f"hosts live {os.getpid()}")
    engine = Hosted(tmp_path, pool)
    monkeypatch.setattr(EargHook, "engine", lambda self: TwoHosts(engine.home))
    try:
        yield engine
    finally:
        engine.close()
        pool.close()


def test_tasks_say_where_nodes_are_and_the_view_marks_a_host_that_dies(
    models: Path, hosted: Hosted, capfd: pytest.CaptureFixture[str]
) -> None:
    dag = build(models, "test/upper:1", "test/counter:1", stateful="B")
    first, second, *_ = run(dag, "deploy.A", "deploy.B", "wire", "probe.A", "probe.B", "serve")
    assert {pair["host"] for pair in second["pairs"]} == {"east", "west"}
    log = capfd.readouterr().out
    assert "of graph Small 1 on the engine docker: image test/upper:1 is small:Upper" in log
    for pair in (*first["pairs"], *second["pairs"]):
        line = f"{pair['role']} on {pair['address']} of host {pair['host']}"
        assert line in log, line
    (again,) = run(dag, "deploy.A")
    assert again["change"] == "unchanged"

    looker = Looker(hosted.home, "Small", "docker")
    declared = Declared("Small", "Small", "1", "docker", "", "", None, Extras())

    def view() -> GraphView:
        return graph_view(declared, looker.look(), looker.events)

    whole = view()
    assert (whole.engine, whole.frontend_host) == ("docker", "east")
    assert [(host.name, host.dead) for host in whole.hosts] == [("east", False), ("west", False)]
    there = next(host.nodes for host in whole.hosts if host.name == "west")
    assert there == [
        node.name for node in whole.nodes if "west" in [pair.host for pair in node.pairs]
    ]
    assert "B" in there

    targets = json.loads(hosted.home.metrics_targets.read_text(encoding="utf-8"))
    placed = {(one["labels"].get("node"), one["labels"].get("host")) for one in targets}
    assert placed == {
        (None, "east"),
        *((node.name, pair.host) for node in whole.nodes for pair in node.pairs),
    }

    links = shown(hosted.home.path, "Small", whole.url, "A")
    assert links["metrics"] == f"http://{first['address']}:22224/metrics"

    hosted.hosts.kill("west")
    hosted.until(lambda: view().hosts[0].dead, "the host is dead")
    dead = view().hosts[0]
    assert (dead.name, dead.nodes) == ("west", there)
    assert "west does not answer" in dead.reason
    assert dead.since is not None
    assert summary(view()).dead_hosts == ["west"]
    hosted.until(
        lambda: all(pair.host == "east" for node in view().nodes for pair in node.pairs),
        "everything is on the other host",
    )
    # What was there is known as long as the host is away.
    assert view().hosts[0].nodes == there
    (status,) = hosted.client.graphs()
    assert hosts_of(status).startswith("1/2 answer; west does not since ")
