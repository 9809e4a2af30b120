"""The agent's client: what the command line and Airflow's hook talk to nodes with."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from earg.environment import process_environment
from earg.home import Home, HomeError, find_home
from earg.images import Implementation
from earg.ledger import started_at
from earg.payload import CHANNEL_OPTIONS
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.request_wire import (
    GraphLoad,
    RequestInGraph,
    read_load_of_graph,
    read_requests,
    read_trace,
)
from earg.security import SecurityError, security
from earg.statistics import GraphStatistics
from earg.statistics_wire import read_graph_statistics
from earg.status import Event, GraphStatus, NodeStatus
from earg.status_wire import read_event, read_graph, read_node
from earg.traces import Trace

CALL_TIMEOUT = 10.0
"""Seconds for calls that only look."""

DOWN_TIMEOUT = 60.0
"""Seconds for calls that stop processes."""

Reply = TypeVar("Reply")


class AgentError(RuntimeError):
    """What the agent refused or could not do, as a sentence."""


class NoAgentError(AgentError):
    """No agent runs, and none was to be started."""


class DeadlineError(AgentError):
    """The agent did not finish in time."""


class NoStartError(AgentError):
    """The start that was to be waited for is not under way."""


class UndrainedError(AgentError):
    """A graph that had ``left`` requests without a reply when its time to drain had passed; it
    serves again."""

    def __init__(self, graph: str, timeout: float, left: int) -> None:
        requests = "1 request was" if left == 1 else f"{left} requests were"
        super().__init__(
            f"graph {graph} is not drained: {requests} left after {timeout:g} s; it serves again"
        )
        self.left = left


class ModelFailed(AgentError):  # noqa: N818
    """A node that did not come up. ``traceback`` is the end of its process's log: the model's own
    traceback where its class raised."""

    def __init__(self, sentence: str, traceback: str) -> None:
        super().__init__(f"{sentence}\n{traceback}" if traceback else sentence)
        self.sentence = sentence
        self.traceback = traceback


@dataclass(frozen=True, slots=True)
class BatchSetting:
    """How a node batches: see :meth:`AgentClient.set_batch_limit`. ``who`` has set it."""

    limit: int
    who: str
    wait: float
    objective: float
    dynamic: bool


def deploy_request(
    graph: str,
    version: str,
    config: str,
    index: int,
    implementation: Implementation,
    *,
    extras: str = "",
    start: str = "",
    start_timeout: float = 0.0,
    force: bool = False,
) -> hogar_pb2.DeployNodeRequest:
    """The message of :meth:`AgentClient.deploy_node`."""
    return hogar_pb2.DeployNodeRequest(
        graph=graph,
        version=version,
        config=config,
        index=index,
        extras=extras,
        implementation=hogar_pb2.Implementation(
            entrypoint=implementation.entrypoint,
            folder=implementation.folder,
            environment=[
                hogar_pb2.EnvironmentVariable(name=name, value=value)
                for name, value in implementation.environment
            ],
        ),
        start=start,
        start_timeout=start_timeout,
        force=force,
    )


def join_request(start: str) -> hogar_pb2.DeployNodeRequest:
    """The message that waits for a start that another client has begun."""
    return hogar_pb2.DeployNodeRequest(start=start)


def deployed_node(reply: hogar_pb2.DeployNodeReply) -> NodeStatus:
    """The node of an answer; raises :class:`ModelFailed` where it did not come up."""
    if reply.failure:
        raise ModelFailed(reply.failure, reply.log)
    return read_node(reply.node)


def read_error(error: grpc.RpcError, home: Home, timeout: float) -> AgentError:
    """What a failed call means; ``timeout`` is the seconds that it was given."""
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE:
        return NoAgentError(f"the agent in {home.path} does not answer: {details}")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(f"the agent did not finish within {timeout:.0f} s")
    if code is grpc.StatusCode.NOT_FOUND:
        return NoStartError(details)
    return AgentError(details or code.name)


class AgentClient:
    """Calls of one agent. Every method raises :class:`AgentError`; it is safe between threads."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._channel = grpc.insecure_channel(home.target, options=CHANNEL_OPTIONS)
        self._stub = hogar_pb2_grpc.AgentStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; the agent runs on."""
        self._channel.close()

    def _call(self, method: Callable[..., Reply], request: Any, timeout: float) -> Reply:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise read_error(error, self.home, timeout) from None

    def hello(self, timeout: float = CALL_TIMEOUT) -> tuple[str, int]:
        """The agent's version and pid."""
        reply = self._call(self._stub.Hello, hogar_pb2.HelloRequest(), timeout)
        return reply.version, reply.pid

    def deploy_node(
        self,
        graph: str,
        version: str,
        config: str,
        index: int,
        implementation: Implementation,
        *,
        extras: str = "",
        timeout: float = 120.0,
        start: str = "",
        start_timeout: float = 0.0,
        force: bool = False,
    ) -> NodeStatus:
        """Start the node's model and proxy, and for a stateful one the backup's, unless they run
        already; returns once the model is constructed and its proxy has it.

        ``config`` is the static EARG config of the whole graph, and ``extras`` the text of what it
        says beyond it (docs/extras.md). Of a deployed graph of the same
        name, nodes and edges, a node whose version, image or implementation differs is replaced
        while the graph serves, and one whose batch differs is told its new limit; one of other
        nodes or edges is drained and taken down first. Raises :class:`ModelFailed` for a node that
        does not come up; then nothing of it is left running, and what served before serves on.

        With ``force`` a node that runs already is replaced, too. With ``start``, a name that the
        caller makes up, the node may take ``start_timeout`` seconds, and a call that ends with
        :class:`DeadlineError` before that leaves the start to whoever sends
        :func:`join_request` within a minute.
        """
        request = deploy_request(
            *(graph, version, config, index, implementation),
            extras=extras,
            start=start,
            start_timeout=start_timeout,
            force=force,
        )
        return deployed_node(self._call(self._stub.DeployNode, request, timeout))

    def wire(self, graph: str, *, timeout: float = 30.0) -> GraphStatus:
        """Start the frontend and send every proxy the graph, where that is not done yet."""
        request = hogar_pb2.GraphRequest(graph=graph)
        return read_graph(self._call(self._stub.Wire, request, timeout))

    def probe(self, graph: str, index: int, *, timeout: float = 60.0) -> NodeStatus:
        """Wait until every pair of the node answers READY."""
        request = hogar_pb2.NodeRequest(graph=graph, index=index)
        return read_node(self._call(self._stub.Probe, request, timeout))

    def serve(self, graph: str, *, timeout: float = 30.0) -> GraphStatus:
        """Wait until the frontend passes requests on; ``url`` of the answer is where."""
        request = hogar_pb2.GraphRequest(graph=graph)
        return read_graph(self._call(self._stub.Serve, request, timeout))

    def graphs(self, name: str = "", age: float = 0.0) -> tuple[GraphStatus, ...]:
        """All deployed graphs, by name; with a ``name`` the one, or none. What is told may be
        ``age`` seconds old where no process has ended since: that costs the nodes nothing."""
        request = hogar_pb2.GraphsRequest(graph=name, age=age)
        reply = self._call(self._stub.Graphs, request, CALL_TIMEOUT)
        # An agent of an older version tells of all.
        return tuple(read_graph(graph) for graph in reply.graphs if name in ("", graph.name))

    def graph(self, name: str) -> GraphStatus:
        """One deployed graph."""
        for graph in self.graphs(name):
            if graph.name == name:
                return graph
        known = ", ".join(graph.name for graph in self.graphs()) or "none"
        raise AgentError(f"no graph {name!r} is deployed here (deployed: {known})")

    def plan(self, graph: str) -> tuple[str, str]:
        """What a deployed graph runs from: its static EARG config and the text of its extras."""
        request = hogar_pb2.GraphRequest(graph=graph)
        reply = self._call(self._stub.Plan, request, CALL_TIMEOUT)
        return reply.config, reply.extras

    def node_log(
        self,
        graph: str,
        index: int,
        lines: int = 20,
        *,
        proxy: bool = False,
        backup: bool = False,
    ) -> str:
        """The last lines of the log of the node's model, or of its proxy, or of those of its
        backup; index 0 is the frontend."""
        request = hogar_pb2.LogRequest(
            graph=graph, index=index, lines=lines, proxy=proxy, backup=backup
        )
        return str(self._call(self._stub.NodeLog, request, CALL_TIMEOUT).text)

    def events(self, graph: str = "", after: int = 0) -> tuple[Event, ...]:
        """What happened to the nodes of a graph, or of all, after the event of that number, oldest
        first."""
        request = hogar_pb2.EventsRequest(graph=graph, newer_than=after)
        reply = self._call(self._stub.Events, request, CALL_TIMEOUT)
        return tuple(read_event(one) for one in reply.events)

    def statistics(self, graph: str, history_seconds: int = 0, index: int = 0) -> GraphStatistics:
        """What the primaries of a graph have counted, with so many seconds of their history (900
        at most), and what the processes of its nodes use; with an ``index`` of that node alone."""
        request = hogar_pb2.StatisticsRequest(
            graph=graph, history_seconds=history_seconds, index=index
        )
        return read_graph_statistics(self._call(self._stub.Statistics, request, CALL_TIMEOUT))

    def set_batch_limit(
        self,
        graph: str,
        index: int,
        limit: int | None = None,
        who: str = "a client of the agent",
        *,
        wait: float | None = None,
        objective: float | None = None,
        dynamic: bool | None = None,
    ) -> BatchSetting:
        """Change how the node batches from its next batch on, and tell ``who`` wants it so; what
        was set before. None stays as it is.

        A batch holds at most ``limit`` requests and waits at most ``wait`` seconds to fill; a
        ``dynamic`` limit moves below that so that a batch computes within ``objective`` seconds
        (0: the usual objective).
        """
        asked = hogar_pb2.BatchLimit(who=who, wait=wait, objective=objective)
        if dynamic is not None:
            asked.dynamic = dynamic
        if limit is not None:
            # What does not fit the message is out of bounds, too: the proxy says which they are.
            asked.limit = min(max(limit, 0), 2**32 - 1)
        request = hogar_pb2.NodeBatchLimit(graph=graph, index=index, limit=asked)
        before = self._call(self._stub.SetBatchLimit, request, CALL_TIMEOUT)
        return BatchSetting(before.limit, before.who, before.wait, before.objective, before.dynamic)

    def requests(self, graph: str, most: int = 100) -> tuple[int, tuple[RequestInGraph, ...]]:
        """How many requests are in the graph, and the oldest ``most`` of them (1000 at most)."""
        query = hogar_pb2.RequestsQuery(graph=graph, most=most)
        return read_requests(self._call(self._stub.Requests, query, CALL_TIMEOUT))

    def load(self, graph: str) -> GraphLoad:
        """How many requests are in the graph, and how many fail."""
        query = hogar_pb2.RequestsQuery(graph=graph, most=1)
        return read_load_of_graph(self._call(self._stub.Requests, query, CALL_TIMEOUT))

    def traces(self, graph: str, most: int = 20) -> tuple[Trace, ...]:
        """The newest ``most`` requests whose way was recorded (200 at most), newest first; a hop's
        ``node`` is its name."""
        query = hogar_pb2.RequestsQuery(graph=graph, most=most)
        reply = self._call(self._stub.RecordedRequests, query, CALL_TIMEOUT)
        names = {node.index: node.name for node in self.graph(graph).nodes}
        return tuple(read_trace(one, graph, names) for one in reply.traces)

    def drain(self, graph: str, timeout: float = 60.0, force: bool = False) -> int:
        """Stop a graph once it has answered what it accepted; it takes no new requests meanwhile.

        Where that takes longer than ``timeout`` seconds, it serves again, and an
        :class:`UndrainedError` says how many requests were left; with ``force`` it is stopped all
        the same, and their number is the answer.
        """
        request = hogar_pb2.DrainRequest(graph=graph, timeout=timeout, force=force)
        reply = self._call(self._stub.Drain, request, timeout + DOWN_TIMEOUT)
        if not reply.stopped:
            raise UndrainedError(graph, timeout, reply.left)
        return int(reply.left)

    def down(self, graph: str) -> None:
        """Stop a graph; returns when its processes are gone."""
        self._call(self._stub.Down, hogar_pb2.GraphRequest(graph=graph), DOWN_TIMEOUT)

    def shutdown(self) -> None:
        """Stop every graph and the agent; returns when the agent is gone."""
        _, pid = self.hello()
        self._call(self._stub.Shutdown, hogar_pb2.Done(), DOWN_TIMEOUT)
        deadline = time.monotonic() + CALL_TIMEOUT
        while started_at(pid) is not None:
            if time.monotonic() > deadline:
                raise AgentError(f"the agent (pid {pid}) has not ended yet")
            time.sleep(0.02)


