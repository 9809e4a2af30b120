"""The live view in Airflow's own UI: real Airflow, real Chromium, the founding graph, real kills.

One Airflow serves all tests here, and they go in order: each finds the graph as the one before has
left it. Models wait while the test holds them, so that nothing depends on how fast they start.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from earg.client import connect
from tests.e2e.requesting import beginning, requesting
from tests.e2e.sqlite_service import airflow_on_sqlite, started
from tests.e2e.test_postgres_fab import USER, Service
from tests.hogar_provider.api_server import PLAIN_DAG
from tests.hogar_provider.folders import ROOT
from tests.www.conftest import browser, built  # noqa: F401  fixtures
from tests.www.test_view import AXE, settle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GRAPH = "SentiAnalyzer"
TAB = f"/dags/{GRAPH}/plugin/hogar"
TRANCRIBER, TOKENIZER, SENTI, SUB, CONCLUSION = range(1, 6)
PATIENCE = 90_000
"""Milliseconds for what takes one or two seconds; the machine may do much else."""

HELD = """

import pathlib as _pathlib
import time as _time

if _pathlib.Path(__file__).with_suffix(".broken").exists():
    raise RuntimeError("its weights are gone")
while _pathlib.Path(__file__).with_suffix(".held").exists():
    _time.sleep(0.05)
"""
"""At the end of a model's module: it does not load as long as the test says so."""

PICTURES = ROOT / "test-output" / "live"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, built: None) -> Iterator[Service]:  # noqa: F811
    """An Airflow on SQLite with the DAGs of this repository, and one that is no graph."""
    service = airflow_on_sqlite(tmp_path_factory.mktemp("airflow"))
    airflow = service.airflow
    shutil.copytree(ROOT / "dags", airflow.dags, ignore=shutil.ignore_patterns("__pycache__"))
    (airflow.dags / "plain.py").write_text(PLAIN_DAG)
    for name in ("sentiment", "subject"):
        with (airflow.dags / "models" / f"{name}.py").open("a") as file:
            file.write(HELD)
    with started(service):
        assert service.trigger(GRAPH) == "The graph was not deployed before."
        yield service


@pytest.fixture(scope="module")
def context(service: Service, browser: Browser) -> Iterator[BrowserContext]:  # noqa: F811
    """A browser that is signed in."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE)
    sign_in(context, service)
    yield context
    context.close()


def sign_in(context: BrowserContext, service: Service) -> None:
    context.add_cookies([{"name": "_token", "value": service.token, "url": service.url}])


@pytest.fixture
def console() -> list[str]:
    """What the page's console told, warnings and worse, and its uncaught errors. Airflow's own
    pages tell nothing, so whatever is there is ours."""
    return []


@pytest.fixture
def page(context: BrowserContext, console: list[str]) -> Iterator[Page]:
    page = listened_to(context.new_page(), console)
    yield page
    page.close()


def listened_to(page: Page, console: list[str]) -> Page:
    # Of interfaces of the machine, which Docker makes for others, Chromium tells each; the other
    # is of Airflow before 3.3.
    others = ("ERR_NETWORK_CHANGED", "No `HydrateFallback` element provided")

    def told(message: ConsoleMessage) -> None:
        if message.type in ("warning", "error") and not any(one in message.text for one in others):
            console.append(f"{message.type}: {message.text} ({message.location['url']})")

    page.on("console", told)
    page.on("pageerror", lambda error: console.append(f"uncaught: {error}"))
    return page


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    expect.set_options(timeout=PATIENCE)
    yield
    expect.set_options(timeout=5000)


@pytest.fixture
def picture(page: Page) -> Callable[[str], None]:
    """Keeps a picture of the page, and lets axe look at what is ours of it."""
    PICTURES.mkdir(parents=True, exist_ok=True)

    def keep(name: str) -> None:
        page.screenshot(path=PICTURES / f"{name}.png")
        if not page.evaluate("'axe' in window"):
            page.add_script_tag(path=AXE)
        found = page.evaluate(
            """async () => (await axe.run("hogar-app", { resultTypes: ["violations"] })).violations
              .filter((v) => ["serious", "critical"].includes(v.impact))
              .map((v) => [v.id, v.nodes.map((n) => n.target.flat().join(" > "))])"""
        )
        assert found == [], json.dumps(found, indent=1)

    return keep


def show(page: Page, service: Service, path: str) -> None:
    page.goto(service.url + path)
    settle(page)


def go(page: Page, fragment: str) -> None:
    """To another of our views, on the page that is there."""
    page.evaluate("hash => { location.hash = hash }", f"hogar?{fragment}")
    settle(page)


def node(page: Page, index: int, state: str = "") -> Any:
    return page.locator(f'.node{f".s-{state}" if state else ""}[data-index="{index}"]')


def graph_of(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service.call("GET", f"/hogar/api/v1/dags/{GRAPH}/graph")
    return found


def kill(service: Service, index: int) -> float:
    """``kill -9`` of the model that serves; when it was."""
    (primary,) = (
        pair for pair in graph_of(service)["nodes"][index - 1]["pairs"] if pair["role"] == "primary"
    )
    os.kill(primary["model_pids"][0], signal.SIGKILL)
    return time.time()


def audit(service: Service, event: str) -> list[dict[str, Any]]:
    """The entries of Airflow's audit log, the oldest first."""
    path = f"/api/v2/eventLogs?dag_id={GRAPH}&event={event}&order_by=event_log_id"
    entries: list[dict[str, Any]] = service.call("GET", path)["event_logs"]
    return entries


