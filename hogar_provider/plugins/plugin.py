"""The plugin that Airflow finds through the ``airflow.plugins`` entry point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from airflow.plugins_manager import AirflowPlugin

from hogar_provider import run_note

PLACE = "/hogar"
"""Where the API server has the API and the front end."""

MODULE = f"{PLACE}/static/hogar.js"
"""The front end's ES module, below ``[api] base_url``."""

DESTINATIONS: tuple[tuple[str, str, str, str], ...] = (
    ("HOGAR graph", "dag", "hogar", ""),
    ("HOGAR node", "task", "hogar_node", ""),
    ("HOGAR node", "task_instance", "hogar_node_instance", ""),
    ("HOGAR graphs", "nav", "hogar_graphs", "browse"),
    ("HOGAR", "dashboard", "hogar_card", ""),
)
"""Name, destination, URL and category of each place that shows the front end. The name is what the
place is called, and Airflow takes its React component from ``globalThis`` under that name."""


class Lazy:
    """An attribute that is made when it is first read, on the class or an instance.

    Airflow reads those of the UI in its API server alone, and loads plugins in every process.
    """

    def __init__(self, make: Callable[[], list[Any]]) -> None:
        self._make = make
        self._made: list[Any] | None = None

    def __get__(self, instance: object, owner: type | None = None) -> list[Any]:
        if self._made is None:
            self._made = self._make()
        return self._made


def _fastapi_apps() -> list[dict[str, Any]]:
    from hogar_provider.plugins.api.app import create_app

    return [{"name": "HOGAR", "app": create_app(), "url_prefix": PLACE}]


def _appbuilder_views() -> list[dict[str, Any]]:
    # Airflow fails to start with such a view and without the provider.
    if not _has_fab():
        return []
    from hogar_provider.plugins.views.page import HogarView

    # Without a name it gets no menu item of its own.
    return [{"view": HogarView()}]


def _flask_blueprints() -> list[Any]:
    if not _has_fab():
        return []
    from hogar_provider.plugins.views.blueprint import blueprint

    return [blueprint]


def _has_fab() -> bool:
    from importlib.util import find_spec

    try:
        return find_spec("airflow.providers.fab") is not None
    except ModuleNotFoundError:
        return False


def _react_apps() -> list[dict[str, Any]]:
    """One module in each place. The query makes each a module of its own for the browser, which
    runs a module once, and Airflow takes the component that it has just set.

    The addresses begin with a slash: a browser takes others for a name, and Airflow makes them
    absolute only from 3.3 on."""
    from airflow.configuration import conf

    root = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    apps = []
    for name, destination, route, category in DESTINATIONS:
        app = {
            "name": name,
            "bundle_url": f"{root}{MODULE}?place={destination}",
            "destination": destination,
            "url_route": route,
        }
        if category:
            app["category"] = category
        apps.append(app)
    return apps


class HogarPlugin(AirflowPlugin):
    """Loaded in every Airflow process, so it stays light: heavy parts are imported on use."""

    name = "hogar"
    listeners = [run_note]  # noqa: RUF012  the plugin manager's own form
    fastapi_apps = Lazy(_fastapi_apps)
    react_apps = Lazy(_react_apps)
    appbuilder_views = Lazy(_appbuilder_views)
    flask_blueprints = Lazy(_flask_blueprints)
