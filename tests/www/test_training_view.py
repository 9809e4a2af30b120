"""The view of trainings in a real browser, over played ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.www.dev_server import DevServer
from tests.www.played_training import PlayedTrainingRun, training
from tests.www.test_view import AXE, settle

BY_HAND = 3600.0
"""Seconds of an epoch that ends only where the test says so."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

DIGITS = "/dags/Digits"
VIEWS = {
    "training": f"{DIGITS}#hogar?view=training",
    "training-failed": f"{DIGITS}#hogar?view=training&operator=Encoder&figure=loss",
    "training-skipped": "/dags/Trained#hogar?view=training",
    "training-never": "/dags/Trained#hogar?view=training&operator=Ranker",
    "training-none": "/dags/SentiAnalyzer#hogar?view=training",
    "training-task": f"{DIGITS}/tasks/train.Classifier#hogar?figure=accuracy&with=",
}
"""Every state of the view by name: where it is on the played server."""


def play(run: PlayedTrainingRun, epochs: int = 1) -> None:
    for _ in range(epochs):
        run.end_epoch()


def charts(page: Page) -> list[dict[str, Any]]:
    """What each chart draws: its heading, its lines' labels, its batch sizes, its marks."""
    found: list[dict[str, Any]] = page.evaluate(
        """() => {
          const all = (root) => [...root.querySelectorAll("*")].flatMap(
            (e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
          return all(document).filter((e) => e.tagName === "HOGAR-EPOCH-CHART").map((e) => ({
            heading: e.heading, painted: !!e.shadowRoot.querySelector("canvas"),
            lines: e.lines.length, batch: e.batch, planned: e.planned, epochs: e.epochs,
            marks: e.marks.map((m) => [m.at, m.text]) }));
        }"""
    )
    return found


@pytest.mark.parametrize(
    ("view", "theme"),
    [*((view, "light") for view in VIEWS), ("training", "dark"), ("training-failed", "dark")],
)
def test_each_state_is_accessible_and_says_nothing_to_the_console(
    view: str, theme: str, page: Page, server: DevServer, console: list[str], pictures: Path
) -> None:
    path, _, fragment = VIEWS[view].partition("#")
    page.goto(f"{server.url}{path}?theme={theme}#{fragment}")
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
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert console == []


def test_a_changed_batch_size_takes_effect_in_the_next_epoch_and_is_told_everywhere(
    page: Page, server: DevServer, console: list[str], pictures: Path
) -> None:
    played = server.stage.trainings["Digits"] = training(BY_HAND)
    run = played.operators["Classifier"][0]
    page.goto(f"{server.url}{DIGITS}#hogar?view=training")
    form = page.get_by_role("form", name="Batch size of Classifier")
    expect(form).to_contain_text("Epoch 6 will train with 48, set by maria")
    # By keyboard alone.
    form.get_by_role("spinbutton", name="Batch size").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("96")
    expect(form).to_contain_text("Epochs 6 to 12 will train with 96")
    expect(form).to_contain_text("Epoch 5, which runs now, keeps 48.")
    page.screenshot(path=pictures / "training-before-change.png")
    page.keyboard.press("Enter")
    side = page.get_by_role("region", name="Batch size of the epochs to come")
    expect(side).to_contain_text("it takes effect when epoch 6 begins")
    changes = page.get_by_role("region", name="Changes")
    expect(changes).to_contain_text("not yet")
    change = run.changes[-1]
    assert (change["from"], change["to"], change["only"]) == (48, 96, False)
    play(run)
    expect(side).to_contain_text("It took effect in epoch 6.")
    expect(changes).to_contain_text("48 → 96")
    expect(changes).to_contain_text("in epoch 6")
    play(run)
    rows = page.get_by_role("region", name="Figures of each epoch").locator("tbody tr")
    expect(rows.nth(0)).to_contain_text(re.compile(r"7\s*runs"))
    expect(rows.nth(1)).to_contain_text(re.compile(r"^\s*6\s+0\.[\s\S]*96\s*maria"))
    page.screenshot(path=pictures / "training-changed.png", full_page=True)
    drawn = charts(page)
    assert [chart["heading"] for chart in drawn] == ["loss", "accuracy"]
    for chart in drawn:
        assert chart["painted"]
        assert [5, "48 → 96, maria"] in chart["marks"]
        sizes = dict(zip(chart["epochs"], chart["batch"], strict=True))
        assert (sizes[5], sizes[6]) == (48, 96)
    assert console == []


