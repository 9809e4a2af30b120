"""Clients of a deployed graph, who send one request after the other and miss no failure."""

from __future__ import annotations

import io
import threading
import urllib.request
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Requests:
    """What became of them."""

    answered: int = 0
    replies: list[bytes] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def beginning(sample: Path, seconds: float) -> bytes:
    """The first seconds of a WAV file, as one."""
    with wave.open(str(sample)) as whole:
        parameters = whole.getparams()
        frames = whole.readframes(int(seconds * whole.getframerate()))
    with io.BytesIO() as made:
        with wave.open(made, "wb") as part:
            part.setparams(parameters)
            part.writeframes(frames)
        return made.getvalue()


@contextmanager
def requesting(
    url: str, body: bytes, clients: int = 2, pause: float = 0.1, token: str = ""
) -> Iterator[Requests]:
    """Send ``body`` as long as the block lasts; at its end every request has its answer."""
    requests, over, lock = Requests(), threading.Event(), threading.Lock()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Content-Type": "application/octet-stream"}
    if token:
        headers["Authorization"] = f"Bearer {token}"

    def send() -> None:
        while not over.wait(pause):
            request = urllib.request.Request(f"{url}/predict", body, headers)
            try:
                with opener.open(request, timeout=60) as reply:
                    said = reply.read()
            except OSError as error:
                with lock:
                    requests.failures.append(repr(error))
            else:
                with lock:
                    requests.answered += 1
                    requests.replies.append(said)

    threads = [threading.Thread(target=send) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield requests
    finally:
        over.set()
        for thread in threads:
            thread.join(90)
