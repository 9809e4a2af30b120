"""A real Prometheus, set up as docs/ says, watches a real graph."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from earg.client import AgentClient, connect
from tests.earg.test_agent import wait_for
from tests.earg.test_metrics import deploy, post
from tests.earg.test_metrics_docs import DOCS, dashboard, expressions

# It needs Debian's prometheus, which only the whole suite's set-up fetches.
pytestmark = pytest.mark.slow

ROOT = DOCS.parent
FETCHED = ROOT / "build" / "test-tools" / "usr" / "bin"


def tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(FETCHED))
    if found is None:
        pytest.fail(f"there is no {name}; run scripts/test_tools.sh, which fetches it")
    return found


def promtool(*arguments: str, cwd: Path = DOCS) -> str:
    done = subprocess.run(
        [tool("promtool"), *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# --- what docs/ holds -----------------------------------------------------------------------


def test_the_scrape_config_and_the_alerts_are_valid(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(DOCS / name, tmp_path)
    (tmp_path / "targets.json").write_text("[]", encoding="utf-8")
    assert "SUCCESS: 1 rule files found" in promtool(
        "check", "config", "prometheus.yml", cwd=tmp_path
    )
    assert "SUCCESS: 11 rules found" in promtool("check", "rules", "alerts.yml", cwd=tmp_path)


ALERT_TESTS = """
rule_files: [alerts.yml]
evaluation_interval: 5s
tests:
  - interval: 5s
    input_series:
      - series: 'up{job="earg", graph="g", node="c1", role="primary"}'
        values: '1x5 0x30'
      - series: 'up{job="earg", graph="g", node="c2", role="primary"}'
        values: '1x5 0x1 1x30'
      - series: 'up{job="earg", graph="g", node="c1", role="backup", host="box-1"}'
        values: '1x5 0x30'
      - series: 'up{job="earg", graph="g", node="c2", role="backup", host="box-2"}'
        values: '1x5 0x30'
      - series: 'up{job="earg", graph="g", node="c3", role="primary", host="box-2"}'
        values: '1x40'
      - series: 'up{job="earg", graph="g", role="frontend"}'
        values: '1x40'
      - series: 'earg_ready{graph="g", node="c2", role="primary"}'
        values: '0x40'
      - series: 'earg_backup_attached{graph="g", node="c2", role="primary"}'
        values: '1x10 0x30'
      - series: 'earg_requests_total{graph="g", node="c1", role="primary"}'
        values: '0+100x60'
      - series: 'earg_errors_total{graph="g", node="c1", role="primary"}'
        values: '0+2x60'
      - series: 'earg_requests_total{graph="g", node="c2", role="primary"}'
        values: '0+1000x60'
      - series: 'earg_errors_total{graph="g", node="c2", role="primary"}'
        values: '0+2x60'
      - series: 'earg_queued_requests{graph="g", node="c1", role="primary"}'
        values: '0+10x60'
      - series: 'earg_batch_limit{graph="g", node="c1", role="primary"}'
        values: '8x60'
      - series: 'earg_queued_requests{graph="g", node="c2", role="primary"}'
        values: '500x60'
      - series: 'earg_batch_limit{graph="g", node="c2", role="primary"}'
        values: '8x60'
      - series: 'earg_frontend_latency_seconds_bucket{graph="g", role="frontend", le="0.5"}'
        values: '0+90x60'
      - series: 'earg_frontend_latency_seconds_bucket{graph="g", role="frontend", le="5"}'
        values: '0+100x60'
      - series: 'earg_frontend_latency_seconds_bucket{graph="g", role="frontend", le="+Inf"}'
        values: '0+100x60'
      - series: 'earg_frontend_rejected_total{graph="g", role="frontend"}'
        values: '0x10 0+5x50'
      - series: 'earg_replication_lag_seconds{graph="g", node="c2", role="primary"}'
        values: '0.01x10 2x50'
      - series: 'process_start_time_seconds{job="earg", graph="g", node="c1", role="primary"}'
        values: '1 2 3 4 5x56'
      - series: 'process_start_time_seconds{job="earg", graph="g", node="c2", role="primary"}'
        values: '1x30 2x30'
    alert_rule_test:
