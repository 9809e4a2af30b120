"""A load over HTTP that costs little itself: keep-alive connections, one request at a time each."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Result:
    """What a load saw: seconds it took, sorted latencies in seconds, and answers other than 200."""

    seconds: float
    latencies: tuple[float, ...]
    failures: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """The latency in milliseconds that ``share`` of the requests stayed within."""
        return 1000 * self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class _Client(asyncio.Protocol):
    """One connection that sends its request again as soon as the answer is complete."""

    def __init__(self, request: bytes, deadline: float) -> None:
        self._request = request
        self._deadline = deadline
        self._buffer = b""
        self._sent = 0.0
        self.latencies: list[float] = []
        self.failures = 0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        if len(body) < length:
            return
        now = time.perf_counter()
        self.latencies.append(now - self._sent)
        self.failures += not head.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        if now < self._deadline:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.failures += exc is not None
        if not self.ended.done():
            self.ended.set_result(None)


async def _run(url: str, body: bytes, connections: int, seconds: float) -> Result:
    parts = urlsplit(url)
    assert parts.hostname is not None
    request = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    clients = [
        (
            await loop.create_connection(
                lambda: _Client(request, started + seconds), parts.hostname, parts.port
            )
        )[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.ended for client in clients))
    took = time.perf_counter() - started
    latencies = sorted(one for client in clients for one in client.latencies)
    return Result(took, tuple(latencies), sum(client.failures for client in clients))


def load(url: str, connections: int, seconds: float, body: bytes = b"x") -> Result:
    """POST ``body`` to ``url`` for so many seconds on so many connections."""
    return asyncio.run(_run(url, body, connections, seconds))
