"""The calls that every agent answers about the graphs that it has, whoever started them."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections import deque
from collections.abc import Awaitable
from functools import partial
from typing import Any, TypeVar

import grpc
import grpc.aio

from earg.config import ConfigError
from earg.deployed import Deployed, DeploymentError
from earg.extras import ExtrasError
from earg.graph_statistics import ask_primary
from earg.handover import Starts
from earg.pair import StartError
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.release import own_version
from earg.sampling import Sampling
from earg.status import Event
from earg.status_wire import event_message, graph_message, node_message
from earg.warning import Warnings

log = logging.getLogger(__name__)

EVENTS_KEPT = 1000
"""The newest so many events are kept."""

LONGEST_DRAIN = 24 * 3600.0
"""Seconds that a drain may take."""

TIDYING_UP = 2.0
"""Seconds before its client's deadline at which a call that waits begins to end."""

LONGEST_DETAILS = 3000
"""Characters of an error that go into a gRPC status: its headers are limited to 8 KiB."""

LONGEST_START = 24 * 3600.0
"""Seconds that a node may be given to come up."""

DEADLINE_SLACK = 0.25
"""A call that is cancelled so many seconds before its deadline, or later, was not cancelled by its
client: that one's clock was ahead."""

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")


class AgentCalls(hogar_pb2_grpc.AgentServicer):
    """Graphs by name, and the calls that look at them, or change what they do while they serve."""

    def __init__(self, engine: str, home: str) -> None:
        self._engine_name = engine
        self._home_path = home
        self._graphs: dict[str, Deployed] = {}
        self._last_call = time.monotonic()
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._warnings = Warnings(partial(self._tell, "", "agent"))
        self._sampling = Sampling(ask_primary)
        # Above all numbers of the agent before, for whoever follows the events of both.
        self._number = int(time.time() * 1000)

    async def sample_nodes(self) -> None:
        """Keep samples of all nodes, for ever."""
        await self._sampling.run(
            lambda: [(name, node) for name, graph in self._graphs.items() for node in graph.nodes]
        )

    def _tell(self, graph: str, node: str, what: str, before: str = "", after: str = "") -> None:
        change = f"{before or 'new'} -> {after}: " if after else ""
        log.warning("%s: %s %s%s", graph, node, change, what)
        self._number += 1
        self._events.append(Event(time.time(), graph, node, what, before, after, self._number))

    async def _take_down(self, name: str, drained: Deployed | None = None) -> bool:
        """Stop the graph of this name, and only ``drained`` where it is given; whether it was
        there."""
        raise NotImplementedError

    async def _answer(self, context: Context, work: Awaitable[T]) -> T:
        """Run one call's work; what was wrong becomes the call's status, as a sentence."""
        self._last_call = time.monotonic()
        try:
            return await work
        except (DeploymentError, StartError) as error:
            text = str(error)
            if isinstance(error, StartError) and error.log:
                text += "\n" + error.log
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, shortened(text))
        except (ConfigError, ExtrasError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, shortened(str(error)))
        except OSError as error:
            sentence = (
                f"the agent cannot write {error.filename}: {error.strerror}"
                if error.filename
                else f"the agent: {error}"
            )
            await context.abort(grpc.StatusCode.INTERNAL, shortened(sentence))
        finally:
            self._last_call = time.monotonic()

    # --- calls ------------------------------------------------------------------------------

    async def Hello(
        self, request: hogar_pb2.HelloRequest, context: Context
    ) -> hogar_pb2.HelloReply:
        self._last_call = time.monotonic()
        return hogar_pb2.HelloReply(
            version=own_version(), pid=os.getpid(), home=self._home_path, engine=self._engine_name
        )

    def _graph(self, name: str) -> Deployed:
        try:
            return self._graphs[name]
        except KeyError:
            known = ", ".join(sorted(self._graphs)) or "none"
            raise DeploymentError(
                f"no graph {name!r} is deployed here (deployed: {known})"
            ) from None

    async def Probe(self, request: hogar_pb2.NodeRequest, context: Context) -> hogar_pb2.NodeStatus:
        timeout = time_left(context)

        async def work() -> hogar_pb2.NodeStatus:
            graph = self._graph(request.graph)
            return node_message(await graph.probe(request.index, timeout))

        return await self._answer(context, work())

    async def Serve(
        self, request: hogar_pb2.GraphRequest, context: Context
    ) -> hogar_pb2.GraphStatus:
        timeout = time_left(context)

        async def work() -> hogar_pb2.GraphStatus:
            graph = self._graph(request.graph)
            await graph.serve(timeout)
            return graph_message(await graph.status())

        return await self._answer(context, work())

    async def Graphs(
        self, request: hogar_pb2.GraphsRequest, context: Context
    ) -> hogar_pb2.GraphsReply:
        async def work() -> hogar_pb2.GraphsReply:
            names = [name for name in sorted(self._graphs) if request.graph in ("", name)]
            graphs = [self._graphs[name] for name in names]
            statuses = await asyncio.gather(*(graph.status(request.age) for graph in graphs))
            own = self._warnings.sentences
            return hogar_pb2.GraphsReply(graphs=[graph_message(one, own) for one in statuses])

        return await self._answer(context, work())

    async def Events(
        self, request: hogar_pb2.EventsRequest, context: Context
    ) -> hogar_pb2.EventsReply:
        # What concerns the agent as a whole concerns each graph.
        events = [
            one
            for one in self._events
            if (not request.graph or one.graph in ("", request.graph))
            and one.number > request.newer_than
        ]
        return hogar_pb2.EventsReply(events=[event_message(one) for one in events])

    async def Statistics(
        self, request: hogar_pb2.StatisticsRequest, context: Context
    ) -> hogar_pb2.GraphStatistics:
        async def work() -> hogar_pb2.GraphStatistics:
            graph = self._graph(request.graph)
            return await graph.statistics(request.history_seconds, self._sampling, request.index)

        return await self._answer(context, work())

    async def Requests(
        self, request: hogar_pb2.RequestsQuery, context: Context
    ) -> hogar_pb2.RequestsReply:
        async def work() -> hogar_pb2.RequestsReply:
            return await self._graph(request.graph).requests(request.most)

        return await self._answer(context, work())

    async def RecordedRequests(
        self, request: hogar_pb2.RequestsQuery, context: Context
    ) -> hogar_pb2.TracesReply:
        async def work() -> hogar_pb2.TracesReply:
            return await self._graph(request.graph).recorded(request.most)

        return await self._answer(context, work())

    async def SetBatchLimit(
        self, request: hogar_pb2.NodeBatchLimit, context: Context
    ) -> hogar_pb2.BatchLimit:
        async def work() -> hogar_pb2.BatchLimit:
            return await self._graph(request.graph).set_batch_limit(request.index, request.limit)

        return await self._answer(context, work())

    async def Drain(
        self, request: hogar_pb2.DrainRequest, context: Context
    ) -> hogar_pb2.DrainReply:
        async def work() -> hogar_pb2.DrainReply:
            graph = self._graph(request.graph)
            timeout = request.timeout if math.isfinite(request.timeout) else 0.0
            left = await graph.drain(min(max(0.0, timeout), LONGEST_DRAIN), request.force)
            if left and not request.force:
                return hogar_pb2.DrainReply(stopped=False, left=left)
            if left:
                self._tell(request.graph, "graph", f"is stopped with {left} requests unanswered")
            await self._take_down(request.graph, graph)
            return hogar_pb2.DrainReply(stopped=True, left=left)

        return await self._answer(context, work())

    async def Plan(self, request: hogar_pb2.GraphRequest, context: Context) -> hogar_pb2.GraphPlan:
        async def work() -> hogar_pb2.GraphPlan:
            plan = self._graph(request.graph).plan
            return hogar_pb2.GraphPlan(config=plan.text, extras=plan.extras_text)

        return await self._answer(context, work())


