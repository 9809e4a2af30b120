"""The live view in a real browser, over played graphs."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.www.dev_server import WWW, DevServer
from tests.www.played import long_names

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

AXE = WWW / "node_modules" / "axe-core" / "axe.min.js"

VIEWS = {
    "graph": "/dags/SentiAnalyzer",
    "states": "/dags/States",
    "200-nodes": "/dags/Everything",
    "4-nodes": "/dags/Four",
    "node-charts": "/dags/SentiAnalyzer#hogar?node=1",
    "node-batching": "/dags/SentiAnalyzer#hogar?node=2&part=batching",
    "node-events": "/dags/States#hogar?node=5&part=events",
    "node-log": "/dags/SentiAnalyzer#hogar?node=3&part=log",
    "node-details": "/dags/SentiAnalyzer#hogar?node=3&part=details",
    "batching": "/dags/SentiAnalyzer#hogar?view=batching",
    "requests": "/dags/SentiAnalyzer#hogar?view=requests",
    "events": "/dags/States#hogar?view=events",
    "source": "/dags/SentiAnalyzer#hogar?view=source",
    "test-request": "/dags/SentiAnalyzer#hogar?view=test",
    "undeployed": "/dags/Declared",
    "no-graph": "/dags/Plain",
    "forbidden": "/dags/Secret",
    "task": "/dags/SentiAnalyzer/tasks/deploy.Senti-Analyzer",
    "all-graphs": "/graphs",
    "card": "/card",
}
"""Every view by name: where it is on the played server."""

REFUSED = {"forbidden"}
"""Here the browser itself tells of the answer's status in the console."""


def play(server: DevServer, what: str) -> None:
    request = urllib.request.Request(f"{server.url}/play/{what}", data=b"{}", method="POST")
    with urllib.request.urlopen(request, timeout=10) as reply:
        reply.read()


def settle(page: Page) -> None:
    """Wait until nothing of the page says that it is loading."""
    page.wait_for_function(
        """() => {
          const all = (root) => [...root.querySelectorAll("*")].flatMap(
            (e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
          const seen = all(document);
          return seen.some((e) => e.tagName === "HOGAR-APP") &&
            !seen.some((e) => e.classList.contains("bones"));
        }"""
    )
    page.wait_for_timeout(400)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_accessible_and_says_nothing_to_the_console(
    view: str, theme: str, page: Page, server: DevServer, console: list[str], pictures: Path
) -> None:
    path, _, fragment = VIEWS[view].partition("#")
    page.goto(f"{server.url}{path}?theme={theme}" + (f"#{fragment}" if fragment else ""))
    settle(page)
    page.screenshot(path=pictures / f"{view}-{theme}.png")
    page.add_script_tag(path=AXE)
    found = page.evaluate(
        """async () => (await axe.run({ resultTypes: ["violations"] })).violations
          .filter((v) => ["serious", "critical"].includes(v.impact))
          .map((v) => ({ id: v.id, where: v.nodes.slice(0, 5).map((n) =>
            [n.target.flat().join(" > "), n.any.concat(n.all, n.none)[0]?.message]) }))"""
    )
    assert found == [], json.dumps(found, indent=1)
    # The page must not be wider than the window, whatever it shows.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if view not in REFUSED:
        assert console == []


def test_a_killed_node_is_dead_within_two_seconds_then_recovers_then_is_ready(
    page: Page, server: DevServer, console: list[str], pictures: Path
) -> None:
    page.goto(f"{server.url}/dags/SentiAnalyzer")
    node = page.locator('.node[data-index="3"]')
    expect(node).to_contain_text("ready")
    expect(page.locator(".node.s-ready")).to_have_count(5)
    killed = time.monotonic()
    play(server, "SentiAnalyzer/kill?node=3")
    page.wait_for_selector('.node.s-dead[data-index="3"]')
    assert time.monotonic() - killed < 2
    expect(page.locator(".alarm.dead")).to_contain_text("was killed by signal 9")
    page.screenshot(path=pictures / "killed.png")
    expect(node).to_contain_text("its backup was promoted")
    expect(page.locator(".alarm.warn")).to_contain_text("has been recovering for")
    page.screenshot(path=pictures / "recovering.png")
    page.wait_for_selector('.node.s-degraded[data-index="3"]')
    page.wait_for_selector('.node.s-ready[data-index="3"]')
    expect(page.locator(".alarm.dead, .alarm.warn")).to_have_count(0)
    # What has been stays to be read for a while.
    expect(page.locator(".alarm.past")).to_contain_text("Senti-Analyzer died at")
    assert console == []


