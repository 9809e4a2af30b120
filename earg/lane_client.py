"""Finds a peer's lane and keeps it open, or finds that the peer is an original without one."""

from __future__ import annotations

import grpc
import grpc.aio

from earg.answered import answered
from earg.lane import Lane
from earg.model_usage import pid_namespace
from earg.protos import hogar_pb2, hogar_pb2_grpc


class LaneClient:
    """The lane to the peer behind ``channel`` at ``ip``; opened on use, and again after a break."""

    def __init__(self, channel: grpc.aio.Channel, ip: str, timeout: float) -> None:
        self._stub = hogar_pb2_grpc.LaneStub(channel)
        self._ip = ip
        self._timeout = timeout
        self._lane: Lane | None = None
        self._is_original = False
        self.peer_pid = 0
        """The peer's process as it told when its lane was opened last; 0 before, and where it is
        in another PID namespace: there its pid means another process."""

    async def exchange(self, message: bytes) -> bytes | None:
        """The answer to one frame, or None where the peer is an original and has no lane.

        Raises ``grpc.aio.AioRpcError`` and OSError where the peer does not answer.
        """
        if self._is_original:
            return None
        if self._lane is None or self._lane.closed:
            try:
                call = self._stub.Open(hogar_pb2.LaneRequest(), timeout=self._timeout)
                reply = await answered(call)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    self._is_original = True
                    return None
                raise
            self._lane = await Lane.connect(self._ip, reply.port)
            self.peer_pid = reply.pid if reply.pid_namespace == pid_namespace() else 0
        return await self._lane.exchange(message)

    def close(self) -> None:
        """Close the lane; the next exchange opens another."""
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.close()
