"""``earg send``: one request, and its reply."""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from earg.cli.errors import CommandError
from earg.cli.printing import Commands, add_json, print_json

SEND_TIMEOUT = 300.0
"""Seconds that ``earg send`` waits for a reply."""


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("send", help="send one request and print the reply")
    parser.add_argument("graph")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--text", help="a text")
    what.add_argument("--value", help="a JSON value")
    what.add_argument("--file", type=Path, help="a file's bytes ('-': standard input)")
    add_json(parser, "the reply (bytes in base64), its content type, and the seconds it took")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    from earg.client import connect
    from earg.http_client import open_url
    from earg.security import SecurityError

    if options.text is not None:
        body, kind = options.text.encode(), "text/plain; charset=utf-8"
    elif options.value is not None:
        body, kind = options.value.encode(), "application/json"
    else:
        body, kind = _file_bytes(options.file), "application/octet-stream"
    with connect(options.home, start=False) as client:
        graph = client.graph(options.graph)
    if not graph.url:
        raise CommandError(f"graph {graph.name} does not serve: it is not wired")
    request = urllib.request.Request(  # noqa: S310  the frontend's own http URL
        f"{graph.url}/predict", body, {"Content-Type": kind}
    )
    begin = time.monotonic()
    try:
        with open_url(request, SEND_TIMEOUT) as reply:
            body, content_type = reply.read(), reply.headers.get_content_type()
    except urllib.error.HTTPError as error:
        raise CommandError(_error_sentence(error)) from None
    except SecurityError as error:
        raise CommandError(str(error)) from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise CommandError(f"{graph.url} does not answer: {error}") from None
    if options.json:
        took = round(time.monotonic() - begin, 6)
        answer = {"graph": graph.name, "content_type": content_type, "seconds": took}
        print_json(answer | _reply(body, content_type))
    else:
        _print_reply(body, content_type)


def _file_bytes(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror}") from None


def _reply(body: bytes, content_type: str) -> dict[str, Any]:
    if content_type == "application/json":
        return {"reply": json.loads(body)}
    if content_type == "text/plain":
        return {"reply": body.decode(errors="replace")}
    return {"reply_base64": base64.b64encode(body).decode()}


def _print_reply(body: bytes, content_type: str) -> None:
    if content_type == "application/json":
        print(json.dumps(json.loads(body), ensure_ascii=False, indent=2))
    elif content_type == "text/plain":
        print(body.decode(errors="replace"))
    else:
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()


def _error_sentence(error: urllib.error.HTTPError) -> str:
    try:
        sentence = json.load(error)["error"]
    except (ValueError, KeyError, TypeError):
        sentence = error.reason
    return f"HTTP {error.code}: {sentence}"
