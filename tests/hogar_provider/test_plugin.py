"""The plugin as Airflow's processes load it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hogar_provider.plugins import plugin
from hogar_provider.plugins.plugin import DESTINATIONS, HogarPlugin
from tests.hogar_provider.folders import ROOT


@pytest.mark.slow
def test_loading_it_imports_nothing_of_the_api() -> None:
    """It is loaded in the scheduler, and in every task's process."""
    code = (
        "import sys, airflow.plugins_manager\n"
        "before = set(sys.modules)\n"
        "from hogar_provider.plugins.plugin import HogarPlugin\n"
        "plugin = HogarPlugin()\n"
        "plugin.validate(); plugin.on_load(); plugin.react_apps\n"
        "print('\\n'.join(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=100,
    )
    loaded = {line for line in done.stdout.splitlines() if line[:1].isalpha()}
    roots = {name.partition(".")[0] for name in loaded}
    assert not roots & {"fastapi", "flask", "flask_appbuilder", "grpc", "lark", "earg", "udgl"}
    assert len(loaded) < 20, loaded


def test_every_place_has_an_address_of_its_own() -> None:
    apps = HogarPlugin().react_apps
    assert len(apps) == len(DESTINATIONS)
    assert len({app["bundle_url"] for app in apps}) == len(apps)
    assert len({app["url_route"] for app in apps}) == len(apps)
    # Airflow removes from the list what it does not take: it must be the same each time.
    assert HogarPlugin.react_apps is apps


@pytest.mark.parametrize(
    ("base_url", "wanted"),
    [
        ("", "/hogar/static/hogar.js"),
        ("http://localhost:8080/", "/hogar/static/hogar.js"),
        ("https://example.org/team/air", "/team/air/hogar/static/hogar.js"),
    ],
)
def test_the_module_is_addressed_from_the_root(
    base_url: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser imports nothing without a slash before it, and not every Airflow adds one."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    assert {app["bundle_url"].partition("?")[0] for app in plugin._react_apps()} == {wanted}
