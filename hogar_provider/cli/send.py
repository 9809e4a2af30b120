"""``airflow hogar send``: one request, and its reply."""

from __future__ import annotations

import base64
import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from hogar_provider.cli.engine import agent, command, graph_of, hook_of
from hogar_provider.cli.table import show


@command
def run(args: Namespace) -> None:
    """Do it. As a table the reply alone is printed, as it came."""
    from earg.cli.errors import CommandError

    body, kind = _request(args)
    with agent(args) as client:
        graph = graph_of(client, args.graph)
    if not graph.url:
        raise CommandError(f"graph {graph.name} does not serve: it is not wired")
    begin = time.monotonic()
    reply, content_type = hook_of(args).send(graph.url, body, kind, args.timeout)
    took = round(time.monotonic() - begin, 6)
    if args.output in ("json", "yaml"):
        answer = {"graph": graph.name, "content_type": content_type, "seconds": took}
        show(args, [answer | _plain(reply, content_type)])
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(reply)
        if content_type.startswith(("text/", "application/json")) and not reply.endswith(b"\n"):
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()


def _request(args: Namespace) -> tuple[bytes, str]:
    from earg.cli.errors import CommandError

    given = [name for name in ("text", "value", "file") if getattr(args, name) is not None]
    if len(given) != 1:
        raise CommandError("say what to send with one of --text, --value and --file")
    if args.text is not None:
        return args.text.encode(), "text/plain; charset=utf-8"
    if args.value is not None:
        try:
            json.loads(args.value)
        except ValueError as error:
            raise CommandError(f"--value is no JSON: {error}") from None
        return args.value.encode(), "application/json"
    if args.file == "-":
        return sys.stdin.buffer.read(), "application/octet-stream"
    try:
        return Path(args.file).read_bytes(), "application/octet-stream"
    except OSError as error:
        raise CommandError(f"{args.file}: cannot be read: {error.strerror}") from None


def _plain(reply: bytes, content_type: str) -> dict[str, Any]:
    if content_type == "application/json" or content_type.startswith("text/"):
        return {"reply": reply.decode(errors="replace")}
    return {"reply_base64": base64.b64encode(reply).decode()}
