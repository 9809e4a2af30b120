"""The agent's heartbeat: finds processes that live but do not answer, and ends them.

A process that ended is known at once, since its parent is told. One that hangs has to be asked: a
proxy or frontend with an empty frame on a lane of its own, which its event loop answers at once;
one without a lane (an original) with EARG's ``ping``; a model with ``Ping``, which threads of its
own answer while it computes. Silence alone proves nothing on a machine with too much to do, so a
silent process is ended soon only where it does nothing either: no thread of it runs, or waits to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from earg.answered import answered
from earg.channel import open_channel
from earg.child import Child
from earg.lane_client import LaneClient
from earg.protos import model_pb2, model_pb2_grpc, prediction_pb2, prediction_pb2_grpc

log = logging.getLogger(__name__)

LOOK_INTERVAL = 0.125
"""Seconds between looks at who has answered."""

SILENT_LOOKS = 6
"""Looks without an answer (0.75 s) after which a process that does nothing is hung. A look counts
once however late it comes: an agent that had no time itself has not seen silence."""

FIRST_LOOKS = 24
"""The same (3 s) for one that has come up, but whose first beat is still to be answered: a lane has
to be opened for that, which takes its time on a machine with too much to do."""

QUIET_LOOKS = 3
"""Looks in a row without a sign of life that make a process one that does nothing."""

BUSY_LOOKS = 40
"""Further looks (5 s) that a proxy or frontend may be silent while it computes."""

LANE_INTERVAL, CALL_INTERVAL, ORIGINAL_INTERVAL = 0.2, 0.25, 0.5
"""Seconds from an answer to the next beat: on a lane, to a model, to an original proxy."""

CALL_TIMEOUT = 5.0
"""Seconds until a beat that was not answered is sent again."""

KNOCK_INTERVAL, KNOCK_PATIENCE = 5.0, 10.0
"""Seconds between new connections to a proxy or frontend, and until one must be answered. Lanes
that are open say nothing of a listener that was lost."""

BUSY_TICKS = 2
"""Clock ticks of CPU time (10 ms each) that are a sign of life; threads that idle use one now and
then."""

# How long an attempt to connect may take: on a machine with too much to do it is no short time.
_PATIENT = ("grpc.min_reconnect_backoff_ms", 5000)


@dataclass(frozen=True, slots=True)
class Watched:
    """A process to be watched, where it listens, and whether it is a model."""

    child: Child
    ip: str
    port: int
    is_model: bool


class Heartbeat:
    """Looks after processes; :meth:`look` is to be called every :data:`LOOK_INTERVAL` seconds."""

    def __init__(self) -> None:
        self._pulses: dict[int, _Pulse] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._looked = time.monotonic()

    async def look(self, watched: Iterable[Watched]) -> None:
        """End those of ``watched`` that hang; their causes are in :meth:`Child.describe_exit`."""
        late = time.monotonic() - self._looked > 2 * LOOK_INTERVAL
        if late:
            # Answers may have come while this process did not run: let them be read first.
            await asyncio.sleep(LOOK_INTERVAL / 2)
        self._looked = time.monotonic()
        now = {one.child.pid: one for one in watched if not one.child.stopping}
        for pid in [pid for pid in self._pulses if pid not in now]:
            self._close(self._pulses.pop(pid))
        for pid, one in now.items():
            pulse = self._pulses.get(pid)
            if pulse is None or pulse.watched.child is not one.child:
                if pulse is not None:
                    self._close(pulse)
                pulse = self._pulses[pid] = _Pulse(one)
            cause = pulse.look()
            if cause and one.child.running:
                log.error("pid %d is ended: %s", pid, cause)
                one.child.end(cause)

    def _close(self, pulse: _Pulse) -> None:
        task = asyncio.get_running_loop().create_task(pulse.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Let go of all."""
        for pulse in self._pulses.values():
            self._close(pulse)
        self._pulses.clear()
        await asyncio.gather(*self._closing)


