"""A test request."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_BODY = 8 * 1024 * 1024
"""Largest body of a test request or its reply, in bytes."""


class TestRequest(BaseModel):
    """``body`` is text, ``body_base64`` bytes; one of them is given."""

    __test__ = False
    model_config = ConfigDict(extra="forbid")

    content_type: str = Field("text/plain; charset=utf-8", max_length=200, pattern=r"^[ -~]*$")
    body: str | None = Field(None, max_length=MOST_BODY)
    body_base64: str | None = Field(None, max_length=MOST_BODY * 4 // 3 + 4)

    @model_validator(mode="after")
    def _one_body(self) -> TestRequest:
        if (self.body is None) == (self.body_base64 is None):
            raise ValueError("give either body or body_base64")
        return self


class TestReply(BaseModel):
    """The frontend's reply: ``body`` where it is text, else ``body_base64``. ``traceparent`` names
    the request's trace, which is recorded."""

    __test__ = False
    status: int
    content_type: str
    body: str | None = None
    body_base64: str | None = None
    ms: float
    traceparent: str
