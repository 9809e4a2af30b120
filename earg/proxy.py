"""The proxy beside a model: receives requests, batches them, calls the model, forwards.

It serves EARG's ``prediction.ProxyServer`` and, told on the same port, HOGAR's lane. A request is
answered as soon as it is queued; its reply travels on to the next proxies, and from the sink to
the frontend. Settings come from the environment, as for an original: PROXY_NAME, PROXY_PORT,
TIMEOUT_MS (of a send, 500), and HOGAR's LISTEN_IP and QUEUE_CAPACITY.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Coroutine, Iterable
from typing import Any

import grpc
import grpc.aio

from earg.batching import BatchLimit, BatchQueue
from earg.config import PROXY_PORT, ConfigError, RuntimeConfig, read_runtime
from earg.lane import LaneServer
from earg.model_link import ModelError, ModelLink
from earg.payload import CHANNEL_OPTIONS, PayloadError, failure, from_plain, is_failure
from earg.process import bind, run_until_stopped
from earg.protos import (
    hogar_pb2,
    hogar_pb2_grpc,
    model_pb2,
    prediction_pb2,
    prediction_pb2_grpc,
)
from earg.routing import Joiner, Place, RoutingError, find_place
from earg.sender import Sender
from earg.status import PingStatus, Role

log = logging.getLogger(__name__)

MODEL_PATIENCE = 30.0
"""Seconds that SetModel waits for the model to answer."""

CLIMB_INTERVAL = 0.05
"""Seconds between looks at the proxies downstream while readiness climbs from the sinks."""


class RequestIds:
    """The request ids seen last from each source, so that one sent again counts once."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._seen: dict[int, OrderedDict[int, None]] = {}

    def is_new(self, source: int, request_id: int) -> bool:
        """Whether this is the first time; remembers it."""
        seen = self._seen.setdefault(source, OrderedDict())
        if request_id in seen:
            return False
        seen[request_id] = None
        if len(seen) > self._capacity:
            seen.popitem(last=False)
        return True