def marker(service: Service, model: str, kind: str) -> Path:
    return service.airflow.dags / "models" / f"{model}.{kind}"


@pytest.fixture
def url(service: Service) -> str:
    """Where the graph takes requests."""
    return str(graph_of(service)["url"])


@pytest.fixture(scope="module")
def speech() -> bytes:
    """A spoken word or two, which take the transcriber little time."""
    return beginning(ROOT / "dags" / "samples" / "praise.wav", 1.2)


def test_the_tab_shows_five_nodes_ready_and_the_requests_that_flow(
    page: Page,
    service: Service,
    console: list[str],
    url: str,
    speech: bytes,
    picture: Callable[[str], None],
) -> None:
    show(page, service, TAB)
    expect(page.locator(".node.s-ready")).to_have_count(5)
    with requesting(url, speech) as requests:
        some = re.compile(r"req(uest)?s?/s\s+(?!0 )\d")
        for index in range(1, 6):
            expect(node(page, index)).to_contain_text(some)
        expect(page.locator(".edge.flows")).to_have_count(5)
        expect(page.locator("hogar-app header")).to_contain_text(
            re.compile(r"(?!0 )\d\S* requests/s")
        )
        picture("graph-light")

        go(page, "view=requests")
        flight = page.locator("hogar-requests section").first
        expect(flight.locator(".at").first).to_contain_text(re.compile("running|queued"))
        expect(page.locator("hogar-waterfall .hop")).to_have_count(5)
        picture("requests-light")
    assert requests.failures == []
    assert requests.answered > 0
    assert console == []


