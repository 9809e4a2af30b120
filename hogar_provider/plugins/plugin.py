"""The plugin that Airflow finds through the ``airflow.plugins`` entry point."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from hogar_provider import run_note


class HogarPlugin(AirflowPlugin):
    """Loaded in every Airflow process, so it stays light: heavy parts are imported on use."""

    name = "hogar"
    listeners = [run_note]  # noqa: RUF012  the plugin manager's own form