"""


@pytest.mark.parametrize(
    ("alert", "second", "labels"),
    [
        ("EargNodeDown", 60, {"node": "c1", "role": "primary", "job": "earg"}),
        ("EargNodeDown", 25, None),
        ("EargFrontendDown", 60, None),
        ("EargHostDown", 60, {"host": "box-1"}),
        ("EargHostDown", 25, None),
        ("EargNodeNotReady", 60, {"node": "c2", "role": "primary"}),
        ("EargNodeDegraded", 120, {"node": "c2", "role": "primary"}),
        ("EargNodeDegraded", 60, None),
        ("EargErrors", 240, {"node": "c1"}),
        ("EargRequestsRejected", 200, {}),
        ("EargRequestsRejected", 50, None),
        ("EargLatencyHigh", 240, {}),
        ("EargQueueGrowing", 290, {"node": "c1", "role": "primary"}),
        ("EargReplicationLags", 100, {"node": "c2", "role": "primary"}),
        ("EargReplicationLags", 50, None),
        ("EargRestarts", 200, {"node": "c1", "role": "primary", "job": "earg"}),
    ],
)
def test_an_alert_fires_when_it_should_and_for_whom(
    tmp_path: Path, alert: str, second: int, labels: dict[str, str] | None
) -> None:
    shutil.copy(DOCS / "alerts.yml", tmp_path)
    # Texts hold figures that are computed: only who it is for is compared, so they are left out.
    rules = (tmp_path / "alerts.yml").read_text(encoding="utf-8").splitlines()
    kept = [
        line
        for line in rules
        if not line.strip().startswith(("annotations:", "summary:", "description:"))
    ]
    (tmp_path / "alerts.yml").write_text("\n".join(kept) + "\n", encoding="utf-8")
    severity = next(
        line.split()[-1]
        for line in rules[rules.index(f"      - alert: {alert}") :]
        if "severity:" in line
    )
    expected = ""
    if labels is not None:
        pairs = {"graph": "g", "severity": severity} | labels
        text = ", ".join(f"{name}: {value}" for name, value in pairs.items())
        expected = f"          - exp_labels: {{{text}}}\n"
    case = f"      - eval_time: {second}s\n        alertname: {alert}\n        exp_alerts:\n"
    (tmp_path / "test.yml").write_text(ALERT_TESTS + case + expected, encoding="utf-8")
    promtool("test", "rules", "test.yml", cwd=tmp_path)


def in_promql(query: str) -> str:
    """A query of the dashboard with its variables replaced as Grafana does."""
    return (
        query.replace("$__rate_interval", "20s").replace("$graph", "chain").replace("$node", ".+")
    )


def test_every_query_of_the_dashboard_parses(tmp_path: Path) -> None:
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for number, (_, query) in enumerate(expressions()):
        lines += [f"  - record: panel:query:{number}", f"    expr: {in_promql(query)!r}"]
    (tmp_path / "queries.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    promtool("check", "rules", "queries.yml", cwd=tmp_path)


# --- a running Prometheus -------------------------------------------------------------------


class Prometheus:
    """A Prometheus in the agent's folder, as docs/metrics.md says, that scrapes each second."""

    def __init__(self, folder: Path, data: Path) -> None:
        config = (DOCS / "prometheus.yml").read_text(encoding="utf-8")
        faster = config.replace("_interval: 5s", "_interval: 1s").replace(
            "timeout: 4s", "timeout: 1s"
        )
        assert faster != config
        (folder / "prometheus.yml").write_text(faster, encoding="utf-8")
        shutil.copy(DOCS / "alerts.yml", folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = (data.parent / "prometheus.log").open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            [
                tool("prometheus"),
                "--config.file=prometheus.yml",
                f"--storage.tsdb.path={data}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            cwd=folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        assert self._process.poll() is None, "Prometheus has ended"
        return False

    def ask(self, path: str, **parameters: str) -> Any:
        reply = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        assert reply.status_code == 200, reply.text
        return reply.json()["data"]

    def query(self, query: str) -> list[tuple[dict[str, str], float]]:
        result = self.ask("query", query=query)["result"]
        return [(one["metric"], float(one["value"][1])) for one in result]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[AgentClient, str, Prometheus]]:
    """An agent with a graph, its URL, and a Prometheus that scrapes it."""
    folder = tmp_path_factory.mktemp("prometheus")
    with connect(folder / "earg") as agent:
        try:
            url = deploy(agent)
            prometheus = Prometheus(agent.home.metrics_targets.parent, folder / "data")
            try:
                wait_for(prometheus.is_ready, "Prometheus is ready", 60)
                yield agent, url, prometheus
            finally:
                prometheus.close()
        finally:
            agent.shutdown()


def test_prometheus_finds_what_runs_and_counts_what_was_sent(
    watched: tuple[AgentClient, str, Prometheus],
) -> None:
    _, url, prometheus = watched
    statuses = [post(url, text) for text in (*"abcdefghijkl", "bad")]
    assert statuses == [200] * 12 + [500]
    up = 'up{job="earg"} == 1'
    wait_for(lambda: len(prometheus.query(up)) == 5, "all five targets are up", 60)
    assert {(m.get("node", ""), m["role"]) for m, _ in prometheus.query(up)} == {
        ("first", "primary"),
        ("count", "primary"),
        ("count", "backup"),
        ("last", "primary"),
        ("", "frontend"),
    }
    total = 'sum by (graph, node) (earg_requests_total{role="primary"})'
    wait_for(
        lambda: {value for _, value in prometheus.query(total)} == {13.0},
        "each node has counted 13 requests",
        60,
    )
    assert {m["node"] for m, _ in prometheus.query(total)} == {"first", "count", "last"}
    codes = "sum by (code) (earg_frontend_requests_total)"
    wait_for(
        lambda: (
            {m["code"]: value for m, value in prometheus.query(codes)} == {"200": 12.0, "500": 1.0}
        ),
        "the frontend has counted them by code",
        60,
    )
    ((_, errors),) = prometheus.query("sum(earg_errors_total)")
    assert errors == 1
    # The labels of target and metric are one: nothing is exported under another name.
    assert not prometheus.query('{exported_node!=""}')
    assert not prometheus.query('{limit_set_by!=""}')
    rules = prometheus.ask("rules")["groups"][0]["rules"]
    assert len(rules) == 11
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}