def test_a_killed_model_is_shown_with_since_when_and_why_until_it_is_ready_and_costs_no_request(
    page: Page,
    service: Service,
    console: list[str],
    url: str,
    speech: bytes,
    picture: Callable[[str], None],
) -> None:
    show(page, service, TAB)
    expect(page.locator(".node.s-ready")).to_have_count(5)
    shown_after = []
    with requesting(url, speech) as requests:
        held = marker(service, "subject", "held")
        held.touch()
        at = kill(service, SUB)
        node(page, SUB, "recovering").wait_for()
        shown_after.append(time.time() - at)
        bar = page.locator(".alarm")
        expect(bar).to_contain_text(re.compile(r"has been recovering for \d+ s.*killed by SIGKILL"))
        expect(node(page, SUB)).to_contain_text("killed by SIGKILL")
        picture("recovering-light")
        held.unlink()
        node(page, SUB, "ready").wait_for()
        expect(bar).to_have_count(0)

        # The backup of the stateful one takes over, and another backup is slow to start.
        backup = graph_of(service)["nodes"][SENTI - 1]["pairs"][1]
        held = marker(service, "sentiment", "held")
        held.touch()
        at = kill(service, SENTI)
        node(page, SENTI, "degraded").wait_for()
        shown_after.append(time.time() - at)
        expect(node(page, SENTI)).to_contain_text("killed by SIGKILL")
        picture("degraded-light")
        answered = requests.answered
        service.wait(lambda: requests.answered > answered, 120, "a reply without a backup")
        held.unlink()
        node(page, SENTI, "ready").wait_for()
        primary = graph_of(service)["nodes"][SENTI - 1]["pairs"][0]
        assert (primary["role"], primary["address"]) == ("primary", backup["address"])
        expect(node(page, SENTI)).to_contain_text(re.compile("primary.*backup"))
    assert requests.failures == []
    # Not each: the machine may do much else. One look a second is what it takes.
    assert min(shown_after) < 2

    go(page, "view=events")
    events = page.locator("hogar-events")
    expect(events).to_contain_text(re.compile(r"its backup took over in \d+ ms"))
    expect(events).to_contain_text("has a new backup")
    expect(events.locator("li").filter(has_text="killed by SIGKILL")).to_have_count(2)
    picture("events-light")
    assert console == []


def test_a_node_that_cannot_start_is_dead_and_can_be_undeployed_and_deployed_again(
    page: Page, service: Service, picture: Callable[[str], None]
) -> None:
    show(page, service, TAB)
    broken = marker(service, "subject", "broken")
    broken.touch()
    try:
        kill(service, SUB)
        node(page, SUB, "dead").wait_for()
    finally:
        broken.unlink()
    expect(page.locator(".alarm.dead")).to_contain_text(
        re.compile(
            r"Sub-Analyzer has been dead for .*exit code 1: RuntimeError: its weights are gone"
        )
    )
    expect(page.locator(".edge.stuck")).to_have_count(1)
    page.get_by_role("button", name="Go to trouble (1)").click()
    panel = page.locator("hogar-node-panel")
    expect(panel.locator("summary")).to_have_text("Traceback")
    panel.get_by_role("button", name="Close Sub-Analyzer").click()
    picture("dead-light")

    page.get_by_role("button", name="Undeploy…").click()
    dialog = page.get_by_role("dialog", name=f"Undeploy {GRAPH}?")
    dialog.get_by_role("button", name="Cancel").click()
    assert graph_of(service)["deployed"]
    page.get_by_role("button", name="Undeploy…").click()
    dialog.get_by_role("button", name="Undeploy").click()
    expect(page.get_by_text("This graph is declared and not deployed.")).to_be_visible()
    expect(page.locator(".node.s-undeployed")).to_have_count(5)
    picture("undeployed-light")
    assert [entry["owner"] for entry in audit(service, "hogar_down")] == [USER]
    # The page that is open shows how it comes up again.
    service.trigger(GRAPH)
    expect(page.locator(".node.s-ready")).to_have_count(5)


