"""Asks a graph without a pause, and writes down each reply: ``python asking.py URL TOKEN_FILE``.

A line is JSON: the request, when it was sent and answered (``time.monotonic()``), and the reply.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from itertools import count
from pathlib import Path

import httpx

AT_ONCE, PAUSE = 4, 0.02


async def main(url: str, token: str) -> None:
    numbers = count()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)

    async def ask(client: httpx.AsyncClient) -> None:
        while not stopped.is_set():
            request = f"r{next(numbers)}"
            sent = time.monotonic()
            try:
                reply = await client.post(
                    url, content=request, headers={"content-type": "text/plain"}
                )
                status, text = reply.status_code, reply.text
            except httpx.HTTPError as error:
                status, text = 0, repr(error)
            line = [request, sent, time.monotonic(), status, text]
            print(json.dumps(line), flush=True)
            await asyncio.sleep(PAUSE)

    headers = {"authorization": f"Bearer {token}", "content-type": "text/plain"}
    async with httpx.AsyncClient(headers=headers, timeout=70) as client:
        await asyncio.gather(*(ask(client) for _ in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_text().strip()))
