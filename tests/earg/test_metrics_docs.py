"""What docs/ says of the metrics is what running processes tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from earg.client import connect
from tests.earg.test_metrics import Exposition, deploy, fetch, post, targets_of

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
PROXY, FRONTEND, BOTH = "Of a proxy", "Of a frontend", "Of both"

NAME = re.compile(r"\b(?:earg|process)_[a-z_]+\b")


@pytest.fixture(scope="module")
def expositions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    """What every process of a graph that has served tells, by "primary", "backup", "frontend"."""
    with connect(tmp_path_factory.mktemp("docs") / "earg") as agent:
        try:
            url = deploy(agent)
            assert [post(url, "x") for _ in range(3)] == [200] * 3
            found: dict[str, list[str]] = {}
            for (_, _, role), address in sorted(targets_of(agent).items()):
                found.setdefault(role, []).append(fetch(address))
            yield found
        finally:
            agent.shutdown()


def documented() -> dict[str, dict[str, tuple[str, frozenset[str]]]]:
    """The type and the labels of each metric in the tables, by section."""
    tables: dict[str, dict[str, tuple[str, frozenset[str]]]] = {}
    section = ""
    for line in (DOCS / "metrics.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith("| `") and section in (PROXY, FRONTEND, BOTH):
            name, kind, labels, meaning = (cell.strip() for cell in line.strip("|").split("|"))
            assert meaning
            names = frozenset(label.strip() for label in labels.split(",") if label.strip())
            rows = tables.setdefault(section, {})
            assert name.strip("`") not in rows
            rows[name.strip("`")] = (kind, names)
    return tables


def exposed(texts: list[str]) -> dict[str, tuple[str, frozenset[str]]]:
    """The type and the labels of each metric that is told."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for text in texts:
        for family in Exposition(text).families.values():
            name = family.name + ("_total" if family.type == "counter" else "")
            for sample in family.samples:
                labels = frozenset(sample.labels) - {"le"}
                assert found.setdefault(name, (family.type, labels)) == (family.type, labels)
    return found


def test_the_tables_say_what_is_told_and_nothing_else(
    expositions: dict[str, list[str]],
) -> None:
    tables = documented()
    assert set(tables) == {PROXY, FRONTEND, BOTH}
    proxies = exposed(expositions["primary"] + expositions["backup"])
    assert proxies == tables[PROXY] | tables[BOTH]
    assert exposed(expositions["frontend"]) == tables[FRONTEND] | tables[BOTH]


def test_the_number_of_series_is_as_documented(expositions: dict[str, list[str]]) -> None:
    text = " ".join((DOCS / "metrics.md").read_text(encoding="utf-8").split())
    said = re.search(
        r"A proxy gives (\d+) series, a stateful primary (\d+), a frontend (\d+) and one more",
        text,
    )
    assert said is not None
    counts = [len(Exposition(one).samples) for one in expositions["primary"]]
    assert set(counts) == {int(said[1]), int(said[2])}
    (frontend,) = expositions["frontend"]
    assert len(Exposition(frontend).samples) - 1 == int(said[3])


# --- the dashboard --------------------------------------------------------------------------


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(
        (DOCS / "grafana-dashboard.json").read_text(encoding="utf-8")
    )
    return loaded


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard()["panels"]
    return found


def expressions() -> list[tuple[str, str]]:
    """Each panel's title with each of its queries."""
    return [
        (panel["title"], target["expr"])
        for panel in panels()
        for target in panel.get("targets", ())
    ]


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    loaded = dashboard()
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(loaded)
    assert loaded["id"] is None  # another id would replace somebody's dashboard
    assert len(loaded["uid"]) <= 40
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert all(0 <= x < 24 for x, _ in cells), panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] in ("row", "timeseries", "stat", "heatmap")
        if panel["type"] == "row":
            continue
        assert panel["title"]
        assert panel["description"]
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(set(references)) == len(references)
        for source in (panel["datasource"], *(one["datasource"] for one in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}
    variables = {one["name"]: one for one in loaded["templating"]["list"]}
    assert set(variables) == {"datasource", "graph", "node"}
    assert variables["datasource"]["type"] == "datasource"
    (heat_map,) = (panel for panel in panels() if panel["type"] == "heatmap")
    assert "earg_batch_size_bucket" in heat_map["targets"][0]["expr"]


def test_the_dashboard_asks_for_metrics_and_labels_that_there_are(
    expositions: dict[str, list[str]],
) -> None:
    samples = {
        sample.name: set(sample.labels)
        for texts in expositions.values()
        for text in texts
        for sample in Exposition(text).samples
    }
    queries = [query for _, query in expressions()]
    variables = dashboard()["templating"]["list"]
    queries += [one["query"]["query"] for one in variables if one["type"] == "query"]
    assert len(queries) > 25
    for query in queries:
        names = NAME.findall(query)
        assert names, query
        for name in names:
            assert name in samples, query
            # A process's own metrics have the labels of its target.
            labels = samples[name] | ({"graph", "node", "role"} if "process_" in name else set())
            selector = re.search(re.escape(name) + r"\{([^}]*)\}", query)
            asked = re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selector[1]) if selector else []
            assert set(asked) <= labels, query
        grouped = re.findall(r"by \(([^)]*)\)", query)
        legend = {label.strip() for labels in grouped for label in labels.split(",")}
        assert legend <= {"code", "graph", "node", "role", "le"}, query
        # Every variable that is not one of the dashboard's is Grafana's own.
        assert set(re.findall(r"\$(\w+)", query)) <= {"graph", "node", "__rate_interval"}, query


def test_every_metric_but_limits_and_totals_is_on_the_dashboard() -> None:
    shown = {name for _, query in expressions() for name in NAME.findall(query)}
    wanted = {
        "earg_requests_total",
        "earg_errors_total",
        "earg_queue_seconds_bucket",
        "earg_compute_seconds_bucket",
        "earg_latency_seconds_bucket",
        "earg_batch_size_bucket",
        "earg_batch_limit",
        "earg_queued_requests",
        "earg_replication_lag_seconds",
        "earg_frontend_requests_total",
        "earg_frontend_latency_seconds_bucket",
        "earg_model_cpu_seconds_total",
        "earg_model_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
    }
    assert wanted <= shown
    for share in ("0.5", "0.95", "0.99"):
        assert any(
            f"histogram_quantile({share}" in query and "earg_latency_seconds_bucket" in query
            for _, query in expressions()
        )


def test_the_alerts_ask_for_metrics_that_there_are(expositions: dict[str, list[str]]) -> None:
    text = (DOCS / "alerts.yml").read_text(encoding="utf-8")
    known = {
        sample.name
        for texts in expositions.values()
        for one in texts
        for sample in Exposition(one).samples
    }
    assert set(NAME.findall(text)) <= known