def test_a_changed_batch_limit_takes_effect_and_is_told_everywhere(
    page: Page,
    service: Service,
    console: list[str],
    url: str,
    speech: bytes,
    picture: Callable[[str], None],
) -> None:
    def limit() -> int:
        with connect(service.airflow.earg, start=False) as client:
            reports = {report.index: report for report in client.statistics(GRAPH).nodes}
        statistics = reports[TOKENIZER].statistics
        assert statistics is not None
        return statistics.batch_limit

    show(page, service, f"{TAB}#hogar?view=batching")
    page.get_by_role("button", name="Tokenizer, ready").click()
    side = page.get_by_role("region", name="Batching of Tokenizer")
    with requesting(url, speech):
        side.get_by_role("slider").focus()
        page.keyboard.press("ArrowLeft")
        expect(side.get_by_role("spinbutton", name="Limit")).to_have_value("31")
        side.get_by_role("spinbutton", name="Limit").fill("8")
        side.get_by_role("button", name="Apply").click()
        expect(side.get_by_role("status").filter(has_text="Limit 8")).to_be_visible()
        expect(page.locator("tr.on b")).to_have_text("8")
        assert limit() == 8
        page.wait_for_function(
            """() => {
              const all = (root) => [...root.querySelectorAll("*")].flatMap(
                (e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
              return all(document).some((e) => e.tagName === "HOGAR-CHART" &&
                e.marks.some((mark) => mark.text.includes("32 → 8")));
            }"""
        )
        page.locator("#panel").evaluate("panel => panel.scrollTo(0, 0)")
        picture("batching-light")
    changes = page.get_by_role("region", name="Changes")
    expect(changes).to_contain_text("limit 32 → 8")
    expect(changes).to_contain_text(USER)
    (entry,) = audit(service, "hogar_batch")
    extra = json.loads(entry["extra"])
    assert (entry["owner"], extra["node"]) == (USER, "Tokenizer")
    assert (extra["from"]["limit"], extra["to"]["limit"]) == (32, 8)

    side.get_by_role("button", name="Reset to declared").click()
    expect(page.locator("tr.on b")).to_have_text("32")
    expect(changes).to_contain_text("limit 8 → 32")
    assert limit() == 32
    assert console == []


def test_source_and_test_request(
    page: Page, service: Service, console: list[str], picture: Callable[[str], None]
) -> None:
    show(page, service, f"{TAB}#hogar?view=source")
    expect(page.get_by_role("region", name="UDGL")).to_contain_text("operator Senti-Analyzer")
    expect(page.get_by_role("region", name="Compiled EARG config")).to_contain_text(
        "dist[1->2;2->3,4]"
    )
    picture("source-light")
    go(page, "view=test")
    sample = ROOT / "dags" / "samples" / "praise.wav"
    page.get_by_label("File, instead of text").set_input_files(sample)
    page.get_by_role("button", name=f"Send to {GRAPH}").click()
    reply = page.get_by_role("region", name="Reply")
    expect(reply).to_contain_text(re.compile(r"200\s+after"))
    expect(reply).to_contain_text('"label": "positive"')
    picture("test-request-light")
    assert [entry["owner"] for entry in audit(service, "hogar_send")] == [USER]
    assert console == []


def test_every_place_shows_it_in_the_dark_too(
    page: Page, service: Service, console: list[str], picture: Callable[[str], None]
) -> None:
    page.add_init_script("localStorage.setItem('theme', 'dark')")
    show(page, service, TAB)
    expect(page.locator(".node.s-ready")).to_have_count(5)
    picture("graph-dark")
    grounds = page.locator("hogar-app").evaluate(
        "e => [e, document.documentElement].map((one) => getComputedStyle(one).backgroundColor)"
    )
    assert grounds[0] == grounds[1]
    assert "dark" in page.evaluate("document.documentElement.className")
    go(page, "node=1&part=log")
    expect(page.locator("hogar-node-log")).to_contain_text("models.transcriber:Transcriber")

    runs = service.call("GET", f"/api/v2/dags/{GRAPH}/dagRuns")["dag_runs"]
    places = {
        "task": f"/dags/{GRAPH}/tasks/deploy.Senti-Analyzer/plugin/hogar_node",
        "task-instance": f"/dags/{GRAPH}/runs/{runs[0]['dag_run_id']}"
        "/tasks/deploy.Senti-Analyzer/plugin/hogar_node_instance",
    }
    for name, path in places.items():
        show(page, service, path)
        panel = page.locator("hogar-node-panel")
        expect(panel).to_contain_text("Senti-Analyzer")
        expect(panel).to_contain_text(re.compile(r"primary.*127\.\S+.*ready.*backup"))
        picture(f"{name}-dark")

    show(page, service, "/")
    expect(page.locator("hogar-card")).to_contain_text(re.compile(r"1\s*graph up\s*0\s*nodes dead"))
    picture("card-dark")
    show(page, service, "/plugin/hogar_graphs")
    page.get_by_role("link", name=GRAPH).click()
    expect(page.locator(".node.s-ready")).to_have_count(5)
    page.get_by_role("button", name="← All graphs").click()
    expect(page.get_by_role("link", name=GRAPH)).to_be_visible()
    picture("graphs-dark")
    show(page, service, "/dags/Plain/plugin/hogar")
    expect(page.get_by_role("heading", name="Not a HOGAR graph")).to_be_visible()
    picture("no-graph-dark")
    show(page, service, "/pluginsv2/hogar/")
    expect(page.locator("hogar-app")).to_have_attribute("theme", "dark")
    assert console == []


