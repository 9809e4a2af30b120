"""EARG's own calls for a failure, as our proxies and our frontend serve them.

Whoever handles a failure (an original proxy that found it, or an agent) asks the predecessors of
the failed proxy to hold on (``prepare_recover_predecessor``) and its successors how far they got
(``prepare_recover_successor``: the highest number up to which all has come; the least of the
answers is the start). It tells the successors who comes in its place
(``commit_recover_successor``), gives the new one its place (``recover_new_proxy``, or
``promote_primary`` where a backup is there), and lets the predecessors send again from the start
on (``commit_recover_predecessor``).

Ours may be asked more than once and by several: each call leaves things as one alone would.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import grpc
import grpc.aio

from earg.config import MODEL_PORT
from earg.journal import Journal
from earg.plain_sequence import Received
from earg.protos import hogar_pb2, model_pb2, prediction_pb2, prediction_pb2_grpc
from earg.replication import ReplicationError
from earg.routing import Place
from earg.sender import FRONTEND_NAME, Sender
from earg.status import Role

log = logging.getLogger(__name__)

MOST_NEIGHBOURS = 4096
"""Proxies that one call may name."""

KEPT_BYTES = 64 * 1024 * 1024
"""Bytes of requests that a backup keeps, the newest."""

Context = grpc.aio.ServicerContext[Any, Any]
OK = "OK"


async def _refuse(context: Context, code: grpc.StatusCode, sentence: str) -> NoReturn:
    await context.abort(code, sentence)
    raise AssertionError("unreachable")


class RecoveryCalls(prediction_pb2_grpc.ProxyServerServicer):
    """What the proxy that inherits this answers when a neighbour of it, or itself, is replaced."""

    _name: str
    _port: int
    _capacity: int
    _place: Place | None
    _role: Role
    _journal: Journal
    _senders: dict[int, Sender]
    _source_of: dict[str, int]

    def __init__(self) -> None:
        # Of senders in the plain protocol alone: on a lane the order is never broken.
        self._received: dict[int, Received] = {}
        # What originals send to a backup, as they do to the primary.
        self._kept: OrderedDict[tuple[int, int], hogar_pb2.Request] = OrderedDict()
        self._kept_bytes = 0

    # --- what the proxy does ----------------------------------------------------------------

    def _accept(self, source: int, requests: Iterable[hogar_pb2.Request]) -> None:
        raise NotImplementedError

    async def _send(self, outputs: Sequence[hogar_pb2.Request]) -> None:
        raise NotImplementedError

    async def _become_primary(self) -> None:
        raise NotImplementedError

    async def _begin(
        self, place: Place, dag_name: str, model: prediction_pb2.modelinfo, targets: dict[int, str]
    ) -> str:
        raise NotImplementedError

    def _sends_one_alone(self) -> bool:
        raise NotImplementedError

    # --- requests in the plain protocol -----------------------------------------------------

    def _came(self, source: int, seq: int) -> None:
        if seq:
            received = self._received.get(source)
            if received is None:
                received = self._received[source] = Received(self._capacity)
            received.take(seq)

    def _keep(self, source: int, request: hogar_pb2.Request) -> None:
        """Keep a request that came to a backup: should its primary die, nobody sends it again."""
        if (source, request.id) in self._kept:
            return
        self._kept[source, request.id] = request
        self._kept_bytes += request.ByteSize()
        while len(self._kept) > self._capacity or (
            self._kept_bytes > KEPT_BYTES and len(self._kept) > 1
        ):
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.ByteSize()

    def _accept_kept(self) -> None:
        """Compute what was kept and the primary had not replicated; the journal knows the rest."""
        kept, self._kept, self._kept_bytes = self._kept, OrderedDict(), 0
        for (source, _), request in kept.items():
            self._accept(source, [request])

    # --- a neighbour is replaced ------------------------------------------------------------

    def _source(self, proxy: prediction_pb2.proxy_info) -> int | None:
        place = self._place
        known = self._source_of.get(proxy.container_name, proxy.model_id)
        if place is not None and (known in place.sources or (known == 0 and not place.sources)):
            return known
        return None

    def _target(self, proxy: prediction_pb2.proxy_info) -> Sender | None:
        known = self._source_of.get(proxy.container_name, proxy.model_id)
        return self._senders.get(known)

    async def prepare_recover_successor(
        self, request: prediction_pb2.successor_prepare_req, context: Context
    ) -> prediction_pb2.successor_prepare_reply:
        source = self._source(request.failed_proxy)
        if source is None:
            await _refuse(context, grpc.StatusCode.ABORTED, "not a successor")
        received = self._received.get(source)
        if received is not None:
            seq = received.in_order
        elif source == 0:
            # A lane keeps the frontend's order.
            seq = self._journal.highest_seq()
        else:
            # That of a node may be broken: what is not answered may be missing.
            seq = self._journal.answered_to()
        log.info(
            "%s has all from %s up to %d", self._name, request.failed_proxy.container_name, seq
        )
        return prediction_pb2.successor_prepare_reply(seq=seq)

    async def commit_recover_successor(
        self, request: prediction_pb2.recovery_req, context: Context
    ) -> model_pb2.response:
        source = self._source(request.failed_proxy)
        if source is None:
            await _refuse(context, grpc.StatusCode.ABORTED, "not a successor")
        if len(self._source_of) > MOST_NEIGHBOURS:
            await _refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "too many names are known")
        new = request.new_proxy
        for name in (new.container_name, new.ip):
            if name:
                self._source_of[name] = source
        received = self._received.get(source)
        if received is None and new.container_name == request.failed_proxy.container_name:
            # Not that one is replaced: this one is, and is told where the other goes on.
            received = self._received[source] = Received(self._capacity)
        if received is not None and request.start_seq > 0:
            received.begin(request.start_seq - 1)
        return model_pb2.response(status=OK)

    async def prepare_recover_predecessor(
        self, request: prediction_pb2.recovery_req, context: Context
    ) -> model_pb2.response:
        failed, new = request.failed_proxy, request.new_proxy
        sender = self._target(failed)
        if sender is None:
            await _refuse(context, grpc.StatusCode.ABORTED, "not a predecessor")
        if new.container_name and len(self._source_of) <= MOST_NEIGHBOURS:
            self._source_of[new.container_name] = self._source_of.get(
                failed.container_name, failed.model_id
            )
        if new.seq == 1:
            sender.hold()
        # Nothing is sent to a backup, so its failure changes nothing here.
        if new.ip and not (request.is_stateful and not request.is_primary):
            try:
                sender.retarget(f"{new.ip}:{new.port or self._port}")
            except ValueError as error:
                await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return model_pb2.response(status=OK)

    async def commit_recover_predecessor(
        self, request: prediction_pb2.recovery_req, context: Context
    ) -> model_pb2.response:
        if self._role is not Role.PRIMARY:
            return model_pb2.response(status=OK)
        sender = self._target(request.new_proxy) or self._target(request.failed_proxy)
        if sender is None:
            await _refuse(context, grpc.StatusCode.INTERNAL, "connection not created")
        after = max(0, request.start_seq - 1)
        outputs = self._journal.outputs_after(after)
        log.info("%s sends again from %d on", self._name, request.start_seq)
        if self._sends_one_alone():
            await self._send(outputs)
        else:
            await sender.replay(after, outputs, counts_anew=request.new_proxy.seq == 1)
        return model_pb2.response(status=OK)

    # --- this one takes a place -------------------------------------------------------------

    async def recover_new_proxy(
        self, request: prediction_pb2.new_proxy_recover_req, context: Context
    ) -> model_pb2.response:
        if self._place is not None:
            await _refuse(context, grpc.StatusCode.INTERNAL, "Not in the recovery mode")
        groups = (*request.pred_groups, *request.down_groups)
        if sum(len(group.proxies) for group in groups) > MOST_NEIGHBOURS or not all(
            group.proxies for group in groups
        ):
            await _refuse(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                f"a group has at least one proxy, all together at most {MOST_NEIGHBOURS}",
            )
        targets = _targets(request.down_groups, self._port)
        if not targets:
            await _refuse(
                context,
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{self._name} would be a sink, and recover_new_proxy does not tell it where the "
                "frontend is; send it SetModel and SetDAG",
            )
        sources: dict[int, None] = {}
        for group in request.pred_groups:
            for proxy in group.proxies:
                index = 0 if proxy.container_name == FRONTEND_NAME else proxy.model_id
                self._source_of[proxy.container_name] = self._source_of[proxy.ip] = index
                if index:
                    sources[index] = None
                received = self._received.setdefault(index, Received(self._capacity))
                received.begin(max(0, proxy.seq - 1))
        place = Place(
            index=request.model_id,
            role=Role.PRIMARY,
            stateful=False,
            batch=request.batch_size,
            sources=tuple(sources),
            is_join=any(len(group.proxies) > 1 for group in request.pred_groups),
            targets=tuple(targets),
        )
        model = prediction_pb2.modelinfo(
            modelIp=request.model_ip, modelPort=MODEL_PORT, modelId=request.model_id
        )
        trouble = await self._begin(place, request.dag_name, model, targets)
        if trouble:
            self._source_of.clear()
            self._received.clear()
            await _refuse(context, grpc.StatusCode.UNAVAILABLE, trouble)
        return model_pb2.response(status=OK)

    async def promote_primary(
        self, request: prediction_pb2.new_proxy_recover_req, context: Context
    ) -> model_pb2.response:
        if self._role is Role.PRIMARY:
            await _refuse(context, grpc.StatusCode.INTERNAL, "Already promoted as primary")
        try:
            await self._become_primary()
        except ReplicationError as error:
            await _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        for group in request.pred_groups:
            for proxy in group.proxies:
                if len(self._source_of) <= MOST_NEIGHBOURS:
                    self._source_of[proxy.container_name] = proxy.model_id
        for index, address in _targets(request.down_groups, self._port).items():
            sender = self._senders.get(index)
            if sender is not None:
                sender.retarget(address)
        await self._send(self._journal.outputs_after(max(0, request.start_seq - 1)))
        return model_pb2.response(status=OK)

    # --- what a frontend is told ------------------------------------------------------------

    async def notifyentryproxy(
        self, request: prediction_pb2.proxy_info, context: Context
    ) -> model_pb2.response:
        await _refuse(context, grpc.StatusCode.FAILED_PRECONDITION, f"{self._name} is no frontend")

    async def outputstream(
        self, request: prediction_pb2.request, context: Context
    ) -> model_pb2.response:
        await _refuse(
            context,
            grpc.StatusCode.FAILED_PRECONDITION,
            f"{self._name} is no frontend: a proxy's output goes to downstream of the next",
        )


def _targets(groups: Iterable[prediction_pb2.proxy_group], port: int) -> dict[int, str]:
    """The address of each node that is sent to; of a stateful one that of its primary."""
    found: dict[int, str] = {}
    for group in groups:
        for proxy in group.proxies:
            is_backup = (proxy.stateful or group.stateful) and not proxy.is_primary
            if not is_backup or proxy.model_id not in found:
                found[proxy.model_id] = f"{proxy.ip}:{proxy.port or port}"
    return found


class FrontendRecoveryCalls(prediction_pb2_grpc.ProxyServerServicer):
    """What the frontend that inherits this answers: it is the entry's predecessor, and the sink's
    successor."""

    _entry: Sender
    _entry_port: str

    def answered_to(self) -> int:
        """Every request up to this number is answered."""
        raise NotImplementedError

    async def prepare_recover_successor(
        self, request: prediction_pb2.successor_prepare_req, context: Context
    ) -> prediction_pb2.successor_prepare_reply:
        return prediction_pb2.successor_prepare_reply(seq=self.answered_to())

    async def commit_recover_successor(
        self, request: prediction_pb2.recovery_req, context: Context
    ) -> model_pb2.response:
        return model_pb2.response(status=OK)

    async def prepare_recover_predecessor(
        self, request: prediction_pb2.recovery_req, context: Context
    ) -> model_pb2.response:
        if request.new_proxy.seq == 1:
            self._entry.hold()
        return await self.notifyentryproxy(request.new_proxy, context)

    async def notifyentryproxy(
        self, request: prediction_pb2.proxy_info, context: Context
    ) -> model_pb2.response:
        try:
            self._entry.retarget(f"{request.ip}:{request.port or self._entry_port}")
        except ValueError as error:
            await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return model_pb2.response(status=OK)

    async def commit_recover_predecessor(
        self, request: prediction_pb2.recovery_req, context: Context
    ) -> model_pb2.response:
        after = max(0, request.start_seq - 1)
        await self._entry.replay(after, [], counts_anew=request.new_proxy.seq == 1)
        return model_pb2.response(status=OK)
