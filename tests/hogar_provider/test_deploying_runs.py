"""Through which connection a run has deployed, from what Airflow keeps of its tasks."""

from __future__ import annotations

from typing import Any

import pytest

from hogar_provider.plugins.api.runs import used


@pytest.mark.parametrize(
    ("fields", "connection"),
    [
        ({"earg_conn_id": "elsewhere", "dry": "False"}, "elsewhere"),
        ({"earg_conn_id": "", "dry": False}, ""),
        ({"earg_conn_id": None}, ""),
        ({"earg_conn_id": "elsewhere", "dry": "True"}, None),
        ({"earg_conn_id": "elsewhere", "dry": "perhaps"}, None),
        ({"earg_conn_id": ["elsewhere"]}, None),
    ],
)
def test_what_a_task_was_rendered_with_is_what_it_used(
    fields: dict[str, Any], connection: str | None
) -> None:
    assert used(fields) == connection
