"""Clipper's script, run against a recording connection.

``clipper_admin`` 0.4.1 pins a cloudpickle that no Python after 3.7 can import; the double has the
signatures of its functions, and refuses other arguments.
"""

from __future__ import annotations

import re
import sys
import types
from typing import Any

import pytest

import udgl
from tests.targets.support import golden_graphs
from udgl.targets.clipper import compile_graph


class Connection:
    """Records the calls, with the signatures of ``ClipperConnection``."""

    def __init__(self, manager: object = None) -> None:
        self.models: dict[str, dict[str, Any]] = {}
        self.applications: dict[str, dict[str, Any]] = {}
        self.links: list[tuple[str, str]] = []
        self.started = False

    def start_clipper(self) -> None:
        self.started = True

    def deploy_model(
        self,
        name: str,
        version: str,
        input_type: str,
        image: str,
        labels: list[str] | None = None,
        num_replicas: int = 1,
        batch_size: int = -1,
    ) -> None:
        assert input_type in ("integers", "floats", "doubles", "bytes", "strings")
        assert name not in self.models
        for word in (name, version):
            assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", word)
        self.models[name] = dict(locals())

    def register_application(
        self, name: str, input_type: str, default_output: str, slo_micros: int
    ) -> None:
        self.applications[name] = dict(locals())

    def link_model_to_app(self, app_name: str, model_name: str) -> None:
        assert app_name in self.applications
        assert self.applications[app_name]["input_type"] == self.models[model_name]["input_type"]
        self.links.append((app_name, model_name))


def deploy_python_closure(clipper: Connection, *, func: Any, **arguments: Any) -> None:
    clipper.deploy_model(image="", **arguments)
    clipper.models[arguments["name"]]["func"] = func


def run(text: str, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """The connection after the script of the graph was run as a program."""
    made: list[Connection] = []

    def connect(manager: object) -> Connection:
        made.append(Connection(manager))
        return made[0]

    admin = types.ModuleType("clipper_admin")
    admin.ClipperConnection = connect  # type: ignore[attr-defined]
    admin.DockerContainerManager = object  # type: ignore[attr-defined]
    python = types.ModuleType("clipper_admin.deployers.python")
    python.deploy_python_closure = deploy_python_closure  # type: ignore[attr-defined]
    for module in (admin, types.ModuleType("clipper_admin.deployers"), python):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    (file,) = compile_graph(udgl.parse(text)).files
    exec(compile(file.text, file.name, "exec"), {"__name__": "__main__"})
    (connection,) = made
    assert connection.started
    return connection


@pytest.mark.parametrize("graph", golden_graphs())
def test_every_graph_is_deployed_and_its_entry_linked(
    graph: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = golden_graphs()[graph]
    try:
        connection = run(text, monkeypatch)
    except udgl.UdglError:
        return
    declared = udgl.parse(text)
    assert len(connection.models) == len(declared.operators)
    ((_, model),) = connection.links
    assert model == declared.entry().name.lower()


def test_batch_sizes_replicas_and_objective_are_those_of_the_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = run(
        "meta\nname G\nversion 1\noperator A\nimage a:1, batch dynamic 8, latency 20ms, "
        "version V2_a, "
        "input fp32[3]\noperator B\nimage b:1, batch 4, replicas 3\nflow\ndistribute\nA -> B",
        monkeypatch,
    )
    assert connection.models["a"]["batch_size"] == -1
    assert connection.models["a"]["input_type"] == "floats"
    assert connection.models["b"]["batch_size"] == 4
    assert connection.models["b"]["num_replicas"] == 3
    assert connection.applications["g"]["slo_micros"] == 20_000


def test_a_class_is_made_once_and_computes_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = run(
        "meta\nname G\nversion 1\noperator A\nentrypoint string:Template\n", monkeypatch
    )
    func = connection.models["a"]["func"]
    own = types.ModuleType("own")
    made: list[object] = []

    class Model:
        def __init__(self) -> None:
            made.append(self)

        def predict(self, request: str) -> str:
            return request.upper()

    own.Model = Model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "string", types.SimpleNamespace(Template=Model))
    assert func(["a", "b"]) == ["A", "B"]
    assert func(["c"]) == ["C"]
    assert len(made) == 1
