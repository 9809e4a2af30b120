"""What every process of the runtime does alike: bind its port, and stop when told."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import grpc
import grpc.aio

from earg.output import forgive_output

ADDRESS_IN_USE = 98
"""Exit code of a process whose port is taken (Linux's EADDRINUSE): start it on another address."""


def bind(server: grpc.Server | grpc.aio.Server, ip: str, port: int) -> None:
    """Bind ``server`` to one address; a port that is taken ends the process with
    :data:`ADDRESS_IN_USE`, so that whoever started it can try another address."""
    try:
        bound = server.add_insecure_port(f"{ip}:{port}")
    except RuntimeError:
        bound = 0
    if bound != port:
        print(f"port {port} of {ip} is taken", file=sys.stderr, flush=True)
        sys.exit(ADDRESS_IN_USE)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a process's main coroutine, on uvloop where there is one: it takes a third off the
    latency of a graph."""
    forgive_output()
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def run_until_stopped() -> None:
    """Wait for SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
