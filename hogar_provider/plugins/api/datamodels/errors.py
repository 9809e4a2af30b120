"""Errors as the API answers them."""

from __future__ import annotations

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """``code`` is for programs, ``message`` a sentence that says what to do."""

    code: str
    message: str


class ErrorReply(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorDetail
