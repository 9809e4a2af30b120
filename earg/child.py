"""One process that the agent owns: started in its own group, watched, stopped TERM then KILL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from earg.ledger import ProcessRecord, is_alive, started_at
from earg.start_mark import VARIABLE, new_mark

STOP_GRACE = 5.0
"""Seconds between TERM and KILL."""

LOG_TAIL_BYTES = 64 * 1024
"""How far from its end a log is read."""


class LogError(RuntimeError):
    """A process's log that cannot be opened; the message says which and why."""


class Child:
    """A running process. Its output goes to ``log``; the log of the run before is kept as
    ``<log>.1``. ``on_exit`` is called once, when it ends by itself or is stopped. ``adopted`` tells
    that an agent before this one has started it, ``has_answered`` that it has come up,
    ``log_trouble`` why it runs without a log."""

    def __init__(
        self,
        pid: int,
        log: Path,
        on_exit: Callable[[Child], None],
        process: asyncio.subprocess.Process | None,
    ) -> None:
        self.pid = pid
        self.log = log
        self.stopping = False
        self.running = True
        self.adopted = False
        self.has_answered = False
        self.log_trouble = ""
        self._process = process
        self._cause = ""
        self._exited = asyncio.get_running_loop().create_task(self._watch(on_exit))

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        on_exit: Callable[[Child], None],
        *,
        home: str = "",
        needs_log: bool = True,
        descriptors: Sequence[int] = (),
    ) -> Child:
        """Start ``command`` in ``folder``; raises OSError where it cannot be, and
        :class:`LogError`. One that does not need its log is started without, where it must.
        It inherits the given open ``descriptors``, by their numbers. With ``home``, the identity of
        the agent's, a later agent of that can tell whose it is; see :mod:`earg.start_mark`."""
        trouble = ""
        try:
            output = _open_log(log)
        except OSError as error:
            trouble = f"{log} cannot be opened: {error.strerror}"
            if needs_log:
                raise LogError(trouble) from None
            output = _open_log(Path(os.devnull))
        with output:
            mark = {VARIABLE: str(new_mark(home))} if home else {}
            process = await asyncio.create_subprocess_exec(
                *command,
                env=dict(environment) | mark,
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=tuple(descriptors),
            )
        child = cls(process.pid, log, on_exit, process)
        child.log_trouble = trouble
        return child

    @classmethod
    def adopt(cls, record: ProcessRecord, on_exit: Callable[[Child], None]) -> Child | None:
        """Own a process that an agent before this one has started; None where it is gone."""
        if not is_alive(record):
            return None
        child = cls(record.pid, Path(record.log), on_exit, None)
        child.adopted = True
        return child

    def record(self) -> ProcessRecord | None:
        """What :meth:`adopt` needs; None where it has ended."""
        start = started_at(self.pid) if self.running else None
        return None if start is None else ProcessRecord(self.pid, start, str(self.log))

    async def _watch(self, on_exit: Callable[[Child], None]) -> None:
        if self._process is not None:
            await self._process.wait()
        else:
            await end_of(self.pid)
        self.running = False
        # What the process itself has started goes with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        on_exit(self)

    @property
    def exit_code(self) -> int | None:
        """Its exit code, below 0 the signal that ended it; None while it runs, and for an adopted
        one, whose exit code only its parent could know."""
        return self._process.returncode if self._process is not None else None

    def describe_exit(self) -> str:
        """How it ended, in words."""
        if self._cause:
            return f"was ended by the agent: {self._cause}"
        code = self.exit_code
        if code is None:
            return "still runs" if self.running else "ended"
        if code < 0:
            try:
                return f"was killed by {signal.Signals(-code).name}"
            except ValueError:
                return f"was killed by signal {-code}"
        return f"ended with exit code {code}"

    async def wait(self) -> None:
        """Wait for its end."""
        await asyncio.shield(self._exited)

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """TERM to its group, KILL after ``grace`` seconds; returns when it is gone."""
        self.stopping = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.running:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            try:
                async with asyncio.timeout(grace):
                    await self.wait()
            except TimeoutError:
                continue
        await self.wait()

    def kill(self) -> None:
        """KILL to its group, at once; it is over when :meth:`wait` returns."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def end(self, cause: str) -> None:
        """KILL to its group, because of what :meth:`describe_exit` then tells."""
        if self.running:
            self._cause = cause
            self.kill()

    def tail(self, lines: int) -> str:
        """The last lines of its log."""
        return log_tail(self.log, lines)


def _open_log(log: Path) -> BinaryIO:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.is_file():
        log.replace(log.with_name(log.name + ".1"))
    return log.open("ab")


async def end_of(pid: int) -> None:
    """Wait for the end of a process that is not a child (pidfd_open(2))."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def log_tail(path: Path, lines: int) -> str:
    """The last lines of a log file, read from its last 64 KiB; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
