"""The API's errors: JSON with a code for programs and a sentence for people."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

log = logging.getLogger(__name__)

_SENTENCES = {
    401: ("not_authenticated", "You are not logged in, or no longer: log in to Airflow again."),
    403: (
        "forbidden",
        "You lack the permission. To see a graph takes reading its DAG and can_read on HOGAR; "
        "to change it takes editing its DAG and can_edit on HOGAR.",
    ),
    404: ("not_found", "There is nothing at this address; the API's docs list what there is."),
    405: ("method_not_allowed", "This address does not take this method."),
}


class ApiError(Exception):
    """Answered as ``status`` with ``code`` and ``message``."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def error_reply(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error as the API answers it."""
    return JSONResponse(
        {"error": {"code": code, "message": message}}, status_code=status, headers=headers
    )


def handle_errors(app: FastAPI) -> None:
    """Let ``app`` answer every error in this form."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


async def _api_error(_: Request, error: Any) -> JSONResponse:
    return error_reply(error.status, error.code, error.message)


async def _http_exception(_: Request, error: Any) -> JSONResponse:
    code, sentence = _SENTENCES.get(error.status_code, ("error", str(error.detail)))
    return error_reply(error.status_code, code, sentence, error.headers)


async def _invalid(_: Request, error: Any) -> JSONResponse:
    found = error.errors()
    parts = []
    for one in found[:5]:
        # The first part is where it came from: "body", "query", "path".
        place = ".".join(str(part) for part in one["loc"][1:]) or str(one["loc"][0])
        parts.append(f"{place}: {one['msg'].removeprefix('Value error, ')}")
    return error_reply(422, "invalid_request", f"The request is wrong: {'; '.join(parts)}.")


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_reply(
        500, "internal", "The API server failed; its log says why. Try again, then look there."
    )
