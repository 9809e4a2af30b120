"""Replication of a stateful node: no output leaves before the backup holds what it depends on.

The primary computes the next batch while the one before is on its way to the backup (pipelined
output commit, as HAMS does it, DSN 2020). The backup keeps outputs and states in memory and
answers at once; its model takes the states over meanwhile. What keeps two primaries from answering
is told in :mod:`earg.lease`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from earg.answered import answered
from earg.channel import open_channel
from earg.journal import Journal
from earg.lane_client import LaneClient
from earg.lease import Grant, Lease
from earg.model_link import ModelError, ModelLink
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.proxy_figures import ReplicationFigures

log = logging.getLogger(__name__)

PIPELINE = 8
"""Batches that may be computed before the first of them is committed."""

BACKUP_PATIENCE = 10.0
"""Seconds that a primary holds outputs back for a backup that does not answer, where it may drop it
by itself. The agent, which sees it die, takes it away long before; this is for when there is no
agent either. A primary with a lease waits for ever."""

PROBE_INTERVAL, PROBE_TIMEOUT = 0.5, 1.0
"""Seconds between questions to the backup of a primary with a lease, and for an answer."""

NO_BACKUP = "this is no backup"
"""What a proxy refuses a state with that is a primary itself."""


SUCCEEDED = "its backup has taken its place"


class ReplicationError(RuntimeError):
    """A backup that cannot be one."""


@dataclass(slots=True, eq=False)
class _Commit:
    epoch: int
    whole: bool
    outputs: list[hogar_pb2.Request]
    states: Sequence[hogar_pb2.State]
    # What is to be sent on once the backup has it; a snapshot's outputs were sent before, or are
    # those of the commits before it.
    forward: list[hogar_pb2.Request] = field(default_factory=list)
    computed: float = field(default_factory=time.monotonic)
    done: asyncio.Future[None] | None = None
    message: bytes = b""

    def end(self, error: str = "") -> None:
        """Tell whoever waits for it."""
        if self.done is not None and not self.done.done():
            if error:
                self.done.set_exception(ReplicationError(error))
            else:
                self.done.set_result(None)


class Primary:
    """The primary's side: commits batches in order, to the backup where there is one.

    With a ``lease`` it keeps to the rules of :mod:`earg.lease`: without a backup it needs that,
    unless ``may_be_alone`` is set and no lease was ever given, and it never drops its backup.
    """

    def __init__(
        self,
        journal: Journal,
        forward: Callable[[list[hogar_pb2.Request]], Awaitable[None]],
        on_successor: Callable[[str], None] | None = None,
        lease: Lease | None = None,
        *,
        epoch: int = 0,
        may_be_alone: bool = False,
    ) -> None:
        self._journal = journal
        self._on_successor = on_successor
        self._forward = forward
        self._lease = lease
        self._may_be_alone = may_be_alone
        # In the order in which they were computed, oldest first.
        self._commits: deque[_Commit] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._uncommitted: dict[int, hogar_pb2.Request] = {}
        self._finished: list[int] = []
        self._channel: grpc.aio.Channel | None = None
        self._lane: LaneClient | None = None
        self._probe: asyncio.Task[None] | None = None
        self._epoch = epoch
        self._sequence = 0
        self._changing = 0
        self._ended = False
        self._synced = False
        self._answered = 0.0
        self._refused = ""

    @property
    def has_backup(self) -> bool:
        """Whether states are wanted from the model."""
        return self._lane is not None

    @property
    def holds_back(self) -> bool:
        """Whether outputs go through :meth:`commit`, and not straight on."""
        return self._lane is not None or self._lease is not None

    @property
    def epoch(self) -> int:
        """Of what it does now."""
        return self._epoch

    @property
    def synced(self) -> bool:
        """Whether its backup has the whole state."""
        return self._lane is not None and self._synced

    @property
    def refused(self) -> str:
        """Why its backup takes no states; empty where it does."""
        return self._refused

    @property
    def backup_silent(self) -> float:
        """Seconds since its backup has answered; 0 where it has none, or one that answers."""
        silent = time.monotonic() - self._answered
        return silent if self._lane is not None and silent > 2 * PROBE_INTERVAL else 0.0

    def figures(self) -> ReplicationFigures:
        """How far the backup is behind now."""
        seconds, _ = self.lag()
        return ReplicationFigures(self.has_backup, len(self._uncommitted), seconds)

    def finish(self, request_ids: Sequence[int]) -> None:
        """Tell the backup, with the next commit, which requests are answered."""
        if self._lane is not None:
            self._finished.extend(request_ids)

    async def commit(
        self, outputs: list[hogar_pb2.Request], states: Sequence[hogar_pb2.State]
    ) -> None:
        """Queue a computed batch; waits while too many are on their way."""
        for output in outputs:
            self._uncommitted[output.id] = output
        self._add(_Commit(self._epoch, False, outputs, states, forward=outputs))
        # One that gets another backup gives its model's state first, so the model must be let go.
        while len(self._commits) >= PIPELINE and not self._changing:
            self._room.clear()
            await self._room.wait()

    def _add(self, commit: _Commit) -> None:
        self._commits.append(commit)
        self._changed.set()

    def lag(self) -> tuple[float, int]:
        """Seconds since the oldest batch was computed that is held back, and how many such batches
        there are."""
        held = [commit.computed for commit in self._commits if commit.forward]
        return (time.monotonic() - held[0] if held else 0.0), len(held)

    def is_uncommitted(self, request_id: int) -> bool:
        """Whether the request is computed, but its output held back."""
        return request_id in self._uncommitted

    # --- sending on -------------------------------------------------------------------------

    def may_send(self) -> bool:
        """Whether what was handed on may still leave: a lease may have run out meanwhile."""
        if self._ended:
            return False
        return self.synced or self._lease is None or self._is_leased(self._lease)

    def _is_leased(self, lease: Lease) -> bool:
        return lease.holds(self._epoch) or (self._may_be_alone and lease.age < 0)

    async def run(self) -> None:
        """Commit for ever."""
        while True:
            self._changed.clear()
            if not await self._step():
                await self._changed.wait()

    async def _step(self) -> bool:
        """Send on what may be; False where something has to change first."""
        if not self._commits or self._changing or self._ended:
            return False
        lane = self._lane
        if lane is None:
            if self._lease is not None and not self._is_leased(self._lease):
                return False
            await self._release(self._commits[0])
            return True
        # Those of an epoch before are in the whole state that comes first of this one.
        commit = next((one for one in self._commits if one.epoch == self._epoch), None)
        if commit is None or not await self._replicate(lane, commit):
            return False
        if self._epoch == commit.epoch and self._lane is lane:
            self._synced = True
            await self._release(commit)
        return True

    async def _release(self, last: _Commit) -> None:
        """Send on everything up to ``last``."""
        while self._commits:
            commit = self._commits.popleft()
            for output in commit.forward:
                self._uncommitted.pop(output.id, None)
            if commit.forward:
                await self._forward(commit.forward)
            commit.end()
            self._room.set()
            if commit is last:
                return

    async def _replicate(self, lane: LaneClient, commit: _Commit) -> bool:
        """Give it to the backup; False where it is refused for as long as nothing changes."""
        if not commit.message:
            self._sequence += 1
            finished, self._finished = self._finished, []
            commit.message = hogar_pb2.RelayRequest(
                finished=finished,
                replica=hogar_pb2.Replica(
                    epoch=commit.epoch,
                    sequence=self._sequence,
                    whole=commit.whole,
                    outputs=commit.outputs,
                    states=commit.states,
                ),
            ).SerializeToString()
        give_up = time.monotonic() + BACKUP_PATIENCE
        while self._lane is lane and commit.epoch == self._epoch:
            try:
                answer = await lane.exchange(commit.message)
                refused = (
                    "it is an original"
                    if answer is None
                    else (hogar_pb2.RelayReply.FromString(answer).refused)
                )
                self._answered = time.monotonic()
                if not refused:
                    return True
                if self._lane is not lane:
                    break
                if refused == NO_BACKUP and self._on_successor is not None:
                    self._on_successor(SUCCEEDED)
                log.error("the backup refuses a state: %s", refused)
            except (grpc.aio.AioRpcError, OSError, DecodeError) as error:
                lane.close()
                if self._lease is not None or time.monotonic() < give_up:
                    await asyncio.sleep(0.02)
                    continue
                log.error("the backup does not answer: %s", error)
                refused = "it does not answer"
            if self._lane is not lane:
                break
            commit.end("the backup did not take the state")
            if self._lease is not None:
                # Whoever wires is told, and takes it away.
                self._refused = refused
                return False
            await self.drop_backup(self._epoch)
        return True

    # --- what the wiring says ---------------------------------------------------------------

    def grant(self, grant: Grant) -> bool:
        """Take a lease; whether it holds."""
        if self._lease is None or self._ended or self._lane is not None:
            return False
        holds = self._lease.take(grant, self._epoch)
        self._changed.set()
        return holds

    def end(self) -> None:
        """Send nothing on any more."""
        self._ended = True

    def begin_change(self, epoch: int) -> None:
        """It gets another backup: hold everything back, and let the model go meanwhile. Each call
        is to be followed by one of :meth:`end_change`."""
        self._changing += 1
        if self._lane is not None:
            self._let_go(epoch)
        self._changed.set()
        self._room.set()

    def end_change(self) -> None:
        """It has got it, or not."""
        self._changing -= 1
        self._changed.set()

    async def drop_backup(self, epoch: int) -> None:
        """Go on without one, in ``epoch``."""
        channel = self._let_go(epoch)
        if channel is not None:
            await channel.close()

    def _let_go(self, epoch: int) -> grpc.aio.Channel | None:
        self._epoch = epoch
        self._lane, lane = None, self._lane
        self._channel, channel = None, self._channel
        self._probe, probe = None, self._probe
        self._finished.clear()
        self._synced, self._refused = False, ""
        for commit in self._commits:
            commit.end("it was taken away")
        if probe is not None:
            probe.cancel()
        if lane is not None:
            lane.close()
        self._changed.set()
        return channel

    async def set_backup(
        self, address: str, epoch: int, states: Sequence[hogar_pb2.State]
    ) -> asyncio.Future[None]:
        """Replicate to ``address`` from now on, beginning with the whole state; the future is done
        when the backup has it. No batch may be under way in the model meanwhile."""
        await self.drop_backup(epoch)
        self._channel = open_channel(address)
        self._lane = LaneClient(self._channel, address.rpartition(":")[0], 1.0)
        self._sequence = 0
        self._answered = time.monotonic()
        if self._lease is not None:
            self._probe = asyncio.get_running_loop().create_task(self._ask(self._channel))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The state holds what these have changed, so the backup must know that they were computed,
        # those too that were answered while there was none.
        self._finished = self._journal.finished()
        outputs = [*self._journal.outputs(), *self._uncommitted.values()]
        self._add(_Commit(epoch, True, outputs, states, done=done))
        return done

    async def _ask(self, channel: grpc.aio.Channel) -> None:
        """Know whether the backup answers, and is one, also while there is nothing to replicate."""
        ask = hogar_pb2_grpc.ControlStub(channel).Lease
        while True:
            try:
                reply = await answered(ask(hogar_pb2.LeaseRequest(), timeout=PROBE_TIMEOUT))
                self._answered = time.monotonic()
            except (grpc.aio.AioRpcError, OSError):
                pass
            else:
                if reply.has_graph and reply.is_primary and self._on_successor is not None:
                    self._on_successor(SUCCEEDED)
            await asyncio.sleep(PROBE_INTERVAL)

    async def close(self) -> None:
        """Close the lane to the backup."""
        await self.drop_backup(self._epoch)


async def reach(address: str) -> None:
    """Wait until the proxy at ``address`` answers; raises :class:`ReplicationError`."""
    patient = ("grpc.min_reconnect_backoff_ms", int(1000 * PROBE_TIMEOUT))
    async with open_channel(address, patient) as channel:
        lane = LaneClient(channel, address.rpartition(":")[0], PROBE_TIMEOUT, watched=False)
        try:
            async with asyncio.timeout(2 * PROBE_TIMEOUT):
                await lane.exchange(b"")
        except (grpc.aio.AioRpcError, OSError) as error:
            raise ReplicationError(f"{address} cannot be reached: {error}") from None
        finally:
            lane.close()


class Backup:
    """The backup's side: keeps what it is told, and lets its model follow. One that is ``fenced``
    takes nothing but what it is told to expect."""

    def __init__(self, journal: Journal, model: ModelLink, *, fenced: bool = False) -> None:
        self._journal = journal
        self._fenced = fenced
        self.expected: int | None = None
        self._model = model
        self._epoch: int | None = None
        self._sequence = 0
        self._pending: list[hogar_pb2.State] = []
        self._told = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failure = ""

    @property
    def epoch(self) -> int | None:
        """Of the state that it holds; None where it holds none, or cannot follow."""
        return None if self._failure else self._epoch

    def take(self, replica: hogar_pb2.Replica) -> str:
        """Keep a replica; why it is refused, or nothing."""
        if self._fenced and replica.epoch != self.expected:
            return f"this backup expects epoch {self.expected}, not {replica.epoch}"
        if replica.whole:
            self._epoch, self._sequence = replica.epoch, 0
            self._failure = ""
        elif replica.epoch != self._epoch:
            return f"this backup has epoch {self._epoch}, not {replica.epoch}"
        if self._failure:
            return self._failure
        if replica.sequence <= self._sequence:
            return ""
        self._sequence = replica.sequence
        self._journal.adopt(replica.outputs)
        for state in replica.states:
            if not state.is_change:
                self._pending.clear()
            self._pending.append(state)
        if self._pending:
            self._idle.clear()
            self._told.set()
        return ""

    async def run(self) -> None:
        """Let the model take over what comes, for ever."""
        while True:
            await self._told.wait()
            self._told.clear()
            states, self._pending = self._pending, []
            try:
                await self._model.apply(states)
            except ModelError as error:
                log.error("the backup's model did not follow: %s", error)
                self._failure = str(error)
            if not self._pending:
                self._idle.set()

    async def catch_up(self) -> None:
        """Wait until the model has the last state; raises :class:`ReplicationError`."""
        if self._epoch is None:
            raise ReplicationError("this backup has never had a state")
        await self._idle.wait()
        if self._failure:
            raise ReplicationError(self._failure)
