"""The hosts of a graph in a real browser, over a played graph whose hosts can be cut off."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.www.dev_server import DevServer
from tests.www.played_hosts import PlayedHosts
from tests.www.test_view import AXE, play, settle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def graph(server: DevServer) -> PlayedHosts:
    """The played graph ``Hosts``; the other tests' pages do not have it."""
    played = PlayedHosts()
    server.stage.graphs[played.dag_id] = played
    return played


def assert_accessible(page: Page) -> None:
    page.add_script_tag(path=AXE)
    found = page.evaluate(
        """async () => (await axe.run({ resultTypes: ["violations"] })).violations
          .filter((v) => ["serious", "critical"].includes(v.impact))
          .map((v) => ({ id: v.id, where: v.nodes.slice(0, 5).map((n) =>
            [n.target.flat().join(" > "), n.any.concat(n.all, n.none)[0]?.message]) }))"""
    )
    assert found == [], json.dumps(found, indent=1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_views_of_a_dead_host_are_accessible(
    theme: str,
    page: Page,
    server: DevServer,
    graph: PlayedHosts,
    console: list[str],
    pictures: Path,
) -> None:
    graph.cut("box-2", heals=False)
    for name, path in {
        "hosts": f"/dags/Hosts?theme={theme}#hogar?host=box-2",
        "hosts-panel": f"/dags/Hosts?theme={theme}#hogar?node=3&part=details",
        "hosts-all": f"/graphs?theme={theme}",
        "hosts-card": f"/card?theme={theme}",
    }.items():
        page.goto("about:blank")
        page.goto(server.url + path)
        settle(page)
        page.screenshot(path=pictures / f"{name}-{theme}.png")
        assert_accessible(page)
    assert console == []


def test_a_host_that_is_cut_off_is_marked_whole_until_it_is_back(
    page: Page, server: DevServer, graph: PlayedHosts, console: list[str], pictures: Path
) -> None:
    page.goto(f"{server.url}/dags/Hosts")
    expect(page.locator(".node.s-ready")).to_have_count(5)
    expect(page.locator("hogar-hosts button")).to_have_count(3)
    expect(page.locator('.node[data-index="3"] .pairs')).to_contain_text("primary box-2")
    expect(page.locator("header").first).to_contain_text("on docker")
    cut = time.monotonic()
    play(server, "Hosts/cut?host=box-2")
    bar = page.locator(".alarm.hosts")
    expect(bar).to_contain_text(
        re.compile(r"Host box-2 does not answer since .*: 3 nodes were there: Tokenizer is dead, ")
    )
    assert time.monotonic() - cut < 4
    # Two are lost, and the third has only its backup there now.
    expect(page.locator(".node.stranded")).to_have_count(3)
    expect(page.locator('.node[data-index="2"] .hostless')).to_have_text("host dead")
    expect(page.locator('.node[data-index="3"] .hostless')).to_have_text("host of its backup dead")
    # Nodes that died of it are no alarms of their own.
    expect(page.locator(".alarm.dead")).to_have_count(1)
    chip = page.locator("hogar-hosts button.dead")
    expect(chip).to_contain_text(re.compile(r"box-2 dead for \d+ s 3 nodes"))
    bar.get_by_role("button", name="Show its nodes").click()
    expect(page.locator(".node.faded")).to_have_count(2)
    expect(page).to_have_url(re.compile(r"#hogar\?host=box-2$"))
    # They are started elsewhere; what was there is told as long as the host is away.
    expect(page.locator(".node.s-ready")).to_have_count(5, timeout=15_000)
    expect(page.locator(".node.stranded")).to_have_count(0)
    expect(bar).to_contain_text("Tokenizer is ready on gpu-box.example")
    page.screenshot(path=pictures / "host-elsewhere.png")
    play(server, "Hosts/mend?host=box-2")
    expect(bar).to_have_count(0)
    expect(chip).to_have_count(0)
    page.get_by_role("button", name="Show all nodes").click()
    expect(page.locator(".node.faded")).to_have_count(0)
    assert console == []
