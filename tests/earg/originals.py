"""A proxy in EARG's plain protocol alone, for tests: it stands in for an original, which cannot be
had here.

It does what the contract and the public release's behaviour say, and nothing of HOGAR's: it serves
``prediction.ProxyServer`` and no other service; it knows its neighbours by PROXY_NAME; it takes the
requests of each strictly in the order of ``seq``, from 1, and drops what it had before; a name that
has failed is never sent to again; a failed send is reported to ManagementServer at ADMIN_IP, and an
admin that answers with a status has handled the failure. Where the release ends its process (an
error it does not know, a model that is gone, parts of a join that do not fit) this does, too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections import OrderedDict
from typing import Any

import grpc
import grpc.aio

from earg.config import read_runtime
from earg.protos import (
    management_pb2,
    management_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    prediction_pb2,
    prediction_pb2_grpc,
)
from earg.status import PingStatus

log = logging.getLogger("original")

TIMEOUT = float(os.environ.get("TIMEOUT_MS", "500")) / 1000
NAME = os.environ.get("PROXY_NAME", "")
IP = os.environ.get("LISTEN_IP", "127.0.0.1")
PORT = int(os.environ.get("PROXY_PORT", "22223"))
MODEL_PORT = int(os.environ.get("MODEL_PORT", "22222"))
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))

Context = grpc.aio.ServicerContext[Any, Any]


def fatal(what: str) -> None:
    log.critical("%s", what)
    os._exit(134)


class Join:
    """Puts the parts of a request together; with one upstream it hands each on."""

    def __init__(self, ready: asyncio.Queue[prediction_pb2.request]) -> None:
        self.parts: OrderedDict[str, list[prediction_pb2.request]] = OrderedDict()
        self._ready = ready

    def put(self, name: str, request: prediction_pb2.request) -> None:
        self.parts[name].append(request)
        while all(self.parts.values()):
            found = [waiting.pop(0) for waiting in self.parts.values()]
            if len({one.seq for one in found}) != 1:
                fatal(f"parts do not fit: {[(one.seq, one.req_id) for one in found]}")
            text = "|".join(one.input_.inputStream for one in found)
            joined = prediction_pb2.request(seq=found[0].seq, req_id=found[0].req_id)
            joined.input_.inputType = found[0].input_.inputType
            joined.input_.inputStream = text
            self._ready.put_nowait(joined)

    def rename(self, old: str, new: str) -> None:
        self.parts = OrderedDict(
            (new if name == old else name, waiting) for name, waiting in self.parts.items()
        )


class Upstream:
    """The requests of one sender, in order."""

    def __init__(self, name: str, join: Join, in_order: int = 0) -> None:
        self.name, self.join, self.in_order = name, join, in_order
        self.ahead: dict[int, prediction_pb2.request] = {}
        self.stopped = False
        join.parts.setdefault(name, [])

    def receive(self, request: prediction_pb2.request) -> None:
        if self.stopped or request.seq <= self.in_order:
            return
        self.ahead[request.seq] = request
        while (following := self.ahead.pop(self.in_order + 1, None)) is not None:
            self.in_order += 1
            self.join.put(self.name, following)


class Downstream:
    """One proxy behind, known by its name."""

    def __init__(self, owner: Original, info: prediction_pb2.proxy_info, sends: bool) -> None:
        self.owner, self.info, self.sends = owner, info, sends
        self.failed = False
        self.channel = grpc.aio.insecure_channel(f"{info.ip}:{info.port or PORT}", options=OPTIONS)
        self.stub = prediction_pb2_grpc.ProxyServerStub(self.channel)

    def send(self, request: prediction_pb2.request) -> None:
        if self.sends and not self.failed:
            self.owner.start(self._send(request))

    async def _send(self, request: prediction_pb2.request) -> None:
        while not self.failed:
            try:
                await self.stub.downstream(request, timeout=TIMEOUT)
                return
            except grpc.aio.AioRpcError as error:
                code = error.code()
                if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                    if await self._is_connected():
                        continue
                elif code is not grpc.StatusCode.UNAVAILABLE:
                    fatal(f"{self.info.container_name} refuses: {error.details()}")
            if await self.owner.report(self):
                # It is in the cache, and sent again by whoever recovers.
                return
            await asyncio.sleep(TIMEOUT)

    async def _is_connected(self) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT):
                while (state := self.channel.get_state(True)) is not grpc.ChannelConnectivity.READY:
                    await self.channel.wait_for_state_change(state)
        except TimeoutError:
            return False
        return True


class Original(prediction_pb2_grpc.ProxyServerServicer):
    """The proxy."""

    def __init__(self) -> None:
        recovering = os.environ.get("RECOVERY") == "True"
        self.status = PingStatus.RECOVERING if recovering else PingStatus.MODEL_UNSET
        self.ready: asyncio.Queue[prediction_pb2.request] = asyncio.Queue()
        self.upstreams: dict[str, Upstream] = {}
        self.downstreams: list[Downstream] = []
        self.frontend: Any = None
        self.cache: OrderedDict[int, prediction_pb2.request] = OrderedDict()
        self.first_sent = 1
        self.model: Any = None
        self.model_id = 0
        self.batch = 1
        self.dag_name = ""
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self.tasks.discard(task)
            if not task.cancelled() and task.exception() is not None:
                fatal(f"{task.exception()!r}")

        task.add_done_callback(ended)

    # --- requests ---------------------------------------------------------------------------

    async def downstream(
        self, request: prediction_pb2.request, context: Context
    ) -> model_pb2.response:
        while self.status is not PingStatus.READY:
            await asyncio.sleep(0.02)
        for _ in range(100):
            upstream = self.upstreams.get(request.src_uri)
            if upstream is not None:
                upstream.receive(request)
                return model_pb2.response(status=str(request.seq))
            await asyncio.sleep(0.1)
        fatal(f"a request of an unknown upstream: {request.src_uri}")
        raise AssertionError

    async def work(self) -> None:
        while True:
            batch = [await self.ready.get()]
            while len(batch) < self.batch and not self.ready.empty():
                batch.append(self.ready.get_nowait())
            inputs = [one.input_ for one in batch]
            try:
                reply = await self.model.BatchPredict(
                    model_pb2.BatchInput(inputs=inputs, count=len(inputs)), timeout=60
                )
            except grpc.aio.AioRpcError as error:
                fatal(f"the model: {error.details()}")
            for one, output in zip(batch, reply.outputs, strict=True):
                passed = prediction_pb2.request(seq=one.seq, req_id=one.req_id, src_uri=NAME)
                passed.input_.inputType = output.outputType
                passed.input_.inputStream = output.outputStream
                self.cache[one.seq] = passed
                while len(self.cache) > 100_000:
                    self.cache.popitem(last=False)
                if one.seq >= self.first_sent:
                    self.hand_on(passed)

    def hand_on(self, output: prediction_pb2.request) -> None:
        if self.frontend is not None:
            self.start(self.answer(output))
        for one in self.downstreams:
            one.send(output)

    async def answer(self, output: prediction_pb2.request) -> None:
        try:
            await self.frontend.outputstream(output, timeout=10, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            log.error("the frontend: %s", error.details())

    # --- deploying --------------------------------------------------------------------------

    def set_model(self, ip: str, port: int) -> None:
        channel = grpc.aio.insecure_channel(f"{ip}:{port}", options=OPTIONS)
        self.model = model_pb2_grpc.PredictServiceStub(channel)

    async def SetModel(
        self, request: prediction_pb2.modelinfo, context: Context
    ) -> model_pb2.response:
        if self.status is not PingStatus.MODEL_UNSET:
            await context.abort(grpc.StatusCode.INTERNAL, "Model Already Set")
        self.model_id = request.modelId
        self.set_model(request.modelIp, request.modelPort)
        self.status = PingStatus.MODEL_SET
        return model_pb2.response(status="ok")

    async def SetDAG(self, request: prediction_pb2.dag, context: Context) -> model_pb2.response:
        if self.status is not PingStatus.MODEL_SET:
            await context.abort(grpc.StatusCode.INTERNAL, "Model Not Set")
        config = read_runtime(request.dag_)
        self.dag_name = f"{config.name}-{config.version}"
        node = config.nodes[self.model_id - 1]
        if node.primary.proxy_name != NAME:
            fatal(f"the config names {node.primary.proxy_name}, this is {NAME}")
        self.batch = max(1, abs(node.spec.batch))
        join = Join(self.ready)
        for source in config.static.sources_of(self.model_id):
            name = config.nodes[source - 1].primary.proxy_name
            self.upstreams[name] = Upstream(name, join)
        if self.model_id == 1:
            self.upstreams["front-end"] = Upstream("front-end", join)
        for target in config.static.targets_of(self.model_id):
            behind = config.nodes[target - 1]
            for pair in (behind.primary, behind.backup):
                if pair is not None:
                    info = prediction_pb2.proxy_info(
                        ip=pair.proxy_ip,
                        port=PORT,
                        model_id=target,
                        container_name=pair.proxy_name,
                        model_container_name=pair.model_name,
                        stateful=behind.spec.stateful,
                        is_primary=behind.spec.stateful and pair is behind.primary,
                    )
                    self.downstreams.append(Downstream(self, info, sends=True))
        if not self.downstreams:
            channel = grpc.aio.insecure_channel(f"{config.frontend_ip}:{PORT}", options=OPTIONS)
            self.frontend = prediction_pb2_grpc.ProxyServerStub(channel)
        self.start(self.begin())
        return model_pb2.response(status="ok")

    async def begin(self) -> None:
        self.start(self.work())
        for one in self.downstreams:
            if one.info.stateful and not one.info.is_primary:
                continue
            while True:
                try:
                    reply = await one.stub.ping(prediction_pb2.ping_req(), timeout=TIMEOUT)
                    if reply.status == PingStatus.READY:
                        break
                except grpc.aio.AioRpcError:
                    pass
                await asyncio.sleep(0.05)
        self.status = PingStatus.READY

    async def ping(self, request: Any, context: Context) -> prediction_pb2.ping_reply:
        return prediction_pb2.ping_reply(status=self.status)

    async def GetRuntimeInfo(self, request: Any, context: Context) -> prediction_pb2.runtimeinfo:
        return prediction_pb2.runtimeinfo()

    async def AdjustBatchSize(self, request: Any, context: Context) -> model_pb2.response:
        return model_pb2.response()

    # --- failure ----------------------------------------------------------------------------

    async def report(self, failed: Downstream) -> bool:
        """Whether the call that failed is settled; else it is tried again."""
        if failed.failed:
            return True
        if self.status is not PingStatus.READY:
            return False
        self.status = PingStatus.FAILURE_MANAGER
        address = f"{os.environ['ADMIN_IP']}:{os.environ.get('ADMIN_PORT', '55555')}"
        info = failed.info
        log.warning("reports %s at %s", info.container_name, info.ip)
        async with grpc.aio.insecure_channel(address) as channel:
            try:
                reply = await management_pb2_grpc.ManagementServerStub(
                    channel
                ).ReportContainerFailure(
                    management_pb2.FailureInfo(
                        hostip=info.ip,
                        modelid=str(info.model_id),
                        appid=self.dag_name,
                        modelname=info.model_container_name,
                    )
                )
            except grpc.aio.AioRpcError as error:
                fatal(f"the admin: {error.details()}")
        log.warning("the admin answers: %s", reply.status)
        if not reply.status:
            fatal("this admin leaves the recovery to its proxies")
        if self.status is PingStatus.FAILURE_MANAGER:
            self.status = PingStatus.DOWNSTREAM_FAILED
        return True

    def find(self, name: str) -> Downstream | None:
        return next((one for one in self.downstreams if one.info.container_name == name), None)

    async def prepare_recover_predecessor(
        self, request: prediction_pb2.recovery_req, context: Context
    ) -> model_pb2.response:
        failed = self.find(request.failed_proxy.container_name)
        if failed is None:
            await context.abort(grpc.StatusCode.ABORTED, "not a predecessor")
        failed.failed = True
        if not request.is_stateful:
            if self.status is not PingStatus.FAILURE_MANAGER:
                self.status = PingStatus.DOWNSTREAM_FAILED
            if self.find(request.new_proxy.container_name) is None:
                self.downstreams.append(Downstream(self, request.new_proxy, sends=False))
        return model_pb2.response()

    async def commit_recover_predecessor(
        self, request: prediction_pb2.recovery_req, context: Context
    ) -> model_pb2.response:
        if not request.failed_proxy.stateful:
            new = self.find(request.new_proxy.container_name)
            if new is None:
                await context.abort(grpc.StatusCode.INTERNAL, "connection not created")
            new.sends = True
            for seq, output in self.cache.items():
                if seq >= request.start_seq:
                    new.send(output)
        self.status = PingStatus.READY
        return model_pb2.response(status="OK")

    async def prepare_recover_successor(
        self, request: prediction_pb2.successor_prepare_req, context: Context
    ) -> prediction_pb2.successor_prepare_reply:
        upstream = self.upstreams.get(request.failed_proxy.container_name)
        if upstream is None:
            await context.abort(grpc.StatusCode.ABORTED, "not a successor")
        self.status = PingStatus.UPSTREAM_FAILED
        upstream.stopped = True
        return prediction_pb2.successor_prepare_reply(seq=upstream.in_order)

    async def commit_recover_successor(
        self, request: prediction_pb2.recovery_req, context: Context
    ) -> model_pb2.response:
        failed, new = request.failed_proxy.container_name, request.new_proxy.container_name
        upstream = self.upstreams.get(failed)
        if upstream is None:
            fatal(f"{failed} is no upstream")
        assert upstream is not None
        if new in self.upstreams:
            self.upstreams[new].stopped = False
        else:
            upstream.join.rename(failed, new)
            self.upstreams[new] = Upstream(new, upstream.join, upstream.in_order)
        self.status = PingStatus.READY
        return model_pb2.response(status="OK")

    async def recover_new_proxy(
        self, request: prediction_pb2.new_proxy_recover_req, context: Context
    ) -> model_pb2.response:
        if self.status is not PingStatus.RECOVERING:
            await context.abort(grpc.StatusCode.INTERNAL, "Not in the recovery mode")
        self.model_id, self.dag_name = request.model_id, request.dag_name
        self.batch = max(1, abs(request.batch_size))
        self.set_model(request.model_ip, MODEL_PORT)
        for group in request.pred_groups:
            join = Join(self.ready)
            for proxy in group.proxies:
                name = proxy.container_name
                self.upstreams[name] = Upstream(name, join, (proxy.seq - 1) & 0xFFFFFFFF)
        for group in request.down_groups:
            for proxy in group.proxies:
                self.downstreams.append(Downstream(self, proxy, sends=True))
        self.first_sent = request.start_seq
        self.start(self.work())
        self.status = PingStatus.READY
        return model_pb2.response()

    async def promote_primary(self, request: Any, context: Context) -> model_pb2.response:
        await context.abort(grpc.StatusCode.INTERNAL, "Already promoted as primary")
        raise AssertionError


async def main() -> None:
    server = grpc.aio.server(options=OPTIONS)
    prediction_pb2_grpc.add_ProxyServerServicer_to_server(Original(), server)
    if server.add_insecure_port(f"{IP}:{PORT}") != PORT:
        sys.exit(98)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(main())
