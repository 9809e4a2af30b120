"""The plugin that Airflow finds through the ``airflow.plugins`` entry point."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class HogarPlugin(AirflowPlugin):
    """Loaded in every Airflow process, so it stays light: heavy parts are imported on use."""

    name = "hogar"