class NodeStarts(hogar_pb2_grpc.AgentServicer):
    """An agent whose starts of nodes may outlast the client that asks; see :mod:`earg.handover`."""

    _starts: Starts[hogar_pb2.DeployNodeReply]

    async def _answer(self, context: Context, work: Awaitable[T]) -> T:
        """Run one call's work; what was wrong becomes the call's status, as a sentence."""
        raise NotImplementedError

    async def _deploy_node(
        self, request: hogar_pb2.DeployNodeRequest, timeout: float
    ) -> hogar_pb2.DeployNodeReply:
        """Start the node within so many seconds."""
        raise NotImplementedError

    async def DeployNode(
        self, request: hogar_pb2.DeployNodeRequest, context: Context
    ) -> hogar_pb2.DeployNodeReply:
        if not request.start:
            return await self._answer(context, self._deploy_node(request, time_left(context)))
        limit = min(max(0.5, request.start_timeout), LONGEST_START)
        try:
            return await self._answer(
                context,
                self._starts.join(
                    request.start,
                    (lambda: self._deploy_node(request, limit)) if request.config else None,
                    lambda: (context.time_remaining() or 0.0) < DEADLINE_SLACK,
                ),
            )
        except KeyError:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                "no such start is under way: it was ended, or the agent is another one now",
            )


def time_left(context: Context) -> float:
    """Seconds that the client still waits, less what tidying up and the answer need."""
    left = context.time_remaining()
    return 3600.0 if left is None else max(0.5, left - TIDYING_UP)


def shortened(text: str) -> str:
    """The end of an error, as much as goes into a gRPC status."""
    return text if len(text) <= LONGEST_DETAILS else "...\n" + text[-LONGEST_DETAILS:]
