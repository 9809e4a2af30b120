"""Who may do what: the DAG's own permission, and the permissions on HOGAR.

Under FAB the latter are ``can_read`` and ``can_edit`` on the resource HOGAR. SimpleAuthManager
knows only roles and admits everyone who sees Airflow at all, so the DAG's permission is always
asked for as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from fastapi import Depends, HTTPException

from hogar_provider.plugins.permission import RESOURCE

Method = Literal["GET", "PUT"]

User = GetUserDep
"""Annotates a route's parameter that is the user."""


def has_access(method: Method, user: Any) -> bool:
    """Whether the user may see (GET) or change (PUT) graphs, as far as HOGAR's own permissions
    go."""
    return bool(
        get_auth_manager().is_authorized_custom_view(
            method=method, resource_name=RESOURCE, user=user
        )
    )


def may_read_all_dags(user: Any) -> bool:
    """Whether the user may read every DAG."""
    return bool(get_auth_manager().is_authorized_dag(method="GET", user=user))


def _requires(method: Method) -> Callable[[Any], None]:
    def inner(user: GetUserDep) -> None:
        if not has_access(method, user):
            raise HTTPException(403, "Forbidden")

    return inner


AUTHENTICATED = [Depends(get_user)]
"""For routes that show nothing of a graph."""

SEES = [Depends(_requires("GET"))]
"""For routes that filter by DAG themselves."""

SEES_DAG = [Depends(requires_access_dag("GET")), *SEES]
"""For routes that show the graph of the path's DAG."""

CHANGES_DAG = [Depends(requires_access_dag("PUT")), *SEES, Depends(_requires("PUT"))]
"""For routes that change the graph of the path's DAG."""