class Proxy(prediction_pb2_grpc.ProxyServerServicer, hogar_pb2_grpc.LaneServicer):
    """One proxy. It owns its tasks: :meth:`close` cancels them and waits for their end."""

    def __init__(
        self, name: str, ip: str, port: int, *, timeout: float = 0.5, capacity: int = 8192
    ) -> None:
        self._name = name
        self._ip = ip
        self._port = port
        self._timeout = timeout
        self._capacity = capacity
        self._model: ModelLink | None = None
        self._place: Place | None = None
        self._limit = BatchLimit(1)
        self._joiner: Joiner | None = None
        self._queue: BatchQueue[hogar_pb2.Request] = BatchQueue(capacity)
        self._ids = RequestIds(2 * capacity)
        self._senders: list[Sender] = []
        self._source_of: dict[str, int] = {}
        self._downstream_ready = False
        self._accepted = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._lanes = LaneServer(self._relayed)
        self._lane_port = 0

    # --- life -------------------------------------------------------------------------------

    async def listen(self) -> None:
        """Open the lane's port, which :meth:`Open` tells."""
        self._lane_port = await self._lanes.start(self._ip)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A proxy that has lost a task would hang silently; its parent sees it die instead.
            log.critical("a task of %s failed", self._name, exc_info=error)
            os._exit(1)

    async def close(self) -> None:
        """Stop all tasks and close all channels."""
        self._lanes.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sender in self._senders:
            await sender.close()
        if self._model is not None:
            await self._model.close()

    # --- deploying --------------------------------------------------------------------------

    async def SetModel(
        self, request: prediction_pb2.modelinfo, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_pb2.response:
        if self._model is not None:
            await context.abort(grpc.StatusCode.INTERNAL, "Model Already Set")
        model = ModelLink(request.modelIp, request.modelPort)
        self._model = model
        try:
            await model.introduce(self._name, self._port, MODEL_PATIENCE)
        except ModelError as error:
            self._model = None
            await model.close()
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        self._start(model.watch())
        return model_pb2.response(status="ok")

    async def SetDAG(
        self, request: prediction_pb2.dag, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_pb2.response:
        if self._model is None or self._place is not None:
            await context.abort(grpc.StatusCode.INTERNAL, "Model Not Set")
        try:
            config = read_runtime(request.dag_)
            place = find_place(config, self._name, self._ip)
        except (ConfigError, RoutingError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        self._place = place
        self._limit = BatchLimit.from_config(place.batch)
        if place.is_join:
            self._joiner = Joiner(place.sources, self._capacity)
        self._source_of = _addresses(config)
        self._senders = self._make_senders(config, place)
        for sender in self._senders:
            self._start(sender.run())
        self._start(self._climb(place))
        self._start(self._work(self._model))
        self._lanes.release()
        return model_pb2.response(status="ok")

    def _make_senders(self, config: RuntimeConfig, place: Place) -> list[Sender]:
        targets = [config.nodes[index - 1].primary.proxy_ip for index in place.targets]
        return [
            Sender(
                place.index,
                f"{self._ip}:{self._port}",
                f"{ip}:{self._port}",
                to_frontend=not targets,
                capacity=self._capacity,
                timeout=self._timeout,
            )
            for ip in targets or [config.frontend_ip]
        ]

    async def _climb(self, place: Place) -> None:
        """Wait until everything downstream is ready: readiness climbs from the sinks."""
        for sender in self._senders if place.targets else ():
            while True:
                try:
                    if await sender.ping() == PingStatus.READY:
                        break
                except grpc.aio.AioRpcError:
                    pass
                await asyncio.sleep(CLIMB_INTERVAL)
        self._downstream_ready = True

    def status(self) -> PingStatus:
        """What ``ping`` answers."""
        if self._model is None:
            return PingStatus.MODEL_UNSET
        if self._model.failed:
            return PingStatus.MODEL_FAILED
        if not self._downstream_ready:
            return PingStatus.MODEL_SET
        if any(sender.failed for sender in self._senders):
            return PingStatus.DOWNSTREAM_FAILED
        return PingStatus.READY

    async def ping(
        self, request: prediction_pb2.ping_req, context: grpc.aio.ServicerContext[Any, Any]
    ) -> prediction_pb2.ping_reply:
        place = self._place
        return prediction_pb2.ping_reply(
            status=self.status(),
            stateful=place is not None and place.stateful,
            is_primary=place is None or place.role is Role.PRIMARY,
        )

    # --- requests ---------------------------------------------------------------------------

    async def downstream(
        self, request: prediction_pb2.request, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_pb2.response:
        source = self._source_of.get(request.src_uri.rpartition(":")[0] or request.src_uri)
        if source is None:
            # Before SetDAG nobody is known; afterwards only a join needs to know who sends.
            if self._joiner is not None:
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"src_uri {request.src_uri!r} is not an address of this graph",
                )
            source = 0
        try:
            payload = from_plain(request.input_.inputType, request.input_.inputStream)
        except PayloadError as error:
            payload = failure(str(error))
        if self._place is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{self._name} has no graph yet")
        if self._queue.room < 1:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{len(self._queue)} requests wait at {self._name} already",
            )
        self._accept(source, [hogar_pb2.Request(id=request.req_id, payload=payload)])
        return model_pb2.response(status="ok")

    async def Open(
        self, request: hogar_pb2.LaneRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.LaneReply:
        return hogar_pb2.LaneReply(port=self._lane_port)

    def _relayed(self, message: bytes) -> bytes | None:
        """One frame of a lane: its answer, or None to hold the sender back."""
        relay = hogar_pb2.RelayRequest.FromString(message)
        place = self._place
        if place is None:
            return None
        if self._joiner is not None and relay.source not in place.sources:
            refused = f"node {relay.source} does not flow into {self._name}"
            return hogar_pb2.RelayReply(refused=refused).SerializeToString()
        if self._queue.room < len(relay.requests):
            return None
        self._accept(relay.source, relay.requests)
        return b""

    def _accept(self, source: int, requests: Iterable[hogar_pb2.Request]) -> None:
        """Queue requests that are here for the first time, once they are complete."""
        for request in requests:
            if not self._ids.is_new(source, request.id):
                continue
            if self._joiner is None:
                self._accepted += 1
                self._queue.put(request)
                continue
            joined = self._joiner.add(request.id, source, request.payload)
            if joined is not None:
                self._accepted += 1
                self._queue.put(hogar_pb2.Request(id=request.id, payload=joined))

    async def _work(self, model: ModelLink) -> None:
        """Take batches, compute them, hand the replies to every sender, for ever."""
        while True:
            batch = await self._queue.take(self._limit.most)
            self._lanes.release()
            good = [request for request in batch if not is_failure(request.payload)]
            replies = [request for request in batch if is_failure(request.payload)]
            if good:
                replies += await self._compute(model, good)
            for reply in replies:
                for sender in self._senders:
                    await sender.put(reply)

    async def _compute(
        self, model: ModelLink, batch: list[hogar_pb2.Request]
    ) -> list[hogar_pb2.Request]:
        try:
            payloads = await model.compute([request.payload for request in batch], self._limit)
        except ModelError as error:
            log.error("a batch of %d requests failed: %s", len(batch), error)
            payloads = [failure(f"{self._name}: {error}")] * len(batch)
        return [
            hogar_pb2.Request(id=request.id, payload=payload)
            for request, payload in zip(batch, payloads, strict=True)
        ]

    # --- watching and tuning ----------------------------------------------------------------

    async def GetRuntimeInfo(
        self, request: prediction_pb2.runtimequery, context: grpc.aio.ServicerContext[Any, Any]
    ) -> prediction_pb2.runtimeinfo:
        # Nothing is answered from a cache, so its hit rate is 0 by right.
        return prediction_pb2.runtimeinfo(
            cache_hit_rate=0.0, n_requests=self._accepted & 0xFFFFFFFF
        )

    async def AdjustBatchSize(
        self, request: prediction_pb2.batch_adj_request, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_pb2.response:
        try:
            self._limit = self._limit.scaled(request.ratio)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        log.info("batch limit is now %d", self._limit.most)
        return model_pb2.response(status=str(self._limit.most))


def _addresses(config: RuntimeConfig) -> dict[str, int]:
    """Which node sends from which address; 0 is the frontend."""
    found = {config.frontend_ip: 0}
    for index, node in enumerate(config.nodes, 1):
        for pair in (node.primary, node.backup):
            if pair is not None:
                found[pair.proxy_ip] = index
    return found


async def serve(proxy: Proxy, ip: str, port: int) -> None:
    """Serve until the process is asked to stop."""
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    prediction_pb2_grpc.add_ProxyServerServicer_to_server(proxy, server)
    hogar_pb2_grpc.add_LaneServicer_to_server(proxy, server)
    bind(server, ip, port)
    await proxy.listen()
    await server.start()
    try:
        await run_until_stopped()
    finally:
        await server.stop(grace=1.0)
        await proxy.close()


async def _main() -> None:
    environment = os.environ
    ip = environment.get("LISTEN_IP", "127.0.0.1")
    port = int(environment.get("PROXY_PORT", PROXY_PORT))
    proxy = Proxy(
        environment["PROXY_NAME"],
        ip,
        port,
        timeout=float(environment.get("TIMEOUT_MS", "500")) / 1000,
        capacity=int(environment.get("QUEUE_CAPACITY", "8192")),
    )
    await serve(proxy, ip, port)


def main() -> None:
    """Run a proxy as the environment says."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_main())


if __name__ == "__main__":
    main()
