"""The agent: one process a host and user that starts, watches and stops the nodes there.

It serves HOGAR's ``Agent`` on a Unix socket in its home, which only its user can enter. A client
that finds no agent starts one (:func:`earg.client.connect`); such an agent ends by itself when
nothing has been deployed for a while.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TextIO

import grpc
import grpc.aio

from earg import ledger, orphans
from earg.agent_calls import EVENTS_KEPT as EVENTS_KEPT
from earg.agent_calls import AgentCalls, Context, NodeStarts
from earg.command_settings import read_commands
from earg.config import ConfigError
from earg.deployed import Deployed, DeploymentError, Engine
from earg.deployment import LocalEngine
from earg.extras import ExtrasError
from earg.handover import Starts
from earg.home import Home, HomeError, find_home, replace_file
from earg.images import Implementation
from earg.ledger import GraphRecord
from earg.metrics_targets import TargetsFile
from earg.output import forgive_output
from earg.pair import StartError
from earg.payload import CHANNEL_OPTIONS
from earg.plan import Plan, read_plan
from earg.process import INSECURE, settle_security
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.settings import SettingError
from earg.start_mark import identity
from earg.status_wire import graph_message, node_message

log = logging.getLogger(__name__)

IDLE_END = 60.0
"""Seconds without a deployed graph and without a call after which an agent that a client started
ends by itself."""

FILES_INTERVAL = 1.0
"""Seconds between looks at the home's disk."""
DRAIN_TIMEOUT = 10.0
"""Seconds in which a graph that is taken down for another of its name may answer what it has
accepted."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,199}\Z")


class Agent(AgentCalls, NodeStarts):
    """The deployed graphs of one engine, by name, and the calls that change them."""

    def __init__(self, home: Home, engine: Engine, stop: Callable[[], None]) -> None:
        super().__init__(engine.name, str(home.path))
        self._home = home
        self._engine = engine
        self._stop = stop
        # Opening and taking down: which deployment a name means changes under its lock only.
        self._names: dict[str, asyncio.Lock] = {}
        self._is_leaving = False
        self._starts: Starts[hogar_pb2.DeployNodeReply] = Starts()
        self._targets = TargetsFile(home.metrics_targets, partial(self._tell, "", "agent"))

    @property
    def idle_for(self) -> float:
        """Seconds since the last call; 0 while a graph is deployed."""
        return 0.0 if self._graphs else time.monotonic() - self._last_call

    def _changed(self) -> None:
        if self._is_leaving:
            return
        try:
            ledger.write(self._home.ledger, [graph.record() for graph in self._graphs.values()])
        except OSError as error:
            self._warnings.begin(
                "ledger",
                f"{self._home.ledger} cannot be written: {error.strerror}; a new agent could not "
                "adopt what runs",
            )
        else:
            self._warnings.end("ledger", f"{self._home.ledger} is written again")
        self._targets.write(
            target for name in sorted(self._graphs) for target in self._graphs[name].targets()
        )

    async def watch_files(self) -> None:
        """Tell when the home cannot be written, and write what is missing once it can, for ever."""
        while True:
            path, trouble = self._home.path, self._home.trouble()
            if trouble:
                self._warnings.begin(
                    "home",
                    f"{path} cannot be written: {trouble}; graphs serve on, logs lose lines, "
                    "and a deploy may fail",
                )
            else:
                self._warnings.end("home", f"{path} can be written again")
                if "ledger" in self._warnings:
                    self._changed()
                for graph in self._graphs.values():
                    graph.retry_files()
            await asyncio.sleep(FILES_INTERVAL)

    async def end_orphans(self, records: Iterable[GraphRecord]) -> None:
        """End what an agent before this one has started here and could not write down: it would run
        for ever, at addresses that others are to have."""
        found = orphans.find(identity(self._home.path), ledger.processes(records))
        await orphans.end(found)
        for one in found:
            became = "could not be ended" if one.runs else "was ended"
            self._tell(
                "",
                "agent",
                f"process {one.pid} ({one.command}) {became}: an agent that was killed had started "
                "it, and had not written it down yet",
            )

    def adopt(self, records: Iterable[GraphRecord]) -> None:
        """Own the graphs that an agent before this one has left serving."""
        for record in records:
            plan = read_plan(record.config, record.extras)
            self._graphs[record.name] = self._deployment(
                record.name, record.next_version, plan, record
            )
            self._tell(record.name, "agent", f"{os.getpid()} has adopted the graph")
        self._changed()

    def _deployment(
        self,
        name: str,
        version: str,
        plan: Plan,
        record: GraphRecord | None = None,
    ) -> Deployed:
        return self._engine.deployment(
            name,
            version,
            plan,
            self._home.graph_folder(name),
            self._changed,
            partial(self._tell, name),
            record,
        )

    def _lock(self, name: str) -> asyncio.Lock:
        return self._names.setdefault(name, asyncio.Lock())

    async def close(self) -> None:
        """Take every graph down."""
        await self._starts.close()
        await asyncio.gather(*(self._take_down(name) for name in list(self._graphs)))
        self._changed()

    async def leave(self) -> None:
        """End without taking any graph down: an agent that follows adopts them."""
        await self._starts.close()
        self._changed()
        # What ends now has not ended for whoever follows.
        self._is_leaving = True
        await asyncio.gather(*(graph.leave() for graph in self._graphs.values()))

    async def _take_down(self, name: str, drained: Deployed | None = None) -> bool:
        """Stop the graph of this name, and only ``drained`` where it is given; whether it was
        there."""
        async with self._lock(name):
            graph = self._graphs.get(name)
            if graph is None or drained not in (None, graph):
                return False
            del self._graphs[name]
            try:
                await asyncio.shield(graph.down())
            except StartError:
                # What is left of it is to be taken down by another try.
                self._graphs[name] = graph
                raise
            self._tell(name, "graph", "was taken down")
        return True

    # --- calls ------------------------------------------------------------------------------

    async def _deploy_node(
        self, request: hogar_pb2.DeployNodeRequest, timeout: float
    ) -> hogar_pb2.DeployNodeReply:
        wanted = request.implementation
        implementation = Implementation(
            wanted.entrypoint,
            wanted.folder,
            tuple((variable.name, variable.value) for variable in wanted.environment),
        )
        graph = await self._open(
            request.graph, request.version, read_plan(request.config, request.extras)
        )
        try:
            status = await graph.deploy(request.index, implementation, timeout, force=request.force)
        except StartError as error:
            log.error("%s\n%s", error, error.log)
            return hogar_pb2.DeployNodeReply(failure=str(error), log=error.log)
        finally:
            graph.deploying -= 1
        self._changed()
        return hogar_pb2.DeployNodeReply(node=node_message(status))

    async def _open(self, name: str, version: str, plan: Plan) -> Deployed:
        """The deployment of exactly this graph, which counts one more node as being deployed.

        One of the same name and topology is to become this graph, node by node; one of another
        topology is drained and taken down. Raises :class:`DeploymentError` while nodes of another
        config are being deployed: two deploys at once would leave a mixture.
        """
        for what, value in (("name", name), ("version", version)):
            if not _NAME.match(value):
                raise DeploymentError(
                    f"graph {what} {value!r}: letters, digits, '_' and '.' are admitted, "
                    "200 at most, the first no '.'"
                )
        async with self._lock(name):
            graph = self._graphs.get(name)
            if graph is None or (graph.next_version, graph.plan) != (version, plan):
                if graph is not None and graph.deploying:
                    raise DeploymentError(
                        f"graph {name} is being deployed with another config (version "
                        f"{graph.next_version}) right now; wait for that, or take the graph down"
                    )
                if graph is not None and graph.draining:
                    raise DeploymentError(f"graph {name} is being drained; deploy it afterwards")
                folder = self._home.graph_folder(name)
                if graph is not None and not graph.has_topology_of(plan.config):
                    await self._make_room(graph)
                    graph = None
                folder.mkdir(parents=True, exist_ok=True)
                replace_file(folder / "static.earg", plan.text)
                if graph is None:
                    graph = self._graphs[name] = self._deployment(name, version, plan)
                else:
                    self._tell(name, "graph", f"is being redeployed as version {version}")
                    graph.replan(version, plan)
            graph.deploying += 1
            return graph

    async def _make_room(self, graph: Deployed) -> None:
        log.info("graph %s has other nodes or edges now: the deployed one goes", graph.name)
        try:
            await graph.drain(DRAIN_TIMEOUT, force=True)
        except DeploymentError as error:
            log.warning("%s", error)
        del self._graphs[graph.name]
        await asyncio.shield(graph.down())
        self._tell(graph.name, "graph", "was taken down: its next config has other nodes or edges")

    async def Wire(
        self, request: hogar_pb2.GraphRequest, context: Context
    ) -> hogar_pb2.GraphStatus:
        async def work() -> hogar_pb2.GraphStatus:
            graph = self._graph(request.graph)
            await graph.wire()
            return graph_message(await graph.status())

        return await self._answer(context, work())

    async def NodeLog(self, request: hogar_pb2.LogRequest, context: Context) -> hogar_pb2.LogReply:
        async def work() -> hogar_pb2.LogReply:
            graph = self._graph(request.graph)
            text, path = await graph.log(
                request.index,
                min(max(1, request.lines), 1000),
                proxy=request.proxy,
                backup=request.backup,
            )
            return hogar_pb2.LogReply(text=text, path=path)

        return await self._answer(context, work())

    async def Down(self, request: hogar_pb2.GraphRequest, context: Context) -> hogar_pb2.Done:
        async def work() -> hogar_pb2.Done:
            if not await self._take_down(request.graph):
                # Raises, and tells which there are.
                self._graph(request.graph)
            return hogar_pb2.Done()

        return await self._answer(context, work())

    async def Shutdown(self, request: hogar_pb2.Done, context: Context) -> hogar_pb2.Done:
        await self.close()
        self._stop()
        return hogar_pb2.Done()


# --- the process ----------------------------------------------------------------------------


async def run(home: Home, engine: Engine, idle_end: float | None) -> None:
    """Serve until told to stop, or for ``idle_end`` seconds after the last use."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    home.socket.unlink(missing_ok=True)
    told = asyncio.Event()

    def stop() -> None:
        told.set()
        stopped.set()

    agent = Agent(home, engine, stop)
    server = grpc.aio.server(options=CHANNEL_OPTIONS)
    hogar_pb2_grpc.add_AgentServicer_to_server(agent, server)
    server.add_insecure_port(home.target)
    home.check_socket()
    await engine.open()
    try:
        records = ledger.read(home.ledger)
        await agent.end_orphans(records)
        agent.adopt(records)
    except (ledger.LedgerError, ConfigError, ExtrasError) as error:
        log.error("what an agent before this one has left cannot be adopted: %s", error)
    await server.start()
    log.info("agent %d serves on %s", os.getpid(), home.socket)
    watching = asyncio.gather(agent.watch_files(), agent.sample_nodes())
    try:
        while not stopped.is_set():
            if idle_end is not None and agent.idle_for > idle_end:
                log.info("nothing was deployed for %.0f s", idle_end)
                break
            try:
                async with asyncio.timeout(1.0 if idle_end is not None else None):
                    await stopped.wait()
            except TimeoutError:
                continue
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        if engine.runs_on and not told.is_set():
            await agent.leave()
        else:
            await agent.close()
        await server.stop(grace=1.0)
        await engine.close()
        home.socket.unlink(missing_ok=True)
        log.info("agent %d has stopped", os.getpid())


