"""A model and the proxy beside it, as processes of the agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from earg.addresses import Ports
from earg.answered import answered
from earg.channel import open_channel
from earg.child import STOP_GRACE, Child, LogError
from earg.config import NodeSpec, Pair
from earg.environment import QUIET, model_environment, process_environment
from earg.images import Implementation
from earg.ledger import PairRecord, ReplicaRecord
from earg.process import ADDRESS_IN_USE
from earg.protos import (
    hogar_pb2,
    hogar_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    prediction_pb2,
    prediction_pb2_grpc,
)
from earg.status import SERVING, NodeState, PairStatus, PingStatus, QueueLoad, Role
from earg.status_wire import read_load
from earg.together import all_of

TRACEBACK_LINES = 60
"""Lines of a process's log that are shown when it could not start."""

CALL_TIMEOUT = 5.0
"""Seconds for a call that a healthy proxy answers at once."""

PROXY_TIMEOUT = 20.0
"""Seconds for a proxy to come up; it has nothing to load."""

SYNC_TIMEOUT = 120.0
"""Seconds for a backup to take over the whole state, or its last part."""


OWN_PROXY, OWN_FRONTEND = ("earg.proxy",), ("earg.frontend",)
"""How the commands end that are ours: no others serve metrics."""


class StartError(RuntimeError):
    """A process that did not come up; ``log`` holds the last lines it wrote."""

    def __init__(self, sentence: str, log: str = "") -> None:
        super().__init__(sentence)
        self.log = log


class AddressTakenError(StartError):
    """Somebody else took the address between the look and the start."""


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands of a proxy and a frontend: an original, given the same environment, can take
    the place of ours. A model's command is that of its implementation. ``home`` is the identity of
    the home that they are started for (see :mod:`earg.start_mark`), empty where there is none."""

    model: tuple[str, ...] = (sys.executable, "-P", "-m", "earg.model")
    proxy: tuple[str, ...] = (sys.executable, "-P", "-m", "earg.proxy")
    frontend: tuple[str, ...] = (sys.executable, "-P", "-m", "earg.frontend")
    proxies: tuple[tuple[str, tuple[str, ...]], ...] = ()
    home: str = ""

    def proxy_of(self, operator: str) -> tuple[str, ...]:
        """The command of an operator's proxies: ``proxies`` names those that differ."""
        return dict(self.proxies).get(operator, self.proxy)

    def is_original(self, operator: str) -> bool:
        """Whether an operator's proxies are not ours."""
        return self.proxy_of(operator)[-1:] != OWN_PROXY