def test_every_panel_of_the_dashboard_shows_something(
    watched: tuple[AgentClient, str, Prometheus],
) -> None:
    _, url, prometheus = watched

    def empty() -> list[str]:
        assert post(url, "x") == 200
        return [
            f"{title}: {query}"
            for title, query in expressions()
            if not prometheus.query(in_promql(query))
        ]

    # Rates need two scrapes with requests between them, and a histogram's quantile needs a rate.
    wait_for(lambda: not empty(), "every query has an answer", 60)
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            inner, label = variable["query"]["query"].removeprefix("label_values(")[:-1].split(", ")
            found = {m[label] for m, _ in prometheus.query(in_promql(inner))}
            assert found == {"graph": {"chain"}, "node": {"first", "count", "last"}}[label]


def test_prometheus_follows_a_failover_and_forgets_a_graph_that_is_down(
    watched: tuple[AgentClient, str, Prometheus],
) -> None:
    agent, url, prometheus = watched
    primary, backup = agent.graph("chain").nodes[1].pairs
    os.kill(primary.proxy_pid, signal.SIGKILL)

    def instance(role: str) -> str:
        found = prometheus.query(f'earg_ready{{node="count", role="{role}"}} == 1')
        return found[0][0]["instance"] if len(found) == 1 else ""

    wait_for(
        lambda: (
            instance("primary").startswith(f"{backup.address}:")
            and instance("backup").startswith(f"{primary.address}:")
        ),
        "the roles have changed in Prometheus",
        60,
    )
    assert post(url, "x") == 200
    agent.down("chain")
    wait_for(lambda: not prometheus.query("up"), "nothing is scraped any more", 60)
    assert prometheus.ask("targets")["activeTargets"] == []
