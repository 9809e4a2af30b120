"""Sends requests on to one peer, whatever has gathered as one message."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from earg.answered import answered
from earg.channel import open_channel
from earg.lane_client import LaneClient
from earg.payload import to_plain
from earg.plain_sequence import Sent
from earg.protos import hogar_pb2, prediction_pb2, prediction_pb2_grpc

log = logging.getLogger(__name__)

MESSAGE_REQUESTS = 512
"""Most requests in one message."""

MESSAGE_BYTES = 8 * 1024 * 1024
"""A message takes no further request once it holds this many bytes."""

FRONTEND_NAME = "front-end"
"""What originals call the frontend, as one who sends."""

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.1
"""Seconds between attempts to reach a peer that does not answer."""


RECONNECT_AFTER = 2.0
"""Seconds that a connection to a peer that does not answer is kept: TCP tries one that was cut off
again after longer and longer pauses, as long as it was cut off."""


class Sender:
    """A queue of requests and the task that sends them to the proxy or frontend at ``address``.

    A peer answers as soon as it has queued the requests. One that does not answer is tried again
    until ``patience`` seconds have passed; then the requests are dropped, and the frontend's
    deadline answers their clients. ``failed`` tells that the last attempt found no peer.
    ``own_name`` tells an original who sends: a proxy by its PROXY_NAME, the frontend as
    :data:`FRONTEND_NAME`. While ``may_send`` says no, nothing leaves.
    """

    def __init__(
        self,
        source: int,
        own_name: str,
        address: str,
        *,
        to_frontend: bool = False,
        capacity: int = 8192,
        timeout: float = 0.5,
        patience: float = 30.0,
        may_send: Callable[[], bool] | None = None,
    ) -> None:
        self.failed = False
        self._may_send = may_send
        self._source = source
        self._own_name = own_name
        self._to_frontend = to_frontend
        self._timeout = timeout
        self._patience = patience
        # Only where the peer has shown to be an original.
        self._sent: Sent | None = None
        self._released = asyncio.Event()
        self._released.set()
        self._queue: deque[hogar_pb2.Request] = deque()
        self._capacity = capacity
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._finished: deque[int] = deque(maxlen=4 * capacity)
        self._closing: set[asyncio.Task[None]] = set()
        self._connect(address)

    def _connect(self, address: str) -> None:
        self.address = address
        self._connected = time.monotonic()
        self._channel = open_channel(address)
        self._lane = LaneClient(self._channel, address.rpartition(":")[0], self._timeout)
        self._original = prediction_pb2_grpc.ProxyServerStub(self._channel)

    async def put(self, requests: Sequence[hogar_pb2.Request]) -> None:
        """Queue requests, waiting until there is room for the first of them."""
        while len(self._queue) >= self._capacity:
            self._emptied.clear()
            await self._emptied.wait()
        self._queue.extend(requests)
        self._filled.set()

    def finish(self, request_ids: Iterable[int]) -> None:
        """Tell the peer, with the next message, which requests are answered."""
        self._finished.extend(request_ids)

    def retarget(self, address: str) -> None:
        """Send to another address from now on; what was not answered yet goes there, too."""
        if address != self.address:
            self._reconnect(address)

    def _reconnect(self, address: str) -> None:
        self._lane.close()
        # Its end is waited for aside: who retargets must not wait for a peer that is dead.
        closing = asyncio.get_running_loop().create_task(self._channel.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._connect(address)

    async def ping(self) -> int:
        """The peer's ping status; raises ``grpc.aio.AioRpcError`` and OSError."""
        reply = await answered(
            self._original.ping(prediction_pb2.ping_req(), timeout=self._timeout)
        )
        return int(reply.status)

    async def close(self) -> None:
        """Close the channel. The task of :meth:`run` is its owner's to cancel."""
        self._lane.close()
        await self._channel.close()
        await asyncio.gather(*self._closing)

    async def run(self) -> None:
        """Send for ever."""
        queue = self._queue
        while True:
            while not queue:
                self._filled.clear()
                await self._filled.wait()
            batch = [queue.popleft()]
            finished = list(self._finished)
            self._finished.clear()
            size = batch[0].ByteSize()
            while queue and len(batch) < MESSAGE_REQUESTS and size < MESSAGE_BYTES:
                batch.append(queue.popleft())
                size += batch[-1].ByteSize()
            self._emptied.set()
            await self._deliver(batch, finished)

    async def _deliver(self, batch: Sequence[hogar_pb2.Request], finished: Sequence[int]) -> None:
        give_up = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        left = list(batch)
        while True:
            while self._may_send is not None and not self._may_send():
                await asyncio.sleep(LONGEST_PAUSE)
                # It is not the peer that keeps them waiting.
                give_up = time.monotonic() + self._patience
            try:
                await self._send(left, finished)
                self.failed = False
                return
            except grpc.aio.AioRpcError as error:
                if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                    log.error("%s refuses a request: %s", self.address, error.details())
                    del left[0]
                    continue
                # A full queue is a slow peer, not a lost one.
                self.failed = error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED
                reason = error.code().name
            except (OSError, DecodeError) as error:
                self._lane.close()
                self.failed = True
                reason = str(error)
            if time.monotonic() > give_up:
                log.error(
                    "%s did not take %d requests within %.0f s: %s",
                    self.address,
                    len(left),
                    self._patience,
                    reason,
                )
                return
            if self.failed and time.monotonic() > self._connected + RECONNECT_AFTER:
                self._reconnect(self.address)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _send(self, left: list[hogar_pb2.Request], finished: Sequence[int]) -> None:
        """Send what is left; in the plain protocol ``left`` shrinks request by request."""
        message = hogar_pb2.RelayRequest(source=self._source, requests=left, finished=finished)
        answer = await self._lane.exchange(message.SerializeToString())
        if answer is not None:
            refused = hogar_pb2.RelayReply.FromString(answer).refused
            if refused:
                log.error("%s refuses %d requests: %s", self.address, len(left), refused)
            return
        if self._sent is None:
            self._sent = Sent(self._capacity)
        self._sent.finish(finished)
        for one in left:
            # All at once: one that is given up must be there to be sent again, too.
            self._sent.number(one)
        while left:
            await self._released.wait()
            await self._send_plainly(self._sent, left[0])
            del left[0]

    async def _send_plainly(self, sent: Sent, request: hogar_pb2.Request) -> None:
        call = self._original.outputstream if self._to_frontend else self._original.downstream
        await answered(call(self._plain_request(sent, request), timeout=self._timeout))

    def hold(self) -> None:
        """Send nothing to an original until :meth:`replay`: another one that counts anew would take
        a number that was meant for the one before."""
        if self._sent is not None:
            self._released.clear()

    async def replay(
        self, after: int, outputs: Sequence[hogar_pb2.Request], *, counts_anew: bool = False
    ) -> None:
        """Send again what has a higher EARG number than ``after``: to an original all of it, as it
        waits for every number, to others those of ``outputs``, which are not answered yet.
        ``counts_anew`` tells that the original has begun anew at number 1.
        """
        if self._sent is None:
            await self.put(outputs)
            return
        if counts_anew:
            self._sent.count_anew(after)
        self._released.set()
        again = self._sent.after(after)
        known = {one.id for one in again}
        await self.put([*again, *(one for one in outputs if one.id not in known)])

    def _plain_request(self, sent: Sent, request: hogar_pb2.Request) -> prediction_pb2.request:
        plain = prediction_pb2.request(
            input_=to_plain(request.payload),
            src_uri=self._own_name,
            seq=sent.number(request) & 0xFFFFFFFF,
            req_id=request.id,
        )
        plain.timestamp.GetCurrentTime()
        return plain
