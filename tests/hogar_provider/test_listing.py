"""The list of all graphs where agents, or what their connections are, come late."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from earg.config import NodeSpec, StaticConfig
from earg.home import Home
from earg.status import GraphStatus
from hogar_provider.engines.local import LocalEngine
from hogar_provider.plugins.api import listing
from hogar_provider.plugins.api.agents import HANGS, NO_AGENT
from hogar_provider.plugins.api.asking import Asking
from hogar_provider.plugins.api.declared import Declared
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.graph_view import Look
from hogar_provider.plugins.api.listing import Listed, list_graphs

CONFIG = StaticConfig((NodeSpec("A", "1", "i:1", False, 8),))


class Agents:
    """Stands in for the agents' calls and Airflow's database: each connection has an agent with the
    graphs of its name, each from a DAG that has run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.graphs = {"": ["Default"], "good": ["Fine"], "bad": ["Ill", "Worse"]}
        self.free = threading.Event()
        self.hang_in_connection: set[str] = set()
        self.hang_in_calls: set[str] = set()
        self.hang_in_looks: set[str] = set()
        self.errors: dict[str, ApiError] = {}
        self.never_ran: set[str] = set()

    def name_of(self, home: Home) -> str:
        return home.path.name.removeprefix("agent-")

    def engine_of(self, name: str) -> LocalEngine:
        if name in self.hang_in_connection:
            self.free.wait(60)
        return LocalEngine(Home(self.folder / f"agent-{name}"))

    def ask(self, home: Home, question: Callable[[Any], Any]) -> Any:
        name = self.name_of(home)
        if name in self.errors:
            raise self.errors[name]
        if name in self.hang_in_calls:
            self.free.wait(60)

        class Client:
            def hello(_) -> tuple[str, int]:  # noqa: N805
                return "1.0", 77

            def graphs(_) -> tuple[GraphStatus, ...]:  # noqa: N805
                return tuple(
                    GraphStatus(graph, "1", "http://x", 1, ()) for graph in self.graphs[name]
                )

        return question(Client())

    def look(self, home: Home, status: GraphStatus) -> Look:
        if self.name_of(home) in self.hang_in_looks:
            self.free.wait(60)
        return Look(1000.0, True, status)

    def find_declared(self, dag_id: str) -> Declared:
        (name,) = (name for name, graphs in self.graphs.items() if dag_id in graphs)
        ran = dag_id not in self.never_ran
        return Declared(dag_id, dag_id, "1", name, "", "", CONFIG, has_run=ran)

    def listed(self) -> Listed:
        return listing._ask_all()

    def states(self) -> dict[str, str]:
        return {graph.name: graph.state for graph in self.listed().graphs}


@pytest.fixture
def agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agents]:
    made = Agents(tmp_path)

    class Looker:
        events: tuple[()] = ()

        def __init__(self, home: Home, name: str, engine: str) -> None:
            self.home = home

        def look(self, status: GraphStatus) -> Look:
            return made.look(self.home, status)

    monkeypatch.setattr(listing, "Looker", Looker)
    monkeypatch.setattr(listing, "engine_of", made.engine_of)
    monkeypatch.setattr(listing, "ask", made.ask)
    monkeypatch.setattr(listing, "find_declared", made.find_declared)
    monkeypatch.setattr(listing, "connections", lambda: list(made.graphs))
    dags = [dag_id for graphs in made.graphs.values() for dag_id in graphs]
    monkeypatch.setattr(listing, "hogar_dag_ids", lambda: dags)
    monkeypatch.setattr(listing, "_engines", Asking("connection", 0.5))
    monkeypatch.setattr(listing, "_agents", Asking("list", 0.5))
    for name in ("_lookers", "_last", "_heard"):
        monkeypatch.setattr(listing, name, type(getattr(listing, name))())
    yield made
    made.free.set()


ALL = {"Default": "starting", "Fine": "starting", "Ill": "starting", "Worse": "starting"}


def test_the_graphs_of_all_agents_are_listed(agents: Agents) -> None:
    listed = agents.listed()
    assert {graph.name: graph.state for graph in listed.graphs} == ALL
    assert listed.agent is not None
    assert listed.message == ""


def test_graphs_of_an_agent_that_hangs_are_unknown_unless_they_never_ran(agents: Agents) -> None:
    agents.hang_in_calls.add("bad")
    agents.never_ran.add("Worse")
    for _ in range(3):
        listed = agents.listed()
        assert {graph.name: graph.state for graph in listed.graphs} == {
            "Default": "starting",
            "Fine": "starting",
            "Ill": "unknown",
        }
        (ill,) = (graph for graph in listed.graphs if graph.name == "Ill")
        assert str(agents.folder / "agent-bad") in ill.message
        assert ill.message == listed.message
        assert (ill.nodes, ill.requests_per_second, ill.orphaned) == (1, None, False)
    # Who may not read the DAG sees nothing of it.
    assert [graph.name for graph in list_graphs(listed, {"Fine"}, False).graphs] == ["Fine"]


def test_a_connection_that_cannot_be_read_in_time_is_told_at_its_graphs(agents: Agents) -> None:
    agents.hang_in_connection.add("bad")
    listed = agents.listed()
    assert {graph.name for graph in listed.graphs if graph.state == "unknown"} == {"Ill", "Worse"}
    assert "The connection bad could not be read" in listed.message


@pytest.mark.parametrize("code", [HANGS, NO_AGENT])
def test_an_agent_that_was_killed_or_hangs_may_have_left_graphs_that_serve(
    agents: Agents, code: str
) -> None:
    agents.errors["bad"] = ApiError(503, code, "It does not answer.")
    home = agents.engine_of("bad").home
    home.prepare()
    home.ledger.write_text("{}")
    unknown = ALL | {"Ill": "unknown", "Worse": "unknown"}
    assert agents.states() == unknown
    home.ledger.unlink()
    # One that has ended in good order has left nothing, and is no news.
    gone = {name: state for name, state in ALL.items() if name not in ("Ill", "Worse")}
    assert agents.states() == (unknown if code == HANGS else gone)


def test_an_agent_that_is_slow_is_not_called_silent(agents: Agents) -> None:
    assert agents.states() == ALL
    agents.hang_in_looks.add("bad")
    # What it told last stands in for it.
    assert agents.states() == ALL


def test_one_whose_first_list_takes_long_is_waited_for(agents: Agents) -> None:
    agents.hang_in_looks.add("good")
    listed = agents.listed()
    assert "Fine" not in {graph.name for graph in listed.graphs}
    assert "unknown" not in {graph.state for graph in listed.graphs}
    assert "is slow to tell its graphs" in listed.message
    agents.free.set()
    agents.hang_in_looks.clear()
    assert agents.states() == ALL