def connect(home: Path | None = None, start: bool = True, timeout: float = 15.0) -> AgentClient:
    """A client of this host's agent, which is started where none runs.

    ``home`` is the agent's folder (default: ``$EARG_HOME``, else the user's state folder). Raises
    :class:`NoAgentError` where ``start`` is False, none runs and none has left a graph serving,
    :class:`AgentError` where one does not come up within ``timeout`` seconds.
    """
    place = find_home(home)
    client = AgentClient(place)
    try:
        try:
            place.check_socket()
        except HomeError as error:
            raise AgentError(str(error)) from None
        if not start:
            if place.socket.exists():
                try:
                    client.hello(timeout)
                    return client
                except NoAgentError:
                    pass
            # An agent that was killed leaves its ledger: another one adopts what serves.
            if not place.ledger.exists():
                raise NoAgentError(f"no agent runs in {place.path}")
        return _connect_or_start(client, place, timeout)
    except OSError as error:
        client.close()
        raise AgentError(
            f"the agent's folder {place.path} cannot be used: {error.strerror}"
        ) from None
    except BaseException:
        client.close()
        raise


def _connect_or_start(client: AgentClient, home: Home, timeout: float) -> AgentClient:
    deadline = time.monotonic() + timeout
    started = False
    while True:
        if home.socket.exists():
            try:
                client.hello(max(0.1, min(2.0, deadline - time.monotonic())))
                return client
            except AgentError:
                if time.monotonic() > deadline:
                    raise AgentError(
                        f"the agent does not answer within {timeout:.0f} s; see {home.log}"
                    ) from None
        if not started:
            _start_agent(home)
            started = True
        if time.monotonic() > deadline:
            raise AgentError(f"the agent did not start within {timeout:.0f} s; see {home.log}")
        time.sleep(0.02)


def _start_agent(home: Home) -> None:
    """Start an agent in the background. It exits at once where another one holds the lock."""
    if engine := home.engine:
        raise NoAgentError(
            f"no agent runs in {home.path}, and only a client that knows the settings of its "
            f"engine {engine} can start it"
        )
    try:
        security()
        home.prepare()
    except (SecurityError, HomeError) as error:
        raise AgentError(str(error)) from None
    command = [sys.executable, "-P", "-m", "earg.agent", "--detach", "--idle-end", "60"]
    try:
        output = home.log.open("ab")
    except OSError as error:
        raise AgentError(f"{home.log} cannot be opened: {error.strerror}") from None
    with output as log:
        # The launcher ends once it has forked the agent, so nobody is left a zombie.
        done = subprocess.run(
            [*command, "--home", str(home.path)],
            # The agent keeps what is the frontend's for it.
            env=process_environment(telemetry=True),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=False,
            timeout=30,
        )
    if done.returncode != 0:
        raise AgentError(f"the agent could not be started; see {home.log}")