def test_a_training_is_followed_until_it_has_ended(
    page: Page, server: DevServer, console: list[str]
) -> None:
    played = server.stage.trainings["Digits"] = training(BY_HAND)
    page.goto(f"{server.url}{DIGITS}#hogar?view=training")
    about = page.get_by_role("region", name="Training of Classifier")
    expect(about).to_contain_text("Epoch 5 of 12 runs")
    play(played.operators["Classifier"][0], 3)
    expect(about).to_contain_text("Epoch 8 of 12 runs")
    play(played.operators["Classifier"][0], 5)
    expect(about).to_contain_text("All 12 epochs are trained. The best was epoch")
    expect(page.locator("[aria-live]").filter(has_text="Classifier: trained")).to_have_count(1)
    rows = page.get_by_role("region", name="Figures of each epoch").locator("tbody tr")
    expect(rows).to_have_count(12)
    side = page.get_by_role("region", name="Batch size of the epochs to come")
    expect(side).to_contain_text("This training is over.")
    assert console == []


def test_what_is_shown_is_chosen_and_stands_in_the_address(
    page: Page, server: DevServer, console: list[str], pictures: Path
) -> None:
    page.goto(f"{server.url}{DIGITS}#hogar?view=training")
    settle(page)
    assert [chart["lines"] for chart in charts(page)] == [2, 2]
    page.get_by_role("checkbox", name="samples/s").check()
    page.get_by_role("checkbox", name="CPU").check()
    page.get_by_role("checkbox", name="Compare with the run of").nth(1).check()
    settle(page)
    expected = [("loss", 3), ("accuracy", 3), ("samples/s", 3), ("CPU", 3)]
    assert [(chart["heading"], chart["lines"]) for chart in charts(page)] == expected
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    settle(page)
    assert [(chart["heading"], chart["lines"]) for chart in charts(page)] == expected
    page.screenshot(path=pictures / "training-compared.png", full_page=True)
    page.get_by_role("radio", name=re.compile("Show the run of .*, trained")).last.check()
    about = page.get_by_role("region", name="Training of Classifier")
    expect(about).to_contain_text("Stopped early, after epoch 9 of 12")
    assert [chart["lines"] for chart in charts(page)] == [2] * 4
    page.get_by_role("button", name="Encoder").click()
    encoder = page.get_by_role("region", name="Training of Encoder")
    expect(encoder).to_contain_text("MemoryError")
    page.go_back()
    expect(about).to_contain_text("Stopped early, after epoch 9 of 12")
    assert console == []


def test_a_task_shows_its_own_operator_and_run(
    page: Page, server: DevServer, console: list[str]
) -> None:
    run = server.stage.trainings["Digits"].operators["Classifier"][1]
    page.goto(f"{server.url}{DIGITS}/tasks/train.Classifier?run={run.run_id.replace('+', '%2B')}")
    about = page.get_by_role("region", name="Training of Classifier")
    expect(about).to_contain_text("try 2")
    expect(about).to_contain_text("All 12 epochs are trained. The best was epoch 11.")
    expect(page.get_by_role("button", name="Encoder")).to_have_count(0)
    assert [6, "resumed, try 2"] in charts(page)[0]["marks"]
    page.goto(f"{server.url}{DIGITS}/tasks/train.Gone")
    expect(page.get_by_role("alert")).to_contain_text("trains no operator called Gone")


def test_who_may_not_change_it_is_told_so(page: Page, server: DevServer, pictures: Path) -> None:
    server.stage.trainings["Digits"].read_only = True
    page.goto(f"{server.url}{DIGITS}#hogar?view=training")
    page.get_by_role("button", name="Double the batch size").click()
    page.get_by_role("button", name="Apply").click()
    form = page.get_by_role("form", name="Batch size of Classifier")
    expect(form.get_by_role("alert")).to_contain_text("You may see this graph, not change it.")
    expect(form.get_by_role("spinbutton", name="Batch size")).to_be_disabled()
    page.screenshot(path=pictures / "training-read-only.png")


def test_trainings_that_cannot_be_asked_for_are_told_and_found_again(
    page: Page, server: DevServer, pictures: Path
) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(status=503, json={"error": {"code": "x", "message": "The database is away."}})

    page.route("**/training?*", refuse)
    page.goto(f"{server.url}{DIGITS}#hogar?view=training")
    expect(page.get_by_role("heading", name="The trainings cannot be shown")).to_be_visible()
    page.screenshot(path=pictures / "training-error.png")
    page.unroute("**/training?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("region", name="Training of Classifier")).to_be_visible()
    # What was seen stays, with a sentence above it.
    page.route("**/training?*", refuse)
    expect(page.get_by_role("alert").filter(has_text="The database is away.")).to_be_visible()
    expect(page.get_by_role("region", name="Training of Classifier")).to_be_visible()
