"""HOGAR's ``Statistics``, as a proxy serves it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio

from earg.batching import BatchLimit
from earg.dynamic_limit import LimitInForce
from earg.model_usage import ModelUsage
from earg.protos import hogar_pb2, hogar_pb2_grpc
from earg.statistics import HISTORY_SECONDS, Recorder
from earg.statistics_wire import statistics_message

log = logging.getLogger(__name__)

SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.1, 60.0
"""Seconds between two answers of ``WatchStats``."""

WATCHERS = 32
"""So many may watch one proxy at a time."""

LONGEST_WHO = 100
"""Characters that are kept of who set a limit."""

USAGE_KEPT = 60.0
"""Seconds for which what was told of the model's containers is told on."""

Context = grpc.aio.ServicerContext[Any, Any]


class StatisticsCalls(hogar_pb2_grpc.StatisticsServicer):
    """What the proxy that inherits this counts, told to whoever asks, and its batch limit."""

    def __init__(self, name: str) -> None:
        self._statistics_of = name
        self._statistics = Recorder()
        self._watchers = 0
        self._usage_told: tuple[float, ModelUsage] | None = None
        self._limit = LimitInForce(BatchLimit(1))
        self._limit_set_by = "nobody: there is no graph yet"

    def _set_limit(self, limit: BatchLimit, who: str) -> None:
        log.info("batch limit is now %s, set by %s", limit, who)
        self._limit.change(limit)
        self._limit_set_by = who

    def _lag(self) -> tuple[float, int]:
        """Seconds that the oldest batch has waited for the backup to hold it, and how many do."""
        return 0.0, 0

    def _snapshot(self, history_seconds: int, after: int | None = None) -> hogar_pb2.NodeStatistics:
        limit = self._limit.limit
        lag, uncommitted = self._lag()
        counted = self._statistics.snapshot(
            self._statistics_of,
            self._limit.now,
            self._limit_set_by,
            min(history_seconds, HISTORY_SECONDS),
            after,
        )
        return statistics_message(
            replace(
                counted,
                batch_most=limit.most,
                batch_dynamic=limit.dynamic,
                batch_wait=limit.wait,
                batch_objective=limit.objective or 0.0,
                lag=lag,
                uncommitted=uncommitted,
            )
        )

    async def Stats(  # noqa: N802
        self, request: hogar_pb2.StatsRequest, context: Context
    ) -> hogar_pb2.NodeStatistics:
        return self._snapshot(request.history_seconds)

    async def WatchStats(  # noqa: N802
        self, request: hogar_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[hogar_pb2.NodeStatistics]:
        interval = request.interval
        if not (math.isfinite(interval) and SHORTEST_INTERVAL <= interval <= LONGEST_INTERVAL):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the interval must be from {SHORTEST_INTERVAL:g} to {LONGEST_INTERVAL:g} "
                f"seconds, not {interval:g}",
            )
        if self._watchers >= WATCHERS:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._watchers} watch {self._statistics_of} already",
            )
        self._watchers += 1
        try:
            told = None
            while True:
                statistics = self._snapshot(request.history_seconds, told)
                told = self._statistics.seconds
                yield statistics
                await asyncio.sleep(interval)
        finally:
            self._watchers -= 1

    async def TellUsage(  # noqa: N802
        self, request: hogar_pb2.ModelUsage, context: Context
    ) -> hogar_pb2.Done:
        if not 0 <= request.cpu_seconds < math.inf:
            text = f"cpu_seconds: expected seconds, found {request.cpu_seconds}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        usage = ModelUsage(request.cpu_seconds, request.memory)
        self._usage_told = (time.monotonic(), usage)
        return hogar_pb2.Done()

    def _told_usage(self) -> ModelUsage | None:
        """What the agent has told lately of the model's containers."""
        if self._usage_told is None or time.monotonic() - self._usage_told[0] > USAGE_KEPT:
            return None
        return self._usage_told[1]

    async def SetBatchLimit(  # noqa: N802
        self, request: hogar_pb2.BatchLimit, context: Context
    ) -> hogar_pb2.BatchLimit:
        limit = self._limit.limit
        before = hogar_pb2.BatchLimit(
            limit=limit.most,
            who=self._limit_set_by,
            wait=limit.wait,
            objective=limit.objective or 0.0,
            dynamic=limit.dynamic,
        )
        # It is shown on terminals, so what would steer one is left out.
        who = "".join(letter for letter in request.who if letter.isprintable())[:LONGEST_WHO]
        try:
            if request.HasField("batch"):
                limit = BatchLimit.from_config(request.batch, limit.wait, limit.objective)
            limit = limit.changed(
                most=request.limit if request.HasField("limit") else None,
                wait=request.wait if request.HasField("wait") else None,
                objective=request.objective if request.HasField("objective") else None,
                dynamic=request.dynamic if request.HasField("dynamic") else None,
            )
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        self._set_limit(limit, who or "SetBatchLimit")
        return before