def test_a_death_that_nobody_could_see_is_told_for_some_seconds(
    page: Page, server: DevServer, console: list[str], pictures: Path
) -> None:
    """A backup takes over within 50 ms, and the page hears of its graph once a second."""
    page.goto(f"{server.url}/dags/SentiAnalyzer")
    expect(page.locator(".node.s-ready")).to_have_count(5)
    killed = time.monotonic()
    play(server, "SentiAnalyzer/kill?node=3&how=blink")
    node = page.locator('.node.lately[data-index="3"]')
    node.wait_for()
    assert time.monotonic() - killed < 2
    expect(node).to_contain_text("ready")
    expect(node.locator(".lately")).to_contain_text("its backup took over in 34 ms")
    bar = page.locator(".alarm.past")
    expect(bar).to_contain_text("was killed by signal 9; its backup took over in 34 ms")
    expect(bar).to_contain_text("Whole again after 34 ms")
    expect(page.locator("[aria-live]").first).to_contain_text("Senti-Analyzer died and serves")
    page.screenshot(path=pictures / "blink.png")
    bar.get_by_role("button").click()
    expect(page.locator("hogar-node-panel .lately")).to_contain_text("its backup took over")
    page.screenshot(path=pictures / "blink-panel.png")
    # It goes by itself.
    expect(page.locator(".lately")).to_have_count(0, timeout=30_000)
    expect(bar).to_have_count(0)
    assert console == []


def test_the_charts_show_what_was_before_the_page_was_opened(
    page: Page, server: DevServer, console: list[str], pictures: Path
) -> None:
    page.goto(f"{server.url}/dags/SentiAnalyzer#hogar?node=3")
    settle(page)
    shown = page.evaluate(
        """() => {
          const all = (root) => [...root.querySelectorAll("*")].flatMap(
            (e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
          return all(document).filter((e) => e.tagName === "HOGAR-CHART").map((e) => ({
            heading: e.heading,
            seconds: e.times.at(-1) - e.times[0],
            lines: e.lines.map((line) => [
              line.label, line.values.filter((v) => v !== null).length]),
          }));
        }"""
    )
    assert all(one["seconds"] > 890 for one in shown), shown
    known = {one["heading"]: dict(one["lines"]) for one in shown}
    assert all(count > 400 for lines in known.values() for count in lines.values()), known
    assert list(known["p95 split"]) == ["waits in queue", "computes"]
    processes = ["model", "proxy", "backup's model", "backup's proxy"]
    assert list(known["CPU, of a core"]) == list(known["Memory"]) == processes
    page.locator("hogar-heat-map").scroll_into_view_if_needed()
    page.screenshot(path=pictures / "charts-lower.png")
    assert console == []


def test_a_changed_limit_takes_effect_and_is_told_in_chart_and_list(
    page: Page, server: DevServer, console: list[str], pictures: Path
) -> None:
    page.goto(f"{server.url}/dags/SentiAnalyzer#hogar?view=batching")
    page.get_by_role("button", name="Tokenizer, ready").click()
    side = page.get_by_role("region", name="Batching of Tokenizer")
    slider = side.get_by_role("slider")
    expect(slider).to_have_value("32")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(side.get_by_role("spinbutton", name="Limit")).to_have_value("31")
    side.get_by_role("spinbutton", name="Limit").fill("8")
    side.get_by_role("button", name="Apply").click()
    expect(side.get_by_role("status").filter(has_text="Limit 8")).to_be_visible()
    changes = page.get_by_role("region", name="Changes")
    expect(changes).to_contain_text("maria")
    expect(changes).to_contain_text("limit 32 → 8")
    expect(page.locator("tr.on b")).to_have_text("8")
    settle(page)
    page.screenshot(path=pictures / "limit-changed.png")
    assert server.stage.graphs["SentiAnalyzer"].nodes[1].limit == 8
    side.get_by_role("button", name="Reset to declared").click()
    expect(page.locator("tr.on b")).to_have_text("32")
    assert console == []


