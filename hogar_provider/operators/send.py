"""Send a graph one request: a smoke test."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hogar_provider.exceptions import AirflowException, AirflowFailException
from hogar_provider.hooks.earg import EargHook
from hogar_provider.operators.base import EargOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from hogar_provider.replies import Reply


class SendRequestOperator(EargOperator):
    """Send one request and return the reply; with an expected reply, fail where it is another one.

    The request is one of ``text``, ``value`` and ``file``. Without any of ``equals``, ``contains``
    and ``path``, any reply will do, and an error reply fails the task as always. A reply of bytes
    is returned as ``{"bytes": <their number>}``.

    :param graph: the graph's name as deployed (templated).
    :param text: a text to send (templated).
    :param value: a JSON value to send (templated).
    :param file: the path of a file whose bytes to send (templated).
    :param equals: what the reply must be: a text, or a JSON value (templated). With ``path``, what
        stands there.
    :param contains: a text that must stand in the reply, or at ``path`` (templated).
    :param path: where to look in a JSON reply, such as ``$.faces[0].label`` (templated).
    :param timeout: seconds that the reply may take.
    """

    template_fields: Sequence[str] = (
        *EargOperator.template_fields,
        *("text", "value", "file", "equals", "contains", "path"),
    )
    ui_color = "#f3e8fd"
    custom_operator_name = "Send request"

    def __init__(
        self,
        *,
        text: str | None = None,
        value: Any = None,
        file: str | Path | None = None,
        equals: Any = None,
        contains: str | None = None,
        path: str | None = None,
        timeout: float = 60.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(timeout=timeout, **kwargs)
        self.text = text
        self.value = value
        self.file = str(file) if file is not None else None
        self.equals = equals
        self.contains = contains
        self.path = path

    def perform(self, context: Context) -> Any:
        """Send; see the class."""
        from hogar_provider.replies import read_reply

        body, content_type = self.request()
        with self.agent() as agent:
            graph = agent.graph(self.graph)
        if not graph.url:
            raise AirflowException(f"Graph {self.graph} does not serve: it is not wired.")
        begin = time.monotonic()
        hook = EargHook(self.earg_conn_id)
        reply = read_reply(*hook.send(graph.url, body, content_type, self.timeout))
        self.log.info(
            "%s %s replied after %.3f s: %s",
            *(graph.name, graph.version, time.monotonic() - begin, _shown(reply)),
        )
        self.check(reply)
        if isinstance(reply.value, bytes):
            return {"bytes": len(reply.value)}
        return reply.value

    def request(self) -> tuple[bytes, str]:
        """The body and its content type; AirflowFailException unless there is exactly one."""
        given = [one for one in (self.text, self.value, self.file) if one is not None]
        if len(given) != 1:
            raise AirflowFailException("Give one of text, value and file, and only one.")
        if self.text is not None:
            return self.text.encode(), "text/plain; charset=utf-8"
        if self.value is not None:
            return json.dumps(self.value).encode(), "application/json"
        path = Path(str(self.file)).expanduser()
        if not path.is_absolute() and self.has_dag():
            path = Path(self.dag.fileloc).parent / path
        try:
            return path.read_bytes(), "application/octet-stream"
        except OSError as error:
            raise AirflowFailException(f"{path} cannot be read: {error.strerror}") from None

    def check(self, reply: Reply) -> None:
        """AirflowException that shows what differs, where the reply is not as expected."""
        from hogar_provider.replies import PathError, Reply, at_path, difference

        found = reply.value
        if self.path is not None:
            try:
                found = at_path(found, self.path)
            except PathError as error:
                raise AirflowException(f"{error}. The reply: {_shown(reply)}") from None
        place = f" at {self.path}" if self.path is not None else ""
        if self.equals is not None:
            differing = difference(self.equals, found)
            if differing:
                raise AirflowException(f"The reply{place} is not as expected:\n{differing}")
        text = Reply(found, reply.content_type).text
        if self.contains is not None and self.contains not in text:
            raise AirflowException(
                f"The reply{place} does not contain {self.contains!r}: {_shown(reply)}"
            )

    def intent(self) -> str:
        """As of :class:`EargOperator`."""
        body, content_type = self.request()
        return f"would send graph {self.graph} {len(body)} bytes of {content_type}"


def _shown(reply: Reply) -> str:
    from hogar_provider.replies import LONGEST_SHOWN

    if isinstance(reply.value, bytes):
        return f"{len(reply.value)} bytes of {reply.content_type}"
    text = reply.text
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
