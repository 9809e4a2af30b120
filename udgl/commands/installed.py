"""Which version of this is installed."""

from __future__ import annotations


def installed_version() -> str | None:
    """The version of the installed distribution; None where it runs from a folder."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("airflow-provider-hogar")
    except PackageNotFoundError:
        return None
