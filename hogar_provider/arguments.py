"""Arguments as Airflow's templates leave them, and settings that operators and sensors share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hogar_provider.exceptions import AirflowFailException


def truth(value: Any, name: str) -> bool:
    """A switch, which a template leaves as text; AirflowFailException for what is none."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "1", "yes"):
        return True
    if text in ("false", "0", "no", "", "none"):
        return False
    raise AirflowFailException(f"{name} must be true or false, not {value!r}")


def number(value: Any, name: str) -> float | None:
    """A number, which a template leaves as text; None where there is nothing."""
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", "none")):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise AirflowFailException(f"{name} must be a number, not {value!r}") from None


def batches(value: Any) -> dict[str, int]:
    """Batch limits by operator: a mapping, or a JSON object that a template has made of one."""
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value) if value.strip() else {}
        except ValueError:
            raise AirflowFailException(f"batch: {value!r} is no JSON object") from None
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise AirflowFailException(f"batch must give limits by operator, not {value!r}")
    for name, limit in found.items():
        if not isinstance(limit, int) or isinstance(limit, bool):
            raise AirflowFailException(f"batch of {name} must be a whole number, not {limit!r}")
    return dict(found)


def default_deferrable() -> bool:
    """Airflow's setting ``[operators] default_deferrable``."""
    from airflow.configuration import conf

    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def agent_path(earg_conn_id: str | None) -> str:
    """The folder of the agent that a connection names."""
    from hogar_provider.hooks.earg import EargHook

    return str(EargHook(earg_conn_id).engine().home.path)