def test_a_node_of_200_is_found_opened_and_linked_to(
    page: Page, server: DevServer, console: list[str]
) -> None:
    page.goto(f"{server.url}/dags/Everything")
    page.get_by_role("searchbox").fill("L07-Scorer-05")
    expect(page.get_by_text("1 node, Enter goes to the next")).to_be_visible()
    page.keyboard.press("Enter")
    panel = page.locator("hogar-node-panel")
    expect(panel).to_contain_text("L07-Scorer-05")
    link = page.url
    assert "#hogar?node=" in link
    page.goto("about:blank")
    page.goto(link)
    expect(panel).to_contain_text("L07-Scorer-05")
    page.get_by_role("button", name="Close L07-Scorer-05").click()
    expect(panel).to_have_count(0)
    page.go_back()
    expect(panel).to_contain_text("L07-Scorer-05")
    page.get_by_role("button", name="Go to trouble (3)").click()
    expect(panel).to_contain_text("given up after 5 starts")
    assert console == []


def test_200_nodes_are_drawn_within_moments_and_stay_quick(page: Page, server: DevServer) -> None:
    began = time.monotonic()
    page.goto(f"{server.url}/dags/Everything")
    page.wait_for_function("""() => {
      const app = document.querySelector("hogar-app");
      const graph = app?.shadowRoot?.querySelector("hogar-graph");
      return graph?.shadowRoot?.querySelectorAll(".node").length > 180;
    }""")
    assert time.monotonic() - began < 10
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")

    def busy() -> float:
        metrics = client.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in metrics if m["name"] == "TaskDuration")

    before = busy()
    page.wait_for_timeout(5000)
    # Seconds of the page's own thread in five seconds of news, with room for a machine at work.
    assert busy() - before < 2.5


def test_the_graph_can_be_walked_by_keyboard(
    page: Page, server: DevServer, console: list[str]
) -> None:
    page.goto(f"{server.url}/dags/SentiAnalyzer")
    page.locator('.node[data-index="1"]').focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert page.evaluate(
        """() => document.querySelector("hogar-app").shadowRoot.querySelector("hogar-graph")
          .shadowRoot.activeElement.dataset.index"""
    ) in ("3", "4")
    page.keyboard.press("Enter")
    expect(page.locator("hogar-node-panel")).to_be_visible()
    page.get_by_role("tab", name="Live graph").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Batching").first).to_have_attribute(
        "aria-selected", "true"
    )
    assert console == []


def test_a_test_request_shows_its_reply(page: Page, server: DevServer, console: list[str]) -> None:
    page.goto(f"{server.url}/dags/SentiAnalyzer#hogar?view=test")
    page.get_by_role("textbox", name="Text").fill("a <b>kind</b> word")
    page.get_by_role("button", name="Send to SentiAnalyzer").click()
    reply = page.get_by_role("region", name="Reply")
    expect(reply).to_contain_text('"said": "a <b>kind</b> word"')
    expect(reply).to_contain_text("200 after 42 ms")
    assert console == []


def test_undeploying_asks_first_and_can_be_left(
    page: Page, server: DevServer, console: list[str], pictures: Path
) -> None:
    graph = server.stage.graphs["SentiAnalyzer"]
    page.goto(f"{server.url}/dags/SentiAnalyzer?theme=dark")
    page.get_by_role("button", name="Undeploy…").click()
    dialog = page.get_by_role("dialog", name="Undeploy SentiAnalyzer?")
    expect(dialog).to_contain_text("in flight get no reply")
    page.screenshot(path=pictures / "undeploy-dark.png")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert graph.deployed
    page.get_by_role("button", name="Undeploy…").click()
    dialog.get_by_role("button", name="Undeploy").click()
    expect(page.get_by_text("This graph is declared and not deployed.")).to_be_visible()
    assert not graph.deployed
    assert console == []


def test_an_agent_that_is_away_is_told_and_found_again(page: Page, server: DevServer) -> None:
    page.goto(f"{server.url}/dags/SentiAnalyzer")
    expect(page.locator(".node.s-ready")).to_have_count(5)
    play(server, "SentiAnalyzer/break?on=1")
    expect(page.get_by_text("The agent does not answer")).to_be_visible()
    play(server, "SentiAnalyzer/break?on=0")
    expect(page.get_by_text("The agent does not answer")).to_have_count(0)
    expect(page.locator(".node.s-ready")).to_have_count(5)


