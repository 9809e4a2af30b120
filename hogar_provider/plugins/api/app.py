"""The FastAPI application that Airflow's API server mounts at ``/hogar``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, FastAPI

from hogar_provider import DISTRIBUTION
from hogar_provider.plugins.api import agents
from hogar_provider.plugins.api.body_limit import BodyLimit
from hogar_provider.plugins.api.datamodels.errors import ErrorReply
from hogar_provider.plugins.api.errors import handle_errors
from hogar_provider.plugins.api.routes import (
    batching,
    events,
    front,
    graphs,
    nodes,
    operation,
    requests,
    source,
    targets,
    training,
)
from hogar_provider.plugins.api.runtime import runtime

API = "/api/v1"
"""Where the API's own routes are, below the application's place."""

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (401, 403, 404, 409, 422, 503, 504)
}


def create_app() -> FastAPI:
    """The application; its routes ask Airflow's auth manager who may do what."""
    app = FastAPI(
        title="HOGAR API",
        description="Serving graphs that DAGs have deployed: what they do, and how they batch.",
        version=_version(),
        # FastAPI's own docs would be open to everybody.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_lifespan,
    )
    app.add_middleware(BodyLimit)
    handle_errors(app)
    api = APIRouter(prefix=API, responses=_ERRORS)
    for part in (graphs, nodes, events, requests, batching, source, targets, operation, training):
        api.include_router(part.router)
    app.include_router(api)
    app.include_router(front.router)
    return app


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    runtime.close()
    agents.close()


def _version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0"