def test_a_restart_of_the_api_server_and_an_expired_session_are_told(
    page: Page,
    service: Service,
    browser: Browser,  # noqa: F811
    console: list[str],
    picture: Callable[[str], None],
) -> None:
    show(page, service, TAB)
    expect(page.locator(".node.s-ready")).to_have_count(5)
    with browser.new_context() as other:
        other.set_default_timeout(PATIENCE)
        sign_in(other, service)
        expired = other.new_page()
        show(expired, service, f"/pluginsv2/hogar/#hogar?dag={GRAPH}")
        expect(expired.locator(".node.s-ready")).to_have_count(5)
        other.clear_cookies()

        server = service.processes["api-server"]
        os.killpg(server.pid, signal.SIGTERM)
        began = time.monotonic()
        server.wait(60)
        # Streams that are open do not keep it.
        assert time.monotonic() - began < 25, service.log("api-server")
        expect(page.get_by_text("Airflow's API server cannot be reached.")).to_be_visible()
        picture("api-server-away-light")
        quiet = len([line for line in console if "/hogar/" in line])
        page.wait_for_timeout(3000)
        # A browser tells of each attempt; there are few.
        assert len([line for line in console if "/hogar/" in line]) - quiet < 4

        with (service.airflow.home / "api-server.log").open("ab") as log:
            service.processes["api-server"] = subprocess.Popen(
                [sys.executable, "-m", "airflow", "api-server"],
                env=service.airflow.variables(),
                cwd=service.airflow.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        expect(page.get_by_text("Airflow's API server cannot be reached.")).to_have_count(0)
        expect(page.locator(".node.s-ready")).to_have_count(5)
        expect(expired.get_by_text("You are signed out.")).to_be_visible()
        expect(expired.get_by_role("button", name="Load again")).to_be_visible()


def test_a_graph_is_drained_after_a_question_and_its_agent_may_go(
    page: Page, service: Service, console: list[str], picture: Callable[[str], None]
) -> None:
    show(page, service, TAB)
    page.get_by_role("button", name="Drain…").click()
    dialog = page.get_by_role("dialog", name=f"Drain {GRAPH}?")
    expect(dialog).to_contain_text("Clients are refused meanwhile")
    picture("drain-light")
    dialog.get_by_role("button", name="Drain and stop").click()
    expect(page.get_by_text("This graph is declared and not deployed.")).to_be_visible()
    assert [entry["owner"] for entry in audit(service, "hogar_drain")] == [USER]
    with connect(service.airflow.earg, start=False) as client:
        client.shutdown()
    expect(page.get_by_text("no agent runs in")).to_be_visible()
    show(page, service, TAB)
    expect(page.get_by_text("no agent runs in")).to_be_visible()
    show(page, service, "/plugin/hogar_graphs")
    expect(page.get_by_role("heading", name="No graph is deployed")).to_be_visible()
    assert console == []
