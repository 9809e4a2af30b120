"""The front end's files, and the API's docs. All of it is for who is logged in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from hogar_provider.plugins.api.access import AUTHENTICATED

FOLDER = Path(__file__).parents[2] / "www" / "dist"
"""Where the front end's build puts its module."""

router = APIRouter(include_in_schema=False, dependencies=AUTHENTICATED)

_files = StaticFiles(directory=FOLDER, check_dir=False)


@router.get("/static/{path:path}")
async def get_static(path: str, request: Request) -> Response:
    """A file of the front end; browsers ask whether it has changed and keep it where not."""
    response = await _files.get_response(path, request.scope)
    response.headers["Cache-Control"] = "private, no-cache"
    return response


@router.get("/api/v1/openapi.json")
async def get_openapi(request: Request) -> dict[str, Any]:
    """The API's description."""
    app: FastAPI = request.scope["app"]
    return app.openapi()


@router.get("/api/v1/docs")
async def get_docs() -> HTMLResponse:
    """The description as a page, where Airflow shows its own."""
    from airflow.configuration import conf
    from starlette.exceptions import HTTPException

    if not conf.getboolean("api", "enable_swagger_ui", fallback=True):
        raise HTTPException(404)
    return get_swagger_ui_html(openapi_url="openapi.json", title="HOGAR API")