async def wait_until_up(
    child: Child, what: str, answers: Awaitable[object], timeout: float
) -> None:
    """Wait until ``answers`` does, or raise :class:`StartError` when the process ends first."""
    asking = asyncio.ensure_future(answers)
    ending = asyncio.ensure_future(child.wait())
    try:
        done, _ = await asyncio.wait(
            {asking, ending}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
        answered = asking in done and _has_answered(what, asking)
    finally:
        asking.cancel()
        ending.cancel()
        await asyncio.gather(asking, ending, return_exceptions=True)
    if child.running and answered:
        child.has_answered = True
        return
    tail = child.tail(TRACEBACK_LINES)
    if child.running:
        raise StartError(f"{what} did not answer within {timeout:.0f} s", tail)
    if child.exit_code == ADDRESS_IN_USE:
        raise AddressTakenError(f"the address of {what} is taken", tail)
    raise StartError(f"{what} {child.describe_exit()}", tail)


def _has_answered(what: str, asking: asyncio.Future[object]) -> bool:
    error = asking.exception()
    if error is None:
        return True
    if not isinstance(error, grpc.aio.AioRpcError | OSError):
        raise error
    code = error.code() if isinstance(error, grpc.aio.AioRpcError) else None
    if code is grpc.StatusCode.UNIMPLEMENTED:
        # An original that does not know the call is up all the same.
        return True
    if code in (None, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return False
    raise StartError(f"{what} refuses: {_details(error)}")


def _details(error: grpc.aio.AioRpcError | OSError) -> str:
    return (error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)) or ""


@dataclass(slots=True)
class Replica:
    """One more model behind a pair's proxy; ``number`` is from 1 on, at an address of its own."""

    number: int
    ip: str
    model: Child | None = None

    @property
    def kind(self) -> str:
        """As its process is called in logs and events."""
        return f"model{self.number + 1}"


class RunningPair:
    """One pair of a node. :meth:`start` brings it up to the point where its proxy has its model;
    :meth:`send_graph` lets it serve."""

    def __init__(
        self,
        *,
        name: str,
        index: int,
        role: Role,
        spec: NodeSpec,
        ip: str,
        replica_ips: Sequence[str] = (),
        ports: Ports,
        commands: Commands,
        folder: Path,
        on_start: Callable[[], None],
        on_exit: Callable[[RunningPair, Child, str], None],
        admin: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        # Where its logs are: a pair that is started beside one of its name has others.
        self.log_name = name.partition(".")[2]
        self.index = index
        self.role = role
        self.ip = ip
        self.wired = False
        self.frozen = False
        # How a replaced proxy differs from the one before; see earg.recovery_sequence.
        self.generation = 0
        self.beside_originals = False
        self.is_sink = False
        self.recovers = False
        self.was_wired = False
        # Waited for before another proxy is started in the place of one that served.
        self.before_restart: Callable[[], Awaitable[None]] | None = None
        self._admin = admin or {}
        # To which addresses its proxy sends, by node, as far as this agent has told it.
        self.targets: dict[int, str] = {}
        self.spec = spec
        self._ports = ports
        self._commands = commands
        self._folder = folder
        self._on_start = on_start
        self._on_exit = on_exit
        self.model: Child | None = None
        self.proxy: Child | None = None
        self.replicas = [Replica(number, one) for number, one in enumerate(replica_ips, 1)]
        self._failure = ""
        # A deploy that has no log fails; what has served comes back all the same.
        self._has_served = False
        self._was_ready = False
        self._channel: grpc.aio.Channel | None = None

    @property
    def pair(self) -> Pair:
        """Its fields in the runtime config; the proxy's name is what the proxy is started with."""
        return Pair(
            model_name=f"{self.name}.model",
            model_id=f"{self.name}.model",
            model_ip=self.ip,
            proxy_name=self.proxy_name,
            proxy_id=self.proxy_name,
            proxy_ip=self.ip,
        )

    @property
    def models(self) -> list[Child | None]:
        """Its models by replica; one that was never started is None."""
        return [self.model, *(replica.model for replica in self.replicas)]

    @property
    def proxy_name(self) -> str:
        """Its proxy's name. An original never speaks again to a name that has failed, so beside
        originals each proxy has one of its own."""
        return f"{self.name}.proxy{f'.{self.generation}' if self.generation else ''}"

    @property
    def is_original(self) -> bool:
        """Whether its proxy is not ours."""
        return self._commands.is_original(self.spec.name)

    async def _start_proxy(self) -> Child:
        if self.beside_originals and self.was_wired:
            self.generation += 1
            if self.before_restart is not None:
                await self.before_restart()
        # An original that follows another waits for recover_new_proxy; a sink's cannot.
        self.recovers = self.is_original and self.was_wired and not self.is_sink
        command = self._commands.proxy_of(self.spec.name)
        return await self._start_child("proxy", command, self._proxy_variables())

    @property
    def running(self) -> bool:
        """Whether all its processes run."""
        return all(child is not None and child.running for child in (*self.models, self.proxy))

    @property
    def serves(self) -> bool:
        """Whether its proxy runs, and a model that it can use."""
        proxy_runs = self.proxy is not None and self.proxy.running
        return proxy_runs and any(one is not None and one.running for one in self.models)

    @property
    def addresses(self) -> list[str]:
        """All that it uses."""
        return [self.ip, *(replica.ip for replica in self.replicas)]

    @property
    def processes(self) -> list[tuple[str, str, Child]]:
        """Its processes that were started, with what each is and where it listens."""
        found = [("model", self.ip, self.model), ("proxy", self.ip, self.proxy)]
        found += [(replica.kind, replica.ip, replica.model) for replica in self.replicas]
        return [(kind, ip, child) for kind, ip, child in found if child is not None]

    @property
    def metrics_address(self) -> str:
        """Where its proxy serves metrics; empty before it is started, and for an original."""
        if self.proxy is None or self.is_original:
            return ""
        return f"{self.ip}:{self._ports.metrics}"

    @property
    def proxy_channel(self) -> grpc.aio.Channel | None:
        """The channel to its proxy; None while there is none."""
        return self._channel

    async def start(self, implementation: Implementation, timeout: float) -> None:
        """Start both processes and give the proxy its model; raises :class:`StartError`.

        ``timeout`` seconds are for the model, which may have much to load.
        """
        self._failure = ""
        waits = await self._start_models(implementation, timeout)
        try:
            self.proxy = await self._start_proxy()
            self._on_start()
        except BaseException:
            for wait in waits:
                wait.close()
            raise
        await all_of(waits)
        await self._wait_for_proxy(self.proxy)
        self._has_served = True

    async def restart_models(self, implementation: Implementation, timeout: float) -> None:
        """Start the models that do not run anew, beside a proxy that runs on; raises
        :class:`StartError`."""
        self._failure = ""
        await all_of(await self._start_models(implementation, timeout))

    async def _start_models(
        self, implementation: Implementation, timeout: float
    ) -> list[Coroutine[Any, Any, None]]:
        """Start the models that do not run; what waits for each."""
        waits = []
        command = self._commands.model
        if self.model is None or not self.model.running:
            variables = self._model_variables(implementation, "model", self.ip)
            self.model = await self._start_child("model", command, variables)
            self._on_start()
            waits.append(self._wait_for_model(self.model, self.ip, timeout))
        for replica in self.replicas:
            if replica.model is None or not replica.model.running:
                variables = self._model_variables(implementation, replica.kind, replica.ip)
                replica.model = await self._start_child(replica.kind, command, variables)
                self._on_start()
                waits.append(self._wait_for_model(replica.model, replica.ip, timeout))
        return waits

    async def restart_proxy(self) -> None:
        """Start the proxy anew beside a model that runs on; raises :class:`StartError`."""
        self._failure = ""
        self.wired = False
        if self.proxy is not None and self.proxy.running:
            self.proxy.stopping = True
            self.proxy.kill()
            await self.proxy.wait()
        self.proxy = await self._start_proxy()
        self._on_start()
        await self._wait_for_proxy(self.proxy)

    async def _wait_for_model(self, model: Child, ip: str, timeout: float) -> None:
        async with open_channel(f"{ip}:{self._ports.model}") as channel:
            stub = model_pb2_grpc.PredictServiceStub(channel)
            hello = stub.Ping(model_pb2.hi(msg="hello"), timeout=timeout, wait_for_ready=True)
            await wait_until_up(model, f"the model of {self.name}", hello, timeout)

    async def _wait_for_proxy(self, proxy: Child) -> None:
        await self._close_channel()
        channel = open_channel(f"{self.ip}:{self._ports.proxy}")
        self._channel = channel
        stub = prediction_pb2_grpc.ProxyServerStub(channel)
        ping = stub.ping(prediction_pb2.ping_req(), timeout=PROXY_TIMEOUT, wait_for_ready=True)
        await wait_until_up(proxy, f"the proxy of {self.name}", ping, PROXY_TIMEOUT)
        if not self.recovers:
            await self._set_model(stub)

    async def _set_model(self, stub: prediction_pb2_grpc.ProxyServerStub) -> None:
        info = prediction_pb2.modelinfo(
            modelName=self.pair.model_name,
            modelPort=self._ports.model,
            modelId=self.index,
            modelIp=self.ip,
            modelHost=self.ip,
        )
        if self.model is None or not self.model.running:
            raise StartError(f"the model of {self.name} does not run")
        # The proxy waits for its model; one that dies meanwhile need not be waited for.
        call = answered(stub.SetModel(info, timeout=CALL_TIMEOUT))
        await wait_until_up(self.model, f"the model of {self.name}", call, CALL_TIMEOUT)
        if not self.replicas:
            return
        more = [
            prediction_pb2.modelinfo(
                modelName=f"{self.name}.{replica.kind}",
                modelPort=self._ports.model,
                modelId=self.index,
                modelIp=replica.ip,
                modelHost=replica.ip,
                replicaId=replica.number,
            )
            for replica in self.replicas
        ]
        message = prediction_pb2.modelinfolist(list=more)
        try:
            await answered(stub.SetModelReplica(message, timeout=CALL_TIMEOUT))
        except (grpc.aio.AioRpcError, OSError) as error:
            raise StartError(
                f"the proxy of {self.name} did not take its replicas: {_details(error)}"
            ) from None

    async def _start_child(
        self, kind: str, command: tuple[str, ...], variables: dict[str, str]
    ) -> Child:
        log = self._folder / "logs" / f"{self.log_name}.{kind}.log"
        passed_on = process_environment() if kind == "proxy" else model_environment()
        environment = passed_on | QUIET | variables
        try:
            # The name is for people who read a process list; the programs take no arguments.
            return await Child.start(
                [*command, self.name],
                environment,
                self._folder,
                log,
                self._on_child_exit(kind),
                home=self._commands.home,
                needs_log=not self._has_served,
            )
        except LogError as error:
            raise StartError(f"the {kind} of {self.name} is not started: its log {error}") from None
        except OSError as error:
            raise StartError(f"{command[0]} cannot be started: {error}") from None

    def _on_child_exit(self, kind: str) -> Callable[[Child], None]:
        def on_exit(child: Child) -> None:
            if not child.stopping and not self.serves:
                self._failure = f"its {kind} {child.describe_exit()}"
            self._on_exit(self, child, kind)

        return on_exit

    def _model_variables(
        self, implementation: Implementation, kind: str, ip: str
    ) -> dict[str, str]:
        return dict(implementation.environment) | {
            "MODEL_NAME": f"{self.name}.{kind}",
            "MODEL_VERSION": self.spec.version,
            "MODEL_PORT": str(self._ports.model),
            "PROXY_NAME": self.pair.proxy_name,
            "PROXY_PORT": str(self._ports.proxy),
            "LISTEN_IP": ip,
            "EARG_ENTRYPOINT": implementation.entrypoint,
            "EARG_FOLDER": implementation.folder,
        }

    def _proxy_variables(self) -> dict[str, str]:
        return {
            **self._admin,
            "PROXY_NAME": self.pair.proxy_name,
            "PROXY_PORT": str(self._ports.proxy),
            "MODEL_PORT": str(self._ports.model),
            "METRICS_PORT": str(self._ports.metrics),
            "LISTEN_IP": self.ip,
            "RECOVERY": "True" if self.recovers else "False",
            "CACHING": "False",
            "CACHE_SIZE_MB": "0",
            "TIMEOUT_MS": "500",
            "INIT_RETRY_TIMES": "10",
        }

    def rename_logs(self, log_name: str) -> None:
        """Let its logs have another name; those of that name are kept as ``.1``."""
        self.log_name = log_name
        for kind, _, child in self.processes:
            log = self._folder / "logs" / f"{log_name}.{kind}.log"
            with contextlib.suppress(OSError):
                if log.exists():
                    log.replace(log.with_name(log.name + ".1"))
                child.log.replace(log)
                child.log = log

    async def send_graph(self, runtime: str, targets: dict[int, str], extras: str = "") -> None:
        """SetDAG on the proxy, which sends to ``targets`` then, after the graph's ``extras``.
        Raises :class:`StartError`."""
        if self._channel is None:
            raise StartError(f"the proxy of {self.name} does not run")
        if extras:
            await self._control("SetExtras", hogar_pb2.Extras(text=extras), CALL_TIMEOUT)
        stub = prediction_pb2_grpc.ProxyServerStub(self._channel)
        try:
            await answered(stub.SetDAG(prediction_pb2.dag(dag_=runtime), timeout=CALL_TIMEOUT))
        except (grpc.aio.AioRpcError, OSError) as error:
            raise StartError(
                f"the proxy of {self.name} did not take the graph: {_details(error)}",
                self.proxy.tail(TRACEBACK_LINES) if self.proxy else "",
            ) from None
        self.has_graph(targets)

    def has_graph(self, targets: dict[int, str]) -> None:
        """Its proxy knows its place, and sends to ``targets``."""
        self.targets = dict(targets)
        self._was_ready = False
        self.wired = self.was_wired = True

    def record(self) -> PairRecord:
        """What :meth:`adopt` needs."""
        return PairRecord(
            name=self.name,
            ip=self.ip,
            wired=self.wired,
            model=self.model.record() if self.model is not None else None,
            proxy=self.proxy.record() if self.proxy is not None else None,
            replicas=tuple(
                ReplicaRecord(one.ip, one.model.record() if one.model is not None else None)
                for one in self.replicas
            ),
            generation=self.generation,
        )

    def adopt(self, record: PairRecord) -> None:
        """Own the processes that an agent before this one has started, as far as they run."""
        self.wired = self.was_wired = record.wired
        self.generation = record.generation
        self._has_served = True
        self.model = (
            Child.adopt(record.model, self._on_child_exit("model")) if record.model else None
        )
        self.proxy = (
            Child.adopt(record.proxy, self._on_child_exit("proxy")) if record.proxy else None
        )
        for replica, known in zip(self.replicas, record.replicas, strict=True):
            if known.model is not None:
                replica.model = Child.adopt(known.model, self._on_child_exit(replica.kind))
        if self.proxy is None:
            self.wired = False
            return
        self.proxy.has_answered = record.wired
        self._channel = open_channel(f"{self.ip}:{self._ports.proxy}")
        # The agent before may have ended in the middle of a hand-over.
        self.thaw()

    def freeze(self) -> None:
        """Hold both processes where they are, until :meth:`thaw` or :meth:`kill`."""
        self.frozen = True
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let both processes go on."""
        self._signal(signal.SIGCONT)
        self.frozen = False

    def _signal(self, number: signal.Signals) -> None:
        for _, _, child in self.processes:
            if child.running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, number)

    async def catch_up(self) -> None:
        """Wait until this backup's model has taken over what came; raises :class:`StartError`."""
        await self._control("CatchUp", hogar_pb2.Done(), SYNC_TIMEOUT)

    async def promote(self) -> None:
        """Make this backup the primary; raises :class:`StartError`."""
        await self._control("Promote", hogar_pb2.PromoteRequest(), SYNC_TIMEOUT)
        self.role = Role.PRIMARY

    async def set_backup(self, address: str, epoch: int) -> None:
        """Let this primary replicate to the backup at ``address``, or to none where it is empty;
        returns when the backup has the whole state. Raises :class:`StartError`."""
        full = f"{address}:{self._ports.proxy}" if address else ""
        request = hogar_pb2.BackupRequest(address=full, epoch=epoch)
        await self._control("SetBackup", request, SYNC_TIMEOUT)

    async def retarget(self, index: int, address: str) -> None:
        """Let the proxy send to node ``index`` at ``address``; raises :class:`StartError`."""
        request = hogar_pb2.RetargetRequest(index=index, address=address)
        await self._control("Retarget", request, CALL_TIMEOUT)
        self.targets[index] = address

    async def set_batch_limit(self, limit: hogar_pb2.BatchLimit) -> hogar_pb2.BatchLimit:
        """Set the proxy's batch limit; what was set before. Raises :class:`StartError`."""
        if self._channel is None:
            raise StartError(f"the proxy of {self.name} does not run; try again later")
        stub = hogar_pb2_grpc.StatisticsStub(self._channel)
        try:
            return await answered(stub.SetBatchLimit(limit, timeout=CALL_TIMEOUT))
        except (grpc.aio.AioRpcError, OSError) as error:
            raise StartError(f"{self.spec.name}: {_details(error)}") from None

    async def _control(self, call: str, request: Any, timeout: float) -> None:
        if self._channel is None:
            raise StartError(f"the proxy of {self.name} does not run")
        try:
            stub = hogar_pb2_grpc.ControlStub(self._channel)
            await answered(getattr(stub, call)(request, timeout=timeout))
        except (grpc.aio.AioRpcError, OSError) as error:
            raise StartError(
                f"the proxy of {self.name} did not {call}: {_details(error)}"
            ) from None

    async def holds_requests(self) -> bool:
        """Whether its proxy has requests that it has not handed on; an original does not tell.
        Raises :class:`StartError` where it does not answer."""
        if self._channel is None:
            raise StartError(f"the proxy of {self.name} does not run")
        stub = hogar_pb2_grpc.StatisticsStub(self._channel)
        try:
            seen = await answered(stub.Stats(hogar_pb2.StatsRequest(), timeout=CALL_TIMEOUT))
        except (grpc.aio.AioRpcError, OSError) as error:
            raise StartError(f"the proxy of {self.name}: {_details(error)}") from None
        return bool(seen.queued or seen.running or seen.leaving)

    async def ping(self) -> tuple[PingStatus | None, QueueLoad | None]:
        """What its proxy answers to ``ping``, None where it does not; and its queue's load, None
        where the proxy is an original."""
        if self._channel is None or not self.serves:
            return None, None
        stub = prediction_pb2_grpc.ProxyServerStub(self._channel)
        try:
            call = stub.ping(prediction_pb2.ping_req(), timeout=1.0)
            reply = await answered(call)
            # It came with the reply: there is nothing to wait for.
            metadata: Iterable[Any] = await answered(call.trailing_metadata()) or ()
            return PingStatus(reply.status), read_load(metadata)
        except (grpc.aio.AioRpcError, OSError, ValueError):
            return None, None

    async def status(self) -> PairStatus:
        """What it does now."""
        answer, load = await self.ping()
        state, reason = NodeState.STARTING, ""
        if self._failure:
            state, reason = NodeState.RECOVERING, self._failure
        elif answer is PingStatus.MODEL_FAILED:
            state, reason = NodeState.RECOVERING, "its model does not answer"
        elif answer is PingStatus.READY and self.wired:
            self._was_ready = True
            state = NodeState.READY
            if load is not None and load.is_busy:
                state, reason = NodeState.BUSY, str(load)
        elif answer is PingStatus.DOWNSTREAM_FAILED and self._was_ready:
            # That one says so itself; this one keeps for it what it does not take.
            state, reason = NodeState.READY, "a node behind it does not answer"
        elif answer is None and self._was_ready:
            state, reason = NodeState.RECOVERING, "its proxy does not answer"
        elif answer is None:
            reason = "its proxy does not answer" if self.wired else "its processes start"
        else:
            waits = "its proxy waits for the nodes behind it" if self.wired else "not wired yet"
            reason = f"{waits} (ping: {answer.name})"
        model, proxy = self.model, self.proxy
        pids = [one.pid if one is not None and one.running else 0 for one in self.models]
        if state in SERVING and not all(pids):
            state = NodeState.DEGRADED
            reason = f"{len(pids) - pids.count(0)} of its {len(pids)} models run"
        return PairStatus(
            role=self.role,
            state=state,
            address=self.ip,
            model_pid=pids[0],
            model_pids=tuple(pids),
            proxy_pid=proxy.pid if proxy is not None and proxy.running else 0,
            reason=reason,
            model_log=str(model.log) if model is not None else "",
            proxy_log=str(proxy.log) if proxy is not None else "",
        )

    async def stop(self, grace: float = STOP_GRACE) -> None:
        """Stop all its processes, KILL ``grace`` seconds after TERM; returns when they are gone."""
        await self._close_channel()
        children = [child for _, _, child in self.processes]
        await asyncio.gather(*(child.stop(grace) for child in children))

    async def kill(self) -> None:
        """End all its processes at once: what is left of a pair that failed must not act."""
        children = [child for _, _, child in self.processes]
        for child in children:
            child.stopping = True
            child.kill()
        await asyncio.gather(*(child.wait() for child in children))

    async def _close_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
