"""What every process of the runtime does alike: bind its port, and stop when told."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import grpc
import grpc.aio

from earg.channel import add_port
from earg.output import forgive_output
from earg.security import Security, SecurityError, security
from earg.settings import SettingError

ADDRESS_IN_USE = 98
"""Exit code of a process whose port is taken (Linux's EADDRINUSE): start it on another address."""

INSECURE = 78
"""Exit code of a process that would be open to others, or whose settings are wrong (sysexits.h:
EX_CONFIG): another start will not help."""


def settle_security(**addresses: str) -> Security:
    """The security that the environment sets, where a server may listen on ``addresses`` (by the
    variable that names each) with it; else the process ends with :data:`INSECURE` and the sentence
    that says what to set."""
    try:
        found = security()
        for what, ip in addresses.items():
            found.admit_listening(ip, what)
    except SecurityError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(INSECURE)
    return found


def bind(server: grpc.Server | grpc.aio.Server, ip: str, port: int) -> None:
    """Bind ``server`` to one address; a port that is taken ends the process with
    :data:`ADDRESS_IN_USE`, so that whoever started it can try another address, and an address
    that others reach with nothing to keep them out with :data:`INSECURE`."""
    settle_security(LISTEN_IP=ip)
    try:
        bound = add_port(server, ip, port)
    except RuntimeError:
        bound = 0
    if bound != port:
        print(f"port {port} of {ip} is taken", file=sys.stderr, flush=True)
        sys.exit(ADDRESS_IN_USE)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a process's main coroutine, on uvloop where there is one: it takes a third off the
    latency of a graph. A setting that is wrong ends the process with :data:`INSECURE`."""
    forgive_output()
    try:
        import uvloop
    except ImportError:
        runner = asyncio.run
    else:
        runner = uvloop.run
    try:
        runner(main)
    except SettingError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(INSECURE)


async def run_until_stopped() -> None:
    """Wait for SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