def test_each_platforms_files_are_downloaded(
    page: Page, server: DevServer, console: list[str]
) -> None:
    page.goto(f"{server.url}/dags/SentiAnalyzer#hogar?view=source")
    others = page.get_by_role("region", name="Other platforms")
    for name, role, file in (
        ("kserve", "button", r".*\.kserve\.yaml"),
        ("triton", "link", r"g\.triton\.zip"),
    ):
        row = others.locator("details", has=page.get_by_text(name, exact=True))
        row.locator("summary").click()
        expect(row.locator("li").first).to_contain_text(f"{name.upper()}")
        with page.expect_download() as download:
            row.get_by_role(role, name=re.compile("^Download")).click()
        assert re.fullmatch(file, download.value.suggested_filename)
    assert console == []


def test_the_source_is_copied_as_it_is(page: Page, server: DevServer, console: list[str]) -> None:
    page.goto(f"{server.url}/dags/SentiAnalyzer#hogar?view=source")
    page.get_by_role("region", name="UDGL").get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith("# Is a caller happy")
    with page.expect_download() as download:
        page.get_by_role("region", name="Compiled EARG config").get_by_role(
            "button", name="Download"
        ).click()
    assert download.value.suggested_filename == "SentiAnalyzer.earg"
    assert console == []


OVERRUNS = """() => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap(
    (e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
  const seen = all(document);
  const wide = (e) => e.scrollWidth > e.clientWidth + 1;
  const beside = (e) => {
    const range = document.createRange();
    range.selectNodeContents(e);
    return range.getBoundingClientRect();
  };
  const figures = seen.filter((e) => e.matches(".node .figures")).filter((row) => {
    const boxes = [...row.querySelectorAll("b")].map(beside);
    return boxes.some((box, k) => k > 0 && box.left < boxes[k - 1].right)
      || boxes.at(-1).right > row.getBoundingClientRect().right + 1;
  });
  const places = seen.filter((e) => e.matches("hogar-node-panel, .side, hogar-batch-editor"));
  return [...figures, ...places.filter(wide)].map((e) => e.className || e.tagName);
}"""
"""What does not fit: figures of a node that run into each other, panels wider than their place."""


@pytest.mark.parametrize("width", [1280, 936])
def test_long_names_and_large_figures_fit(
    width: int, page: Page, server: DevServer, console: list[str], pictures: Path
) -> None:
    """936 pixels are what Airflow's own frame leaves of 1280."""
    server.stage.graphs["Long"] = long_names()
    page.set_viewport_size({"width": width, "height": 560})
    page.goto(f"{server.url}/dags/Long")
    settle(page)
    assert page.evaluate(OVERRUNS) == []
    page.locator('.node[data-index="2"]').click()
    settle(page)
    page.screenshot(path=pictures / f"long-names-{width}.png")
    assert page.evaluate(OVERRUNS) == []
    close = page.get_by_role("button", name=re.compile("^Close Sentence-And"))
    assert close.bounding_box()["x"] < width - 20  # type: ignore[index]
    page.get_by_role("tab", name="Batching").first.click()
    settle(page)
    assert page.evaluate(OVERRUNS) == []
    # Whoever picks a node in the table sees what can be set, without scrolling to it.
    slider = page.get_by_role("slider")
    expect(slider).to_be_in_viewport()
    assert console == []


def test_a_link_to_a_nodes_log_shows_the_log(page: Page, server: DevServer) -> None:
    """In the height, too, that Airflow's own frame leaves of 1280 x 800."""
    page.set_viewport_size({"width": 936, "height": 560})
    page.goto(f"{server.url}/dags/SentiAnalyzer#hogar?node=3&part=log")
    settle(page)
    log = page.get_by_text("computed batch").last
    log.wait_for()
    box = page.locator("hogar-node-log").bounding_box()
    assert box is not None
    assert box["y"] < 400
    graph = page.locator("hogar-graph").bounding_box()
    assert graph is not None
    assert graph["height"] > 300


def test_what_somebody_is_about_to_click_stays_where_it_is_when_a_node_dies(
    page: Page, server: DevServer
) -> None:
    page.goto(f"{server.url}/dags/SentiAnalyzer")
    expect(page.locator(".node.s-ready")).to_have_count(5)
    tab = page.get_by_role("tab", name="Batching").first
    before = tab.bounding_box()
    play(server, "SentiAnalyzer/kill?node=3")
    page.locator(".alarm").first.wait_for()
    assert tab.bounding_box() == before
