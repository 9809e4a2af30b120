"""Starts of pairs by a platform, up to where their proxies have their models."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection

import grpc
import grpc.aio

from earg.addresses import Ports
from earg.answered import answered
from earg.channel import open_channel
from earg.pair import StartError
from earg.platform import PairFound, PairOrder, Part, Platform, PlatformError
from earg.protos import prediction_pb2_grpc
from earg.survey import Survey
from earg.wiring import MODEL_TIMEOUT, model_info

log = logging.getLogger(__name__)

START_INTERVAL = 1.0
"""Seconds between looks at what the platform says of a pair that starts."""

TRY_INTERVAL = 0.2
"""Seconds between tries to give a proxy its model."""

TAIL_LINES = 60
"""Lines of a process's log that are shown when it could not start."""


class PairStarts:
    """Those of one graph."""

    def __init__(self, graph: str, platform: Platform, survey: Survey, ports: Ports) -> None:
        self._graph = graph
        self._platform = platform
        self._survey = survey
        self._ports = ports

    async def start(self, order: PairOrder, avoid: Collection[str] = ()) -> PairFound:
        """Let the platform start a pair, on none of the hosts ``avoid``, nor on one that is dead,
        where another fits. Raises :class:`PlatformError`, and :class:`StartError` for one of which
        the platform says that it does not run."""
        wanted = {host for host in avoid if host} | self._survey.dead
        found = await self._platform.start_pair(order, wanted)
        if found.failure:
            raise await self._failed(order, found.failure)
        return found

    async def _failed(self, order: PairOrder, failure: str) -> StartError:
        what = "proxy" if failure.startswith("proxy") else "model"
        part = Part.PROXY if what == "proxy" else Part.MODEL
        tail = await self.tail(order.index, order.number, part)
        sentence = f"{order.spec.name} of graph {self._graph} does not run: {failure}"
        return StartError(sentence, tail)

    async def tail(self, index: int, number: int, part: Part) -> str:
        """The end of a process's log; empty where the platform does not tell it."""
        try:
            return await self._platform.tail(self._graph, index, number, part, TAIL_LINES)
        except PlatformError:
            return ""

    async def discard(self, index: int, *numbers: int) -> None:
        """Let the platform stop pairs of a node, as far as it can."""
        for number in numbers:
            try:
                await self._platform.stop_pair(self._graph, index, number)
            except PlatformError as error:
                log.warning("%s", error)

    async def wait_for_model(self, order: PairOrder, found: PairFound, timeout: float) -> None:
        """Wait until the pair's proxy has its model; raises :class:`StartError` for one that has
        not within ``timeout`` seconds, or of which the platform says before that it does not
        run."""
        deadline = time.monotonic() + timeout
        answering = asyncio.ensure_future(self._give_model(order, found))
        try:
            while True:
                since = time.monotonic()
                left = max(0.0, deadline - since)
                done, _ = await asyncio.wait({answering}, timeout=min(START_INTERVAL, left))
                if done:
                    answering.result()
                    return
                failure = await self._failure(order.index, order.number, since)
                if failure:
                    raise await self._failed(order, failure)
                if time.monotonic() >= deadline:
                    tail = await self.tail(order.index, order.number, Part.MODEL)
                    what = f"the model of {order.spec.name} did not answer within {timeout:.0f} s"
                    raise StartError(what, tail)
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)

    async def _failure(self, index: int, number: int, since: float) -> str:
        try:
            graphs = await self._survey.look(since)
        except (PlatformError, TimeoutError):
            # Its own words come where it is asked to start something.
            return ""
        graph = graphs.get(self._graph)
        found = None if graph is None else graph.pairs.get((index, number))
        return "it is not there any more" if found is None else found.failure

    async def _give_model(self, order: PairOrder, found: PairFound) -> None:
        """SetModel, until it is taken; the wiring gives the rest."""
        place = found.place
        info = model_info(place, order.index, 0, place.models[0], self._ports.model)
        async with open_channel(f"{place.proxy}:{self._ports.proxy}") as channel:
            stub = prediction_pb2_grpc.ProxyServerStub(channel)
            while True:
                try:
                    await answered(stub.SetModel(info, timeout=MODEL_TIMEOUT))
                    return
                except grpc.aio.AioRpcError as error:
                    if error.details() == "Model Already Set":
                        return
                    code = error.code()
                    if code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                        raise StartError(
                            f"the proxy of {order.spec.name} refuses its model: {error.details()}"
                        ) from None
                except OSError:
                    pass
                await asyncio.sleep(TRY_INTERVAL)