def take_lock(home: Home) -> TextIO | None:
    """The agent's lock, or None where another agent holds it."""
    file = home.lock.open("a", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _detach() -> None:
    """Become a process of its own, with no terminal and no parent to wait for it."""
    if os.fork() > 0:
        os._exit(0)
    os.setsid()


def main(arguments: list[str] | None = None) -> int:
    """Run an agent; exit code 0, also where one runs already."""
    parser = argparse.ArgumentParser(prog="python -m earg.agent", description=__doc__)
    parser.add_argument("--home", type=Path, help="the agent's folder (default: $EARG_HOME)")
    parser.add_argument("--detach", action="store_true", help="run in the background")
    parser.add_argument(
        "--idle-end",
        type=float,
        metavar="SECONDS",
        help="end after so long with nothing deployed (default: never)",
    )
    options = parser.parse_args(arguments)
    # Its own socket needs none of it; what it starts, and calls, does.
    settle_security()
    try:
        commands = read_commands(os.environ)
    except SettingError as error:
        print(error, file=sys.stderr)
        return INSECURE
    home = find_home(options.home)
    os.umask(0o077)
    try:
        home.prepare()
    except HomeError as error:
        print(error, file=sys.stderr)
        return 1
    if options.detach:
        _detach()
    forgive_output()
    try:
        lock = take_lock(home)
    except OSError as error:
        print(f"{home.lock} cannot be opened: {error.strerror}", file=sys.stderr)
        return 1
    if lock is None:
        print(f"an agent runs in {home.path} already", file=sys.stderr)
        return 0
    with lock:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        commands = replace(commands, home=identity(home.path))
        asyncio.run(run(home, LocalEngine(commands), options.idle_end))
    return 0


if __name__ == "__main__":
    sys.exit(main())
