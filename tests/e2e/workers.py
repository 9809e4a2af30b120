"""The workers of an API server on this machine, and connections that are one worker's."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 60.0
"""Seconds until each worker has taken a connection, of the many that are tried."""

ESTABLISHED = "01"


def workers(server: int, url: str) -> set[int]:
    """The processes below ``server`` that accept connections at ``url``."""
    port = urlsplit(url).port or 0
    listening = {inode for local, _, state, inode in _sockets() if local == port and state == "0A"}
    found = [server]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    # The supervisor has the socket, too, and accepts nothing.
    return {pid for pid in found if pid != server and listening & sockets_of(pid)}


def worker_of(connection: HTTPConnection, pids: set[int]) -> int | None:
    """Which of these processes has accepted a connection; None as long as none has."""
    client = connection.sock.getsockname()[1]
    server = connection.sock.getpeername()[1]
    inodes = {
        inode
        for local, remote, state, inode in _sockets()
        if (local, remote, state) == (server, client, ESTABLISHED) and inode
    }
    return next((pid for pid in pids if inodes & sockets_of(pid)), None)


def sockets_of(pid: int) -> set[int]:
    """The inodes of a process's sockets."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    return found


def _sockets() -> Iterator[tuple[int, int, str, int]]:
    """Local port, remote port, state and inode of each TCP socket over IPv4."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *rest = line.split()
        yield int(local.split(":")[1], 16), int(remote.split(":")[1], 16), state, int(rest[5])


class WorkerClient:
    """A connection that is kept, so that one worker answers all of its calls."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self.headers = {"Authorization": f"Bearer {token}"}
        self.connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self.connection.connect()

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> HTTPResponse:
        """The reply, its body not read yet."""
        data = None if body is None else json.dumps(body)
        said = self.headers | {"Content-Type": "application/json"} | headers
        assert self.connection.sock is not None, "the connection was closed"
        self.connection.request(method, path, data, said)
        return self.connection.getresponse()

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """The JSON of a reply with this status."""
        reply = self.send(method, path, body)
        text = reply.read()
        assert reply.status == status, text
        return json.loads(text)

    def close(self) -> None:
        self.connection.close()


@contextlib.contextmanager
def client_of_each(server: int, url: str, token: str) -> Iterator[dict[int, WorkerClient]]:
    """A client of each worker, by its process."""
    with contextlib.ExitStack() as stack:
        found: dict[int, WorkerClient] = {}
        deadline = time.monotonic() + PATIENCE
        while len(found) < len(pids := workers(server, url)):
            client = WorkerClient(url, token)
            stack.callback(client.close)
            pid = None
            while pid is None:
                assert time.monotonic() < deadline, f"{sorted(found)} alone of {pids} accept"
                pid = worker_of(client.connection, pids)
            if found.setdefault(pid, client) is not client:
                client.close()
        yield found


class Stream:
    """A stream of server-sent events over a connection of one worker."""

    def __init__(self, client: WorkerClient, path: str, last_event_id: int | None = None) -> None:
        said = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
        self.reply = client.send("GET", path, **said)
        assert self.reply.status == 200, self.reply.read()

    def messages(self) -> Iterator[tuple[str, int | None, Any]]:
        """Event, id and data of each message until the stream ends."""
        event, number, data = "", None, ""
        for raw in self.reply:
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "id":
                number = int(value)
            elif name == "data":
                data = value
            elif not name and event:
                yield event, number, json.loads(data)
                event, number, data = "", None, ""
