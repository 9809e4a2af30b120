"""The proxy beside a model: receives requests, batches them, calls the model, forwards.

It serves EARG's ``prediction.ProxyServer`` and, told on the same port, HOGAR's lane. A request is
answered as soon as it is queued; its reply travels on to the next proxies, and from the sink to
the frontend. Settings come from the environment, as for an original: PROXY_NAME, PROXY_PORT,
TIMEOUT_MS (of a send, 500), and HOGAR's LISTEN_IP, QUEUE_CAPACITY and MODEL_PATIENCE_S (how long
a batch waits for a model that died to come back), METRICS_PORT (of Prometheus metrics; none
without it) and FENCED ("true" where nobody ends a stateful pair as a whole, as an agent does: the
proxy ends when its model has died, and with it the state, or when its backup has taken its place,
and without a backup it answers only under a lease, see :mod:`earg.lease`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

import grpc
import grpc.aio

from earg.batching import BatchLimit, BatchQueue
from earg.channel import new_server
from earg.choosing import Choice, NoCaseError, Switch, choose, choose_for_failure
from earg.config import PROXY_PORT, ConfigError, RuntimeConfig, read_runtime
from earg.extras import ExtrasError, read_extras
from earg.journal import Again, Journal
from earg.lane import LaneServer
from earg.lease import Grant, Lease
from earg.listening import listen_ip
from earg.metrics_proxy import serve_metrics
from earg.model_link import ModelError, ModelGoneError, ModelLink
from earg.payload import PayloadError, failure, from_plain, is_failure, unpack
from earg.process import bind, run, run_until_stopped, settle_security
from earg.protos import (
    hogar_pb2,
    hogar_pb2_grpc,
    model_pb2,
    prediction_pb2,
    prediction_pb2_grpc,
)
from earg.proxy_figures import ProxyFigures
from earg.recovery_calls import RecoveryCalls
from earg.replication import NO_BACKUP, Backup, Primary, ReplicationError, reach
from earg.routing import Place, RoutingError, find_place
from earg.sender import FRONTEND_NAME, Sender
from earg.settings import port_number, real_number, whole_number
from earg.statistics_calls import StatisticsCalls
from earg.status import PingStatus, QueueLoad, Role
from earg.status_wire import load_metadata
from earg.trails import Stage, Trails

log = logging.getLogger(__name__)

MODEL_PATIENCE = 30.0
"""Seconds that SetModel waits for the model to answer."""

JOURNAL_BYTES = 256 * 1024 * 1024
"""Bytes of outputs that are kept for requests whose clients wait."""

RETRY_PAUSE, LONGEST_RETRY_PAUSE = 0.05, 1.0
"""Seconds before what failed of a batch is computed again: the first, doubled up to the second."""

MOST_REPLICAS = 256
"""Models behind one proxy, at most."""
MAX_CAPACITY = 100_000
"""Most requests that a proxy may be set to queue."""

MAX_FINISHED = 1_000_000
"""Most finished requests that one message may name: above what the largest sender keeps."""

FENCED = 70
"""Exit code of a fenced proxy that has lost its model, or its place (sysexits.h: EX_SOFTWARE)."""

END_PAUSE = 0.05
"""Seconds from the answer to somebody who ends it until a fenced proxy ends."""

FULL_PAUSE = 0.02
"""Seconds between looks for room in a full queue."""

CLIMB_INTERVAL = 0.05
"""Seconds between looks at the proxies downstream while readiness climbs from the sinks."""


class Proxy(
    RecoveryCalls,
    hogar_pb2_grpc.LaneServicer,
    hogar_pb2_grpc.ControlServicer,
    hogar_pb2_grpc.RegisterServicer,
    StatisticsCalls,
):
    """One proxy. It owns its tasks: :meth:`close` cancels them and waits for their end."""

    def __init__(
        self,
        name: str,
        ip: str,
        port: int,
        *,
        timeout: float = 0.5,
        capacity: int = 8192,
        model_patience: float = 30.0,
        recovering: bool = False,
        fenced: bool = False,
    ) -> None:
        StatisticsCalls.__init__(self, name)
        RecoveryCalls.__init__(self)
        self._recovering = recovering
        self._on_lost = self._end if fenced else None
        self._fenced = fenced
        self._lease = Lease()
        self._name = name
        self._ip = ip
        self._port = port
        self._timeout = timeout
        self._capacity = capacity
        self._model_patience = model_patience
        self._model: ModelLink | None = None
        # By replica: the one that SetModel gave is 0.
        self._models: dict[int, ModelLink] = {}
        self._place: Place | None = None
        self._graph_and_node = ("", "")
        self._role = Role.PRIMARY
        self._journal = Journal((), capacity, JOURNAL_BYTES)
        self._primary = Primary(self._journal, self._forward, self._on_lost)
        self._backup: Backup | None = None
        self._promoting = 0
        self._backup_asked = 0
        self._computing = asyncio.Lock()
        self._taking = asyncio.Lock()
        self._idle = 0
        self._running: dict[int, list[hogar_pb2.Request]] = {}
        self._extras_text = ""
        self._choice: Choice | None = None
        self._retries = 0
        self._trails = Trails()
        self._queue: BatchQueue[hogar_pb2.Request] = BatchQueue(capacity)
        self._senders: dict[int, Sender] = {}
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

    def _end(self, reason: str) -> None:
        # At once: whatever it did from here on would be on another state than what it told.
        log.critical("%s ends: %s", self._name, reason)
        os._exit(FENCED)

    async def close(self) -> None:
        """Stop all tasks and close all channels."""
        self._lanes.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sender in self._senders.values():
            await sender.close()
        await self._primary.close()
        for model in self._models.values():
            await model.close()

    # --- deploying --------------------------------------------------------------------------

    async def SetModel(
        self, request: prediction_pb2.modelinfo, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_pb2.response:
        if self._model is not None:
            await context.abort(grpc.StatusCode.INTERNAL, "Model Already Set")
        try:
            self._model = await self._introduce(0, request)
        except ModelError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return model_pb2.response(status="ok")

    async def SetModelReplica(
        self, request: prediction_pb2.modelinfolist, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_pb2.response:
        """More models behind this proxy: an idle one takes the next batch. One whose replicaId is
        known already is left as it is."""
        if self._model is None:
            await context.abort(grpc.StatusCode.INTERNAL, "Model Not Set")
        if self._place is not None and self._place.stateful:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{self._name} is stateful: its state is in one model, so it has no replicas",
            )
        fresh = [one for one in request.list if one.replicaId not in self._models]
        if len(self._models) + len(fresh) > MOST_REPLICAS:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"a node has at most {MOST_REPLICAS} models"
            )
        try:
            for one in fresh:
                model = await self._introduce(one.replicaId, one)
                if self._place is not None:
                    self._start(self._work(one.replicaId, model))
        except ModelError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return model_pb2.response(status="ok")

    async def _introduce(self, replica: int, info: prediction_pb2.modelinfo) -> ModelLink:
        """A link to the model, once it answers; raises :class:`ModelError`."""
        model = ModelLink(info.modelIp, info.modelPort)
        model.on_lost = self._on_lost
        # Before the wait: a second SetModel meanwhile is one too many.
        self._models[replica] = model
        if replica == 0:
            self._model = model
        try:
            await model.introduce(self._name, self._port, MODEL_PATIENCE)
        except ModelError:
            del self._models[replica]
            if replica == 0:
                self._model = None
            await model.close()
            raise
        self._start(model.watch())
        return model

    async def SetExtras(
        self, request: hogar_pb2.Extras, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.Done:
        if self._place is not None:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, f"{self._name} has its graph already"
            )
        self._extras_text = request.text
        return hogar_pb2.Done()

    async def SetDAG(
        self, request: prediction_pb2.dag, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_pb2.response:
        if self._model is None or self._place is not None:
            await context.abort(grpc.StatusCode.INTERNAL, "Model Not Set")
        try:
            config = read_runtime(request.dag_, choices=bool(self._extras_text))
            extras = read_extras(self._extras_text, config.static)
            place = find_place(config, self._name, self._ip)
        except (ConfigError, ExtrasError, RoutingError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        self._place = place
        own = extras.of(place.index)
        self._choice = extras.choice_of(place.index)
        self._retries = own.retries
        self._set_limit(BatchLimit.from_config(place.batch, own.wait, own.latency), "config")
        if own.timeout is not None:
            for model in self._models.values():
                model.timeout = own.timeout
        self._graph_and_node = (config.name, config.nodes[place.index - 1].spec.name)
        self._role = place.role
        self._journal = Journal(
            place.sources if place.is_join else (), self._capacity, JOURNAL_BYTES
        )
        self._primary = Primary(
            self._journal,
            self._forward,
            self._on_lost,
            self._lease if self._fenced and place.stateful else None,
            # One that never has a backup may be wired by somebody who does not stay.
            may_be_alone=config.nodes[place.index - 1].backup is None,
        )
        self._source_of = _senders_of(config)
        targets = {index: config.nodes[index - 1].primary.proxy_ip for index in place.targets}
        self._make_senders(place, targets or {0: config.frontend_ip})
        if place.role is Role.BACKUP:
            self._backup = Backup(self._journal, self._model, fenced=self._fenced)
            self._start(self._backup.run())
        else:
            self._start_serving()
        return model_pb2.response(status="ok")

    def _start_serving(self) -> None:
        self._start(self._primary.run())
        for replica, model in self._models.items():
            self._start(self._work(replica, model))
        self._lanes.release()

    def _make_senders(self, place: Place, targets: dict[int, str]) -> None:
        """A sender for each target, by its index, with its IP address; the frontend's is 0."""
        self._senders = {
            index: Sender(
                place.index,
                self._name,
                f"{ip}:{self._port}",
                to_frontend=index == 0,
                capacity=self._capacity,
                timeout=self._timeout,
                may_send=self._primary.may_send if self._fenced else None,
            )
            for index, ip in targets.items()
        }
        for sender in self._senders.values():
            self._start(sender.run())
        self._start(self._climb(place))

    async def _climb(self, place: Place) -> None:
        """Wait until everything downstream is ready: readiness climbs from the sinks."""
        for sender in self._senders.values() if place.targets else ():
            while True:
                try:
                    if await sender.ping() == PingStatus.READY:
                        break
                except (grpc.aio.AioRpcError, OSError):
                    pass
                await asyncio.sleep(CLIMB_INTERVAL)
        self._downstream_ready = True

    def status(self) -> PingStatus:
        """What ``ping`` answers."""
        if self._model is None:
            return PingStatus.RECOVERING if self._recovering else PingStatus.MODEL_UNSET
        if all(model.failed for model in self._models.values()):
            return PingStatus.MODEL_FAILED
        if not self._downstream_ready:
            return PingStatus.MODEL_SET
        if any(sender.failed for sender in self._senders.values()):
            return PingStatus.DOWNSTREAM_FAILED
        return PingStatus.READY

    async def ping(
        self, request: prediction_pb2.ping_req, context: grpc.aio.ServicerContext[Any, Any]
    ) -> prediction_pb2.ping_reply:
        place = self._place
        # The plain protocol has no room for it in the reply.
        queued = len(self._queue)
        load = QueueLoad(queued, self._limit.now, queued + self._queue.room)
        context.set_trailing_metadata(load_metadata(load))
        return prediction_pb2.ping_reply(
            status=self.status(),
            stateful=place is not None and place.stateful,
            is_primary=self._role is Role.PRIMARY,
        )

    # --- failure ----------------------------------------------------------------------------

    async def Promote(
        self, request: hogar_pb2.PromoteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.Done:
        try:
            await self._become_primary(request.held, request.epoch)
        except ReplicationError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return hogar_pb2.Done()

    async def _become_primary(self, held: int = 0, epoch: int = 0) -> None:
        if self._role is Role.PRIMARY:
            return
        if self._backup is None or self._model is None:
            raise ReplicationError(f"{self._name} has no graph")
        backup = self._backup
        # What its primary sends from here on waits: it is refused if this one takes its place.
        self._promoting += 1
        try:
            if held and backup.epoch != held:
                raise ReplicationError(
                    f"{self._name} holds the state of epoch {backup.epoch}, not {held}"
                )
            await backup.catch_up()
            if self._backup is not backup:
                # Somebody else was quicker.
                return
            await self._primary.drop_backup(epoch)
            log.info("%s is the primary now", self._name)
            self._role = Role.PRIMARY
            self._backup = None
            self._start_serving()
            self._accept_kept()
        finally:
            self._promoting -= 1
            self._lanes.release()

    def _sends_one_alone(self) -> bool:
        return self._choice is not None

    async def _begin(
        self, place: Place, dag_name: str, model: prediction_pb2.modelinfo, targets: dict[int, str]
    ) -> str:
        """Serve at a place that somebody else has had; why it cannot be, or nothing."""
        if self._model is None:
            try:
                self._model = await self._introduce(0, model)
            except ModelError as error:
                return str(error)
        self._place = place
        self._set_limit(BatchLimit.from_config(place.batch), "recover_new_proxy")
        self._graph_and_node = (dag_name.partition("-")[0], self._name)
        self._journal = Journal(
            place.sources if place.is_join else (), self._capacity, JOURNAL_BYTES
        )
        self._primary = Primary(self._journal, self._forward, self._on_lost)
        self._make_senders(place, {i: at.rpartition(":")[0] for i, at in targets.items()})
        self._start_serving()
        return ""

    async def CatchUp(
        self, request: hogar_pb2.Done, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.Done:
        try:
            if self._backup is None:
                raise ReplicationError(f"{self._name} is no backup")
            await self._backup.catch_up()
        except ReplicationError as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return hogar_pb2.Done()

    async def SetBackup(
        self, request: hogar_pb2.BackupRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.Done:
        self._backup_asked += 1
        asked = self._backup_asked
        if not request.address:
            await self._primary.drop_backup(request.epoch)
            return hogar_pb2.Done()
        if self._model is None or self._place is None or self._role is not Role.PRIMARY:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, f"{self._name} is no primary with a graph"
            )
        try:
            if self._fenced:
                # While it cannot be reached, this one goes on without.
                await reach(request.address)
            self._primary.begin_change(request.epoch)
            try:
                async with self._computing:
                    _, states = await self._model.compute(
                        [], self._limit.limit, hogar_pb2.WHOLE_STATE
                    )
                    if not states:
                        raise ReplicationError(
                            "its model has no get_state() and set_state(), so it has nothing to "
                            "replicate"
                        )
                    if asked != self._backup_asked:
                        raise ReplicationError("somebody has said otherwise since")
                    done = await self._primary.set_backup(request.address, request.epoch, states)
            finally:
                self._primary.end_change()
            await done
        except (ModelError, ReplicationError) as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{self._name}: {error}")
        return hogar_pb2.Done()

    async def Lease(
        self, request: hogar_pb2.LeaseRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.LeaseReply:
        primary, backup, lease = self._primary, self._backup, self._lease
        is_primary = self._role is Role.PRIMARY
        if request.replaced and self._fenced and request.process == lease.process:
            primary.end()
            # The answer is to be on its way first.
            asyncio.get_running_loop().call_later(END_PAUSE, self._end, "another has its place")
        elif request.seconds > 0 and is_primary and self._place is not None:
            grant = Grant(request.process, request.stamp, request.seconds, request.epoch)
            primary.grant(grant)
        elif request.epoch and request.process == lease.process and backup is not None:
            backup.expected = request.epoch
        held = backup.epoch if backup is not None else None
        return hogar_pb2.LeaseReply(
            process=lease.process,
            stamp=lease.stamp(),
            fenced=self._fenced,
            has_graph=self._place is not None,
            is_primary=is_primary,
            epoch=primary.epoch if is_primary else held or 0,
            alone=not primary.has_backup,
            synced=primary.synced if is_primary else held is not None,
            backup_silent=primary.backup_silent,
            refused=primary.refused,
            lease_age=lease.age,
            held=primary.figures().requests,
            expected=(backup.expected or 0) if backup is not None else 0,
        )

    async def Retarget(
        self, request: hogar_pb2.RetargetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.Done:
        sender = self._senders.get(request.index)
        if sender is not None:
            sender.retarget(f"{request.address}:{self._port}")
        return hogar_pb2.Done()

    # --- requests ---------------------------------------------------------------------------

    async def downstream(
        self, request: prediction_pb2.request, context: grpc.aio.ServicerContext[Any, Any]
    ) -> model_pb2.response:
        uri = request.src_uri
        # By its name, as originals do, or by its address.
        source = self._source_of.get(uri)
        is_named = source is not None
        if source is None:
            source = self._source_of.get(uri.rpartition(":")[0])
        place = self._place
        if place is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{self._name} serves no graph yet")
        if source is None:
            # Only a join needs to know who sends.
            if place.is_join:
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"src_uri {uri[:200]!r} is not an address of this graph, nor a proxy's name",
                )
            source = 0
        try:
            payload = from_plain(request.input_.inputType, request.input_.inputStream)
        except PayloadError as error:
            payload = failure(str(error))
        one = hogar_pb2.Request(id=request.req_id, payload=payload, seq=request.seq)
        if self._role is not Role.PRIMARY:
            # An original sends to both of a pair, and takes a refusal for a failure.
            self._keep(source, one)
            return model_pb2.response(status=str(request.seq))
        while is_named and self._queue.room < 1:  # noqa: ASYNC110  the queue tells only of what came
            # An original ends at any refusal but a deadline, after which it tries again.
            await asyncio.sleep(FULL_PAUSE)
        if self._queue.room < 1:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{len(self._queue)} requests wait at {self._name} already",
            )
        try:
            self._accept(source, [one])
        except RoutingError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        self._came(source, request.seq)
        return model_pb2.response(status=str(request.seq))

    async def Open(
        self, request: hogar_pb2.LaneRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.LaneReply:
        return hogar_pb2.LaneReply(port=self._lane_port)

    def _relayed(self, message: bytes) -> bytes | None:
        """One frame of a lane: its answer, or None to hold the sender back."""
        relay = hogar_pb2.RelayRequest.FromString(message)
        if len(relay.finished) > MAX_FINISHED:
            refused = f"a message names {len(relay.finished)} finished requests at once"
            return hogar_pb2.RelayReply(refused=refused).SerializeToString()
        if self._place is None:
            return None
        if relay.HasField("replica"):
            if self._promoting:
                return None
            self._journal.finish(relay.finished)
            refused = NO_BACKUP if self._backup is None else (self._backup.take(relay.replica))
            return hogar_pb2.RelayReply(refused=refused).SerializeToString()
        if self._role is not Role.PRIMARY or self._queue.room < len(relay.requests):
            return None
        finished = self._journal.finish(relay.finished)
        if finished:
            self._primary.finish(finished)
            for sender in self._senders.values():
                sender.finish(finished)
        try:
            self._accept(relay.source, relay.requests)
        except RoutingError as error:
            return hogar_pb2.RelayReply(refused=str(error)).SerializeToString()
        return b""

    def _accept(self, source: int, requests: Iterable[hogar_pb2.Request]) -> None:
        """Queue requests that are complete and here for the first time."""
        resend = []
        accepted_before = self._accepted
        try:
            for request in requests:
                arrival = self._journal.arrive(request, source)
                if request.HasField("trace"):
                    self._trails.arrive(request.id, request.trace.hops)
                if arrival is Again.RESEND:
                    resend.append(self._journal.output_of(request.id))
                elif arrival is not Again.WAIT:
                    self._queue.put(
                        hogar_pb2.Request(id=request.id, payload=arrival, seq=request.seq)
                    )
                    self._accepted += 1
        finally:
            self._statistics.arrive(self._accepted - accepted_before)
        if resend:
            self._start(self._send(resend))

    async def _send(self, outputs: Sequence[hogar_pb2.Request]) -> None:
        if self._choice is not None:
            await self._send_chosen(self._choice, outputs)
            return
        for sender in self._senders.values():
            await sender.put(outputs)

    async def _send_chosen(self, choice: Choice, outputs: Sequence[hogar_pb2.Request]) -> None:
        """Send each output to the targets that the choice names for it; one for which there is no
        case is an error from here on."""
        targets = tuple(self._senders)
        for output in outputs:
            chosen = None
            if not is_failure(output.payload):
                try:
                    reply = unpack(output.payload) if isinstance(choice, Switch) else None
                    chosen = choose(choice, targets, output.id, reply)
                except (NoCaseError, PayloadError) as error:
                    output.payload.CopyFrom(failure(f"{self._name}: {error}"))
            for index in chosen or choose_for_failure(choice, targets, output.id):
                await self._senders[index].put([output])

    async def _forward(self, outputs: list[hogar_pb2.Request]) -> None:
        """Send computed outputs on, and keep them for whoever asks again."""
        complete = [self._journal.complete(one.id, one.payload, one.seq) for one in outputs]
        if self._trails and self._place is not None:
            self._trails.leave(complete, self._place.index)
        await self._send(complete)
        self._statistics.leave(outputs[0].id)

    async def _work(self, replica: int, model: ModelLink) -> None:
        """Take batches, let one model compute them, commit them, for ever."""
        while True:
            if model.failed and any(not one.failed for one in self._models.values()):
                # The others take what comes meanwhile.
                await model.wait_until_back(self._model_patience)
                continue
            batch = await self._take()
            self._lanes.release()
            self._running[replica] = batch
            if self._place is not None and self._place.stateful:
                async with self._computing:
                    outputs, states = await self._compute(replica, model, batch)
                    if self._primary.holds_back:
                        await self._primary.commit(outputs, states)
                        outputs = []
            else:
                outputs, _ = await self._compute(replica, model, batch)
            self._running[replica] = []
            if outputs:
                await self._forward(outputs)

    async def _take(self) -> list[hogar_pb2.Request]:
        """The next batch. One is formed at a time; what waits is shared among the models that have
        nothing to do, so that none is idle while another has all of it."""
        self._idle += 1
        async with self._taking:
            await self._queue.filled()
            limit = self._limit.now
            if wait := self._limit.limit.wait:
                waited = time.monotonic() - self._statistics.oldest_arrival
                await self._queue.filled_within(limit, wait - waited)
            elif self._idle > 1:
                limit = min(limit, -(-len(self._queue) // self._idle))
            self._idle -= 1
            return await self._queue.take(limit)

    async def _compute(
        self, replica: int, model: ModelLink, batch: list[hogar_pb2.Request]
    ) -> tuple[list[hogar_pb2.Request], Sequence[hogar_pb2.State]]:
        """The outputs of a batch. Errors pass unseen by the model; a batch whose model dies is
        tried once more, by another replica or when the model is back."""
        good = [request for request in batch if not is_failure(request.payload)]
        outputs = [request for request in batch if is_failure(request.payload)]
        counted = self._statistics.begin(len(batch), len(good))
        if self._trails:
            self._trails.begin(batch, len(good), replica)
        if not good:
            self._statistics.end(counted, outputs[0].id, 0)
            return outputs, []
        states: Sequence[hogar_pb2.State] = []
        computed = True
        try:
            payloads, states, computed = await self._try_often(model, [one.payload for one in good])
        except ModelError as error:
            log.error("a batch of %d requests failed: %s", len(good), error)
            payloads = [failure(f"{self._name}: {error}")] * len(good)
            computed = False
        outputs += [
            hogar_pb2.Request(id=request.id, payload=payload, seq=request.seq)
            for request, payload in zip(good, payloads, strict=True)
        ]
        seconds = self._statistics.end(counted, outputs[0].id, sum(map(is_failure, payloads)))
        if computed:
            self._limit.computed(len(good), seconds)
        if self._trails:
            self._trails.end(good)
        return outputs, states

    async def _try_often(
        self, model: ModelLink, payloads: list[hogar_pb2.Payload]
    ) -> tuple[list[hogar_pb2.Payload], Sequence[hogar_pb2.State], bool]:
        """What the model replies, and whether it was asked once; what fails of it is computed again
        as often as the graph says. Raises :class:`ModelError` where the last try of all requests
        ends in one."""
        if not self._retries:
            return *await self._try_twice(model, payloads), True
        replies: dict[int, hogar_pb2.Payload] = {}
        left = list(range(len(payloads)))
        states: Sequence[hogar_pb2.State] = []
        for tried in range(self._retries + 1):
            if tried:
                log.warning(
                    "%d of %d requests failed; retry %d of %d",
                    *(len(left), len(payloads), tried, self._retries),
                )
                await asyncio.sleep(min(LONGEST_RETRY_PAUSE, RETRY_PAUSE * 2 ** (tried - 1)))
            try:
                got, states = await self._try_twice(model, [payloads[at] for at in left])
            except ModelError as error:
                if tried == self._retries and len(left) == len(payloads):
                    raise
                got = [failure(f"{self._name}: {error}")] * len(left)
                # One that is still at the batch before would let this one wait for it.
                others = [one for one in self._models.values() if not one.failed]
                model = next((one for one in others if one is not model), model)
            replies.update(zip(left, got, strict=True))
            left = [at for at in left if is_failure(replies[at])]
            if not left:
                break
        # How long several tries and their pauses take says nothing of the batch limit.
        return [replies[at] for at in range(len(payloads))], states, tried == 0

    async def _try_twice(
        self, model: ModelLink, payloads: list[hogar_pb2.Payload]
    ) -> tuple[list[hogar_pb2.Payload], Sequence[hogar_pb2.State]]:
        wanted = hogar_pb2.CHANGED_STATE if self._primary.has_backup else hogar_pb2.NO_STATE
        limit = self._limit.limit
        try:
            return await model.compute(payloads, limit, wanted)
        except ModelGoneError as error:
            others = [one for one in self._models.values() if one is not model and not one.failed]
            if others:
                log.warning("%s; another model computes its batch", error)
                return await others[0].compute(payloads, limit, wanted)
            log.warning("%s; its batch is tried again when it is back", error)
            if not await model.wait_until_back(self._model_patience):
                raise
            return await model.compute(payloads, limit, wanted)

    # --- watching and tuning ----------------------------------------------------------------

    def _model_pid(self) -> int:
        # A model at another address may be on another machine.
        model = self._model
        here = model is not None and model.address.startswith(f"{self._ip}:")
        return model.pid if model is not None and here else 0

    def figures(self) -> ProxyFigures | None:
        """What its metrics tell; None before it knows its graph."""
        place = self._place
        if place is None:
            return None
        graph, node = self._graph_and_node
        replicates = place.stateful and self._role is Role.PRIMARY
        return ProxyFigures(
            graph=graph,
            node=node,
            role=self._role,
            ready=self.status() is PingStatus.READY,
            statistics=self._statistics.snapshot(self._name, self._limit.now, self._limit_set_by),
            replication=self._primary.figures() if replicates else None,
            model_pid=self._model_pid(),
            told_usage=self._told_usage(),
        )

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
            self._set_limit(self._limit.limit.scaled(request.ratio), "AdjustBatchSize")
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return model_pb2.response(status=str(self._limit.limit.most))

    def _lag(self) -> tuple[float, int]:
        return self._primary.lag()

    async def Where(
        self, request: hogar_pb2.WhereQuery, context: grpc.aio.ServicerContext[Any, Any]
    ) -> hogar_pb2.WhereReply:
        now = time.monotonic()
        running = {one.id for batch in self._running.values() for one in batch}
        positions = []
        for request_id, arrived, is_queued in self._journal.held(request.ids):
            stage = Stage.QUEUED if is_queued else Stage.GATHERING
            if self._primary.is_uncommitted(request_id):
                stage = Stage.LEAVING
            elif request_id in running:
                stage = Stage.RUNNING
            positions.append(
                hogar_pb2.Position(id=request_id, stage=stage.value, seconds=now - arrived)
            )
        return hogar_pb2.WhereReply(positions=positions)


def _senders_of(config: RuntimeConfig) -> dict[str, int]:
    """Which node sends under which name, and from which address; 0 is the frontend."""
    found = {config.frontend_ip: 0, FRONTEND_NAME: 0}
    for index, node in enumerate(config.nodes, 1):
        for pair in (node.primary, node.backup):
            if pair is not None:
                found[pair.proxy_ip] = found[pair.proxy_name] = index
    return found


async def serve(proxy: Proxy, ip: str, port: int, metrics_port: int = 0) -> None:
    """Serve until the process is asked to stop; metrics too, where they have a port."""
    server = new_server()
    prediction_pb2_grpc.add_ProxyServerServicer_to_server(proxy, server)
    hogar_pb2_grpc.add_LaneServicer_to_server(proxy, server)
    hogar_pb2_grpc.add_ControlServicer_to_server(proxy, server)
    hogar_pb2_grpc.add_StatisticsServicer_to_server(proxy, server)
    hogar_pb2_grpc.add_RegisterServicer_to_server(proxy, server)
    bind(server, ip, port)
    await proxy.listen()
    await server.start()
    metrics = serve_metrics(ip, metrics_port, proxy.figures) if metrics_port else None
    try:
        await run_until_stopped()
    finally:
        if metrics is not None:
            await asyncio.to_thread(metrics.close)
        await server.stop(grace=1.0)
        await proxy.close()


async def _main() -> None:
    environment = os.environ
    ip = listen_ip(environment)
    settle_security(LISTEN_IP=ip)
    port = port_number(environment, "PROXY_PORT", PROXY_PORT)
    proxy = Proxy(
        environment["PROXY_NAME"],
        ip,
        port,
        timeout=real_number(environment, "TIMEOUT_MS", 500, 1, 3_600_000) / 1000,
        capacity=whole_number(environment, "QUEUE_CAPACITY", 8192, 1, MAX_CAPACITY),
        model_patience=real_number(environment, "MODEL_PATIENCE_S", 30, 0, 86_400),
        recovering=environment.get("RECOVERY", "").lower() == "true",
        fenced=environment.get("FENCED", "").lower() == "true",
    )
    await serve(proxy, ip, port, whole_number(environment, "METRICS_PORT", 0, 0, 65535))


def main() -> None:
    """Run a proxy as the environment says."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run(_main())


if __name__ == "__main__":
    main()
