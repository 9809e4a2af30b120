"""Who asks a page of flask-appbuilder, by the token that Airflow's own pages use.

The Flask application that Airflow runs plugins' views in knows no user by itself: not under
SimpleAuthManager, and not under FabAuthManager, whose session is another application's.
"""

from __future__ import annotations

from typing import Any

from flask import Response, g, request, session

_TOKEN = "_token"  # noqa: S105  the cookie's name


def admit() -> Response | None:
    """Before a request: set the user, or answer that there is none or that they may not look."""
    user = _user()
    if user is None:
        return _refused(401, "You are not logged in. Log in to Airflow, then load this page again.")
    # Flask-Login takes the second one, and would read the session otherwise.
    g.user = g._login_user = user
    from hogar_provider.plugins.api.access import has_access
    from hogar_provider.plugins.permission import RESOURCE

    if not has_access("GET", user):
        return _refused(
            403, f"Your roles lack can_read on {RESOURCE}. Ask an administrator for it."
        )
    return None


def keep_session(response: Response) -> Response:
    """After a request: leave the browser's session cookie alone, it is another application's."""
    session.modified = False
    return response


def _user() -> Any:
    import anyio.from_thread
    from airflow.api_fastapi.app import get_auth_manager
    from jwt import InvalidTokenError

    token = request.cookies.get(_TOKEN)
    if not token:
        return None
    try:
        return anyio.from_thread.run(get_auth_manager().get_user_from_token, token)
    except InvalidTokenError:
        return None


def _refused(status: int, sentence: str) -> Response:
    return Response(f"{sentence}\n", status, mimetype="text/plain")
