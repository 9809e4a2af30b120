"""Finds a peer's lane and keeps it open, or finds that the peer is an original without one."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

from earg.answered import answered
from earg.lane import Lane, LaneClosedError
from earg.model_usage import pid_namespace
from earg.protos import hogar_pb2, hogar_pb2_grpc

PROBES, PROBE_TIMEOUT, PROBE_PAUSE = 2, 1.0, 0.2
"""A peer that leaves a frame unanswered is asked so often, waiting so many seconds for each answer
and between them."""


class LaneClient:
    """The lane to the peer behind ``channel`` at ``ip``; opened on use, and again after a break.

    A peer may hold a frame back for as long as it likes. One that leaves a frame unanswered and
    does not answer gRPC either is gone: where the lane is ``watched`` it is closed then, the
    exchange fails, and its sender can try again.
    """

    def __init__(
        self, channel: grpc.aio.Channel, ip: str, timeout: float, *, watched: bool = True
    ) -> None:
        self._stub = hogar_pb2_grpc.LaneStub(channel)
        self._ip = ip
        self._timeout = timeout
        self._watched = watched
        self._lane: Lane | None = None
        # A model serves one lane at a time: a second one that is opened at once would never be.
        self._opening = asyncio.Lock()
        self._asking: asyncio.Task[None] | None = None
        self._is_original = False
        self.peer_pid = 0
        """The peer's process as it told when its lane was opened last; 0 before, and where it is
        in another PID namespace: there its pid means another process."""

    @property
    def is_broken(self) -> bool:
        """Whether the lane that was open last has ended, and not by :meth:`close`."""
        return self._lane is not None and self._lane.closed

    async def exchange(self, message: bytes) -> bytes | None:
        """The answer to one frame, or None where the peer is an original and has no lane.

        Raises ``grpc.aio.AioRpcError`` and OSError where the peer does not answer.
        """
        if self._is_original:
            return None
        lane = self._lane
        if lane is None or lane.closed:
            async with self._opening:
                lane = self._lane
                if lane is None or lane.closed:
                    lane = await self._open()
        return None if lane is None else await lane.exchange(message)

    async def _open(self) -> Lane | None:
        try:
            call = self._stub.Open(hogar_pb2.LaneRequest(), timeout=self._timeout)
            reply = await answered(call)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                self._is_original = True
                return None
            raise
        try:
            async with asyncio.timeout(self._timeout):
                lane = self._lane = await Lane.connect(self._ip, reply.port)
        except TimeoutError:
            raise LaneClosedError(f"no connection within {self._timeout:g} s") from None
        if self._watched:
            port = reply.port
            lane.watch(lambda: self._suspect(lane, port))
        self.peer_pid = reply.pid if reply.pid_namespace == pid_namespace() else 0
        return lane

    def _suspect(self, lane: Lane, port: int) -> None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask(lane, port))

    async def _ask(self, lane: Lane, port: int) -> None:
        """Close ``lane`` unless the peer is there and its lane is still at ``port``."""
        for probe in range(PROBES):
            if probe:
                await asyncio.sleep(PROBE_PAUSE)
            try:
                call = self._stub.Open(hogar_pb2.LaneRequest(), timeout=PROBE_TIMEOUT)
                reply = await answered(call)
            except (grpc.aio.AioRpcError, OSError):
                continue
            if reply.port == port:
                return
            break
        lane.close()

    def close(self) -> None:
        """Close the lane; the next exchange opens another."""
        if self._asking is not None:
            self._asking.cancel()
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.close()
