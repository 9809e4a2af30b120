"""How soon the live view can be used: real Chromium, from navigation to a node that can be clicked.

Used by ``benchmarks/live_view.py``, whose API server and graph it visits. The page itself notes the
time at which a node is drawn and what lies under its middle is that node, so that nothing of the
driver is counted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from statistics import median
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.hogar_provider.api_server import ApiServer

VISITS = 7
"""Of each kind; the first visit, with an empty cache, is told apart."""

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run")
FLAGS += ("--disable-background-networking", "--disable-component-update", "--disable-sync")

WATCH = """
(() => {
  const usable = () => {
    const app = document.querySelector("hogar-app")?.shadowRoot;
    const graph = app?.querySelector("hogar-graph")?.shadowRoot;
    const node = graph?.querySelector(".node");
    if (!node) return null;
    const { left, top, width, height } = node.getBoundingClientRect();
    const hit = graph.elementFromPoint(left + width / 2, top + height / 2);
    return hit && hit.closest(".node") === node ? node : null;
  };
  window.hogarFrom = 0;
  window.hogarUsable = 0;
  window.hogarPanel = 0;
  const look = () => {
    if (!window.hogarUsable && usable()) window.hogarUsable = performance.now();
    const app = document.querySelector("hogar-app")?.shadowRoot;
    if (!window.hogarPanel && app?.querySelector("hogar-node-panel")) {
      window.hogarPanel = performance.now();
    }
    requestAnimationFrame(look);
  };
  look();
  addEventListener("click", () => { window.hogarFrom = performance.now(); }, true);
  window.hogarAgain = () => { window.hogarUsable = window.hogarPanel = 0; };
})();
"""

ASKED = """
() => performance.getEntriesByType("resource").find((r) => r.name.includes("hogar.js"))?.startTime
"""


def page_times(server: ApiServer, user: str, graph: str) -> dict[str, Any]:
    """Milliseconds, medians of :data:`VISITS`: of Airflow's page with the view in its tab, of going
    to that tab within Airflow, and of the view without Airflow's frame."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return {"problem": "there is no chromium on the PATH"}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        context.add_cookies([{"name": "_token", "value": server.token(user), "url": server.url}])
        context.add_init_script(WATCH)
        page = context.new_page()
        page.set_default_timeout(60_000)
        tab = f"{server.url}/dags/{graph}/plugin/hogar"
        alone = f"{server.url}/pluginsv2/hogar/#hogar?dag={graph}"
        found: dict[str, Any] = {"chromium": browser.version}
        visits = [in_airflow(page, tab) for _ in range(VISITS + 1)]
        found["airflow_tab_first_visit"] = visits[0]
        found["airflow_tab"] = medians(visits[1:])
        found["switch_to_the_tab"] = medians(repeated(lambda: switch(page, server.url, graph)))
        visits = [by_itself(page, alone) for _ in range(VISITS + 1)]
        found["page_of_its_own_first_visit"] = visits[0]
        found["page_of_its_own"] = medians(visits[1:])
        browser.close()
    return found


def repeated(visit: Callable[[], dict[str, float]]) -> list[dict[str, float]]:
    """Some visits."""
    return [visit() for _ in range(VISITS)]


def medians(visits: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {name: round(median(visit[name] for visit in visits)) for name in visits[0]}


def noted(page: Page, name: str) -> float:
    """When the page noted something."""
    page.wait_for_function(f"() => window.{name} > 0")
    return float(page.evaluate(f"() => window.{name}"))


def in_airflow(page: Page, url: str) -> dict[str, float]:
    """A whole navigation to Airflow's page: until it asks for the view's module, which is all
    Airflow's own, and until a node can be clicked."""
    page.goto("about:blank")
    page.goto(url, wait_until="commit")
    usable = noted(page, "hogarUsable")
    asked = float(page.evaluate(ASKED))
    return {"until_the_module_is_asked_for": asked, "usable": usable, "view": usable - asked}


def switch(page: Page, url: str, graph: str) -> dict[str, float]:
    """A click on the tab, in a page of Airflow that is there already; then one on a node."""
    page.goto(f"{url}/dags/{graph}", wait_until="load")
    tab = page.locator(f'a[href$="/dags/{graph}/plugin/hogar"]').first
    tab.wait_for()
    # Airflow's own first questions are answered by then.
    page.wait_for_timeout(2000)
    page.evaluate("() => window.hogarAgain()")
    tab.click()
    usable = noted(page, "hogarUsable")
    usable -= float(page.evaluate("() => window.hogarFrom"))
    page.locator('.node[data-index="1"]').first.click()
    panel = noted(page, "hogarPanel")
    return {"usable": usable, "panel": panel - float(page.evaluate("() => window.hogarFrom"))}


def by_itself(page: Page, url: str) -> dict[str, float]:
    """A whole navigation to the page without Airflow's frame."""
    page.goto("about:blank")
    page.goto(url, wait_until="commit")
    return {"usable": noted(page, "hogarUsable")}