class _Pulse:
    """One process's beats, and what was seen of it since the last answer."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self._channel = open_channel(f"{watched.ip}:{watched.port}", _PATIENT)
        self._ping_model = model_pb2_grpc.PredictServiceStub(self._channel).Ping
        self._ping_proxy = prediction_pb2_grpc.ProxyServerStub(self._channel).ping
        self._lane = LaneClient(self._channel, watched.ip, CALL_TIMEOUT, watched=False)
        self._waits = False
        self._refuses = False
        self._deaf = False
        self._proven = False
        self._silent = 0
        self._quiet = 0
        self._held = 0
        self._ticks = 0
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._beat_for_ever())]
        if not watched.is_model:
            self._tasks.append(loop.create_task(self._knock_for_ever()))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._lane.close()
        await self._channel.close()

    # --- asking -----------------------------------------------------------------------------

    async def _beat_for_ever(self) -> None:
        while True:
            self._waits = True
            try:
                interval = await self._beat()
            except (grpc.aio.AioRpcError, OSError) as error:
                self._lane.close()
                self._refuses = (
                    error.code() is grpc.StatusCode.UNAVAILABLE
                    if isinstance(error, grpc.aio.AioRpcError)
                    else True
                )
                interval = LANE_INTERVAL
            else:
                self._waits = self._refuses = False
                self._proven = self.watched.child.has_answered = True
                self._silent = self._quiet = self._held = 0
            await asyncio.sleep(interval)

    async def _beat(self) -> float:
        """Returns when it is answered, with the seconds to the next one."""
        if self.watched.is_model:
            await answered(self._ping_model(model_pb2.hi(msg="beat"), timeout=CALL_TIMEOUT))
            return CALL_INTERVAL
        if await self._lane.exchange(b"") is not None:
            return LANE_INTERVAL
        try:
            await answered(self._ping_proxy(prediction_pb2.ping_req(), timeout=CALL_TIMEOUT))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
        return ORIGINAL_INTERVAL

    async def _knock_for_ever(self) -> None:
        failing_since: float | None = None
        while True:
            await asyncio.sleep(KNOCK_INTERVAL if failing_since is None else LANE_INTERVAL)
            began = time.monotonic()
            knock = LaneClient(self._channel, self.watched.ip, KNOCK_PATIENCE, watched=False)
            try:
                async with asyncio.timeout(KNOCK_PATIENCE):
                    await knock.exchange(b"")
                failing_since = None
            except (grpc.aio.AioRpcError, OSError):
                failing_since = failing_since or began
                self._deaf = time.monotonic() - failing_since >= KNOCK_PATIENCE
            finally:
                knock.close()

    # --- looking ----------------------------------------------------------------------------

    def look(self) -> str:
        """Why the process is to be ended; empty where it is not."""
        if self._deaf:
            return f"it takes no new connections since {KNOCK_PATIENCE:.0f} s"
        if not self._waits:
            return ""
        self._silent += 1
        if self._silent < SILENT_LOOKS - QUIET_LOOKS:
            return ""
        ticks, states = signs_of_life(self.watched.child.pid)
        self._held = self._held + 1 if "T" in states else 0
        if self._held >= 2:
            return "a signal holds it (state T)"
        if self._silent == SILENT_LOOKS - QUIET_LOOKS:
            self._ticks = ticks
            return ""
        if ticks - self._ticks >= BUSY_TICKS or states & {"R", "D"}:
            self._quiet = 0
            self._ticks = ticks
        else:
            self._quiet += 1
        return self._judge()

    def _judge(self) -> str:
        child = self.watched.child
        if not child.has_answered and not child.adopted:
            # It starts; whoever started it waits for it.
            return ""
        limit = SILENT_LOOKS if self._proven else FIRST_LOOKS
        if not child.has_answered:
            limit = SILENT_LOOKS + BUSY_LOOKS
        if self._silent < limit:
            return ""
        what = f"it has not answered for {self._silent * LOOK_INTERVAL:.2f} s"
        if self._quiet >= QUIET_LOOKS:
            return f"{what} and uses no CPU: it hangs or cannot be reached"
        if self._silent < SILENT_LOOKS + BUSY_LOOKS:
            return ""
        if self._refuses and (child.has_answered or not self.watched.is_model):
            return f"{what}: connections to it fail, though it runs"
        # A model may hold the interpreter for minutes, as long as it computes.
        return "" if self.watched.is_model else f"{what}, though it uses CPU: it hangs"


def signs_of_life(pid: int) -> tuple[int, set[str]]:
    """The clock ticks that a process has computed (user and system), and its threads' states
    (proc(5)): R runs or waits for a CPU, D waits for a disk, S sleeps, T is held by a signal.

    (0, empty) where it is gone.
    """
    ticks = 0
    states = set()
    folder = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        fields = _fields(folder)
        ticks = int(fields[11]) + int(fields[12])
        states.add(fields[0])
        for thread in (folder / "task").iterdir():
            states.add(_fields(thread)[0])
    return ticks, states


def _fields(folder: Path) -> list[str]:
    # The command's name, before the last ')', may hold anything.
    text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()
