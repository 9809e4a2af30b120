"""Replication of a stateful node: no output leaves before the backup holds what it depends on.

The primary computes the next batch while the one before is on its way to the backup (pipelined
output commit, as HAMS does it, DSN 2020). The backup keeps outputs and states in memory and
answers at once; its model takes the states over meanwhile.
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

from earg.channel import open_channel
from earg.journal import Journal
from earg.lane_client import LaneClient
from earg.model_link import ModelError, ModelLink
from earg.protos import hogar_pb2
from earg.proxy_figures import ReplicationFigures

log = logging.getLogger(__name__)

PIPELINE = 8
"""Batches that may be computed before the first of them is committed."""

BACKUP_PATIENCE = 10.0
"""Seconds that a primary holds outputs back for a backup that does not answer. The agent, which
sees it die, takes it away long before; this is for when there is no agent either."""


NO_BACKUP = "this is no backup"
"""What a proxy refuses a state with that is a primary itself."""


class ReplicationError(RuntimeError):
    """A backup that cannot be one."""


@dataclass(slots=True)
class _Commit:
    epoch: int
    whole: bool
    outputs: list[hogar_pb2.Request]
    states: Sequence[hogar_pb2.State]
    # What is to be sent on once the backup has it; a snapshot's outputs were sent before.
    forward: list[hogar_pb2.Request] = field(default_factory=list)
    computed: float = field(default_factory=time.monotonic)
    done: asyncio.Future[None] | None = None


class Primary:
    """The primary's side: commits batches in order, to the backup where there is one."""

    def __init__(
        self,
        journal: Journal,
        forward: Callable[[list[hogar_pb2.Request]], Awaitable[None]],
        on_successor: Callable[[str], None] | None = None,
    ) -> None:
        self._journal = journal
        self._on_successor = on_successor
        self._forward = forward
        self._queue: asyncio.Queue[_Commit] = asyncio.Queue(PIPELINE)
        # Computed batches that the backup does not hold yet, by their time, oldest first.
        self._pending: deque[float] = deque()
        self._uncommitted: dict[int, hogar_pb2.Request] = {}
        self._finished: list[int] = []
        self._channel: grpc.aio.Channel | None = None
        self._lane: LaneClient | None = None
        self._epoch = 0
        self._sequence = 0

    @property
    def has_backup(self) -> bool:
        """Whether states are wanted from the model."""
        return self._lane is not None

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
        commit = _Commit(self._epoch, False, outputs, states, forward=outputs)
        self._pending.append(commit.computed)
        await self._queue.put(commit)

    def lag(self) -> tuple[float, int]:
        """Seconds since the oldest batch was computed that the backup does not hold yet, and how
        many such batches there are."""
        pending = self._pending
        return (time.monotonic() - pending[0] if pending else 0.0), len(pending)

    def is_uncommitted(self, request_id: int) -> bool:
        """Whether the request is computed, but the backup does not hold it yet."""
        return request_id in self._uncommitted

    async def run(self) -> None:
        """Commit for ever."""
        while True:
            commit = await self._queue.get()
            if self._lane is not None and commit.epoch == self._epoch:
                await self._replicate(commit)
            for output in commit.forward:
                self._uncommitted.pop(output.id, None)
            if commit.forward:
                self._pending.popleft()
                await self._forward(commit.forward)
            if commit.done is not None and not commit.done.done():
                commit.done.set_result(None)

    async def _replicate(self, commit: _Commit) -> None:
        self._sequence += 1
        finished, self._finished = self._finished, []
        message = hogar_pb2.RelayRequest(
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
        while (lane := self._lane) is not None and commit.epoch == self._epoch:
            try:
                answer = await lane.exchange(message)
                refused = (
                    "it is an original"
                    if answer is None
                    else (hogar_pb2.RelayReply.FromString(answer).refused)
                )
                if not refused:
                    return
                if refused == NO_BACKUP and self._on_successor is not None:
                    self._on_successor("its backup has taken its place")
                log.error("the backup refuses a state: %s", refused)
            except (grpc.aio.AioRpcError, OSError, DecodeError) as error:
                lane.close()
                if time.monotonic() < give_up:
                    await asyncio.sleep(0.02)
                    continue
                log.error("the backup does not answer: %s", error)
            if commit.done is not None and not commit.done.done():
                commit.done.set_exception(ReplicationError("the backup did not take the state"))
            await self.drop_backup()

    async def drop_backup(self) -> None:
        """Go on without one."""
        self._lane, lane = None, self._lane
        self._channel, channel = None, self._channel
        self._finished.clear()
        if lane is not None:
            lane.close()
        if channel is not None:
            await channel.close()

    async def set_backup(
        self, address: str, epoch: int, states: Sequence[hogar_pb2.State]
    ) -> asyncio.Future[None]:
        """Replicate to ``address`` from now on, beginning with the whole state; the future is done
        when the backup has it. No batch may be under way in the model meanwhile."""
        await self.drop_backup()
        self._channel = open_channel(address)
        self._lane = LaneClient(self._channel, address.rpartition(":")[0], 1.0)
        self._epoch, self._sequence = epoch, 0
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The state holds what these have changed, so the backup must know that they were computed.
        outputs = [*self._journal.outputs(), *self._uncommitted.values()]
        await self._queue.put(_Commit(epoch, True, outputs, states, done=done))
        return done

    async def close(self) -> None:
        """Close the lane to the backup."""
        await self.drop_backup()


class Backup:
    """The backup's side: keeps what it is told, and lets its model follow."""

    def __init__(self, journal: Journal, model: ModelLink) -> None:
        self._journal = journal
        self._model = model
        self._epoch: int | None = None
        self._sequence = 0
        self._pending: list[hogar_pb2.State] = []
        self._told = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failure = ""

    def take(self, replica: hogar_pb2.Replica) -> str:
        """Keep a replica; why it is refused, or nothing."""
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
