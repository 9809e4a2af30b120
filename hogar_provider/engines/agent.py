"""The process of an engine's agent: apart from Airflow, supervised, started by who needs it.

``python -m hogar_provider.engines.agent --engine NAME --home FOLDER`` takes the engine's settings
on standard input, so that no secret stands in a file or in a list of processes. It becomes a
supervisor in the background that keeps them in memory and runs the agent itself as its child; a
child that was killed is started again with them. Graphs do not depend on either: they serve on, but
nothing that dies is mended meanwhile.

Nothing here imports Airflow: an agent lives for weeks beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

from earg.environment import process_environment
from earg.home import Home, HomeError, find_home, replace_file
from earg.process import settle_security
from earg.security import TOKEN_FILE
from hogar_provider.engines.token import NAME as TOKEN

log = logging.getLogger(__name__)

MODULE = "hogar_provider.engines.agent"

SERVERS = {
    "docker": "hogar_provider.engines.docker_agent",
    "kubernetes": "hogar_provider.engines.kubernetes_agent",
}
"""By engine the module whose ``async serve(home, settings, idle_end)`` is the agent: it returns
when it was told to end (SIGTERM, the call ``Shutdown``), or after ``idle_end`` seconds without a
graph. Its ``read_settings(text)`` raises ValueError for settings that cannot be used."""

IDLE_END = 60.0
"""Seconds without a deployed graph and without a call after which an agent ends by itself."""

MOST_SETTINGS = 1024 * 1024
"""Bytes of settings that are read."""

STOP_PATIENCE = 15.0
"""Seconds that an agent may take to end before it is killed."""

LONGEST_PAUSE = 5.0
"""Seconds between two starts of an agent that ends again and again."""


def digest_of(settings: str, salt: str) -> str:
    """By which an agent is known to have these settings."""
    return hashlib.blake2b(settings.encode(), key=bytes.fromhex(salt), digest_size=16).hexdigest()


def marker_of(home: Home) -> tuple[str, int, str, str]:
    """What the supervisor has left in its home: engine, its pid, salt and digest of its settings;
    empty and 0 where there is none."""
    try:
        parts = home.engine_file.read_text(encoding="utf-8").split("\n")
        return parts[0], int(parts[1]), parts[2], parts[3]
    except (OSError, ValueError, IndexError):
        return "", 0, "", ""


def _write_marker(home: Home, engine: str, settings: str) -> None:
    salt = os.urandom(16).hex()
    parts = (engine, str(os.getpid()), salt, digest_of(settings, salt), "")
    replace_file(home.engine_file, "\n".join(parts))


class _Supervisor:
    """Runs the agent as a child until that ends by itself or this is told to end."""

    def __init__(self, home: Home, engine: str, settings: str, lock: TextIO) -> None:
        self._command = [sys.executable, "-P", "-m", MODULE, "--serve"]
        self._command += ["--engine", engine, "--home", str(home.path)]
        self._settings = settings.encode()
        self._lock = lock
        self._child: subprocess.Popen[bytes] | None = None
        self._ending = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)

    def _end(self, number: int, frame: object) -> None:
        self._ending = True
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def run(self) -> int:
        """Exit code: the agent's own where it ended by itself."""
        pause = 0.1
        while not self._ending:
            begin = time.monotonic()
            code = self._run_once()
            if code == 0 or self._ending:
                return max(code, 0)
            if time.monotonic() - begin > 60:
                pause = 0.1
            log.error("the agent ended with %d; it is started again", code)
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)
        return 0

    def _run_once(self) -> int:
        # The child holds the lock, too: were the supervisor killed, no second agent may start.
        self._child = child = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, pass_fds=[self._lock.fileno()]
        )
        assert child.stdin is not None
        try:
            with child.stdin as pipe:
                pipe.write(self._settings)
        except BrokenPipeError:
            pass
        while True:
            try:
                return child.wait(STOP_PATIENCE if self._ending else 1.0)
            except subprocess.TimeoutExpired:
                if self._ending:
                    child.kill()


def _supervise(home: Home, engine: str, settings: str, detach: bool) -> int:
    if detach:
        if os.fork() > 0:
            os._exit(0)
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
    from earg.agent import take_lock

    lock = take_lock(home)
    if lock is None:
        print(f"an agent runs in {home.path} already", file=sys.stderr)
        return 0
    with lock:
        _write_marker(home, engine, settings)
        return _Supervisor(home, engine, settings, lock).run()


def main(arguments: list[str] | None = None) -> int:
    """Run an engine's agent; exit code 0, also where one runs already."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--engine", choices=sorted(SERVERS), required=True)
    parser.add_argument("--home", type=Path, required=True, help="the agent's folder")
    parser.add_argument("--foreground", action="store_true", help="do not detach")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    settings = sys.stdin.buffer.read(MOST_SETTINGS + 1)
    if len(settings) > MOST_SETTINGS:
        print(f"settings of more than {MOST_SETTINGS} bytes", file=sys.stderr)
        return 1
    home = find_home(options.home)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if options.serve:
        token = home.path / TOKEN
        if token.exists():
            os.environ[TOKEN_FILE] = str(token)
        settle_security()
        server = importlib.import_module(SERVERS[options.engine])
        asyncio.run(server.serve(home, settings.decode(), IDLE_END))
        return 0
    try:
        home.prepare()
        importlib.import_module(SERVERS[options.engine]).read_settings(settings.decode())
    except (HomeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return _supervise(home, options.engine, settings.decode(), not options.foreground)


def agent_environment() -> dict[str, str]:
    """What the process of an agent finds in its environment."""
    return process_environment(telemetry=True)


if __name__ == "__main__":
    sys.exit(main())
