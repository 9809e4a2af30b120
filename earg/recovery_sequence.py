"""EARG's sequence for a failure, as the agent drives it where originals are in a graph.

Originals know neither ``Retarget`` nor ``Replay``; and what the frontend sends again does not get
past one, to which a number that it had before is a duplicate. So in such a graph every replacement
goes EARG's way, step by step, with all neighbours: see :mod:`earg.recovery_calls`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from earg.channel import open_channel
from earg.protos import prediction_pb2, prediction_pb2_grpc

log = logging.getLogger(__name__)

STEP_TIMEOUT = 5.0
"""Seconds for one call of the sequence; who does not answer is left out, as it fails itself."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A proxy or frontend beside the failed one."""

    info: prediction_pb2.proxy_info
    is_original: bool = False

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{self.info.ip}:{self.info.port}"


@dataclass(frozen=True, slots=True)
class Replacement:
    """A failed proxy, who comes in its place, and their neighbours.

    ``take_place`` gives the new one its place; it gets the start, the number up to which all is
    with the successors. ``answered_to`` is the number up to which all is answered: the start where
    a successor does not tell. ``counts_anew`` tells that the new one begins at number 1.
    """

    failed: prediction_pb2.proxy_info
    new: prediction_pb2.proxy_info
    predecessors: Sequence[Neighbour]
    successors: Sequence[Neighbour]
    take_place: Callable[[int], Awaitable[None]]
    answered_to: Callable[[], Awaitable[int]]
    counts_anew: bool = False


async def drive(one: Replacement) -> int:
    """Replace a proxy; the start. Neighbours that do not answer are told in the log; what
    ``take_place`` raises is raised when the others have been told who comes."""
    prepare = _to_predecessors(one)
    await asyncio.gather(
        *(_call(at, "prepare_recover_predecessor", prepare) for at in one.predecessors)
    )
    start = await _start(one)
    commit = prediction_pb2.recovery_req(
        failed_proxy=one.failed, new_proxy=one.new, start_seq=start + 1
    )
    await asyncio.gather(*(_call(at, "commit_recover_successor", commit) for at in one.successors))
    await one.take_place(start)
    again = _to_predecessors(one)
    again.start_seq = start + 1
    await asyncio.gather(
        *(_call(at, "commit_recover_predecessor", again) for at in one.predecessors)
    )
    return start


def _to_predecessors(one: Replacement) -> prediction_pb2.recovery_req:
    """Of a stateful proxy as of a stateless one: an original would send nothing again, and would
    not learn of a backup that it did not know from the beginning."""
    request = prediction_pb2.recovery_req(failed_proxy=one.failed, new_proxy=one.new)
    for proxy in (request.failed_proxy, request.new_proxy):
        proxy.stateful = proxy.is_primary = False
    request.new_proxy.seq = 1 if one.counts_anew else 0
    return request


async def _start(one: Replacement) -> int:
    request = prediction_pb2.successor_prepare_req(failed_proxy=one.failed, new_proxy=one.new)
    replies = await asyncio.gather(
        *(_call(at, "prepare_recover_successor", request) for at in one.successors)
    )
    answered = await one.answered_to()
    # An original tells exactly how far it got, and must get what comes next. One of ours may tell
    # less than it has, since it does not hear through an original what is answered.
    told = [
        answered
        if reply is None
        else int(reply.seq)
        if at.is_original
        else max(int(reply.seq), answered)
        for at, reply in zip(one.successors, replies, strict=True)
    ]
    return min(told)


def place_request(
    new: prediction_pb2.proxy_info,
    *,
    start: int,
    model_ip: str,
    dag_name: str,
    batch: int,
    is_join: bool,
    predecessors: Sequence[Neighbour],
    successors: Sequence[Neighbour],
) -> prediction_pb2.new_proxy_recover_req:
    """What ``recover_new_proxy`` and ``promote_primary`` need."""
    request = prediction_pb2.new_proxy_recover_req(
        start_seq=start + 1,
        model_ip=model_ip,
        model_id=new.model_id,
        my_uri=new.container_name,
        dag_name=dag_name,
        batch_size=batch,
    )
    groups = [list(predecessors)] if is_join else [[one] for one in predecessors]
    for group in groups:
        proxies = [prediction_pb2.proxy_info() for _ in group]
        for proxy, one in zip(proxies, group, strict=True):
            proxy.CopyFrom(one.info)
            # The first that it is to take: what was before may be forgotten by now.
            proxy.seq = start + 1
        request.pred_groups.add(proxies=proxies)
    for one in successors:
        request.down_groups.add(proxies=[one.info], stateful=one.info.stateful)
    return request


async def hold(neighbours: Sequence[Neighbour], info: prediction_pb2.proxy_info) -> None:
    """Let predecessors send nothing to a proxy that is to begin at number 1."""
    request = prediction_pb2.recovery_req(failed_proxy=info, new_proxy=info)
    for proxy in (request.failed_proxy, request.new_proxy):
        proxy.stateful = proxy.is_primary = False
    request.new_proxy.seq = 1
    await asyncio.gather(
        *(
            _call(one, "prepare_recover_predecessor", request)
            for one in neighbours
            if not one.is_original
        )
    )


async def commit_again(
    neighbours: Sequence[Neighbour], info: prediction_pb2.proxy_info, start: int
) -> None:
    """Free predecessors that took a proxy for failed which was not."""
    request = prediction_pb2.recovery_req(failed_proxy=info, new_proxy=info, start_seq=start)
    request.failed_proxy.stateful = False
    await asyncio.gather(*(_call(one, "commit_recover_predecessor", request) for one in neighbours))


async def begin_at(new: Neighbour, predecessors: Sequence[Neighbour], start: int) -> None:
    """Tell one of ours from which number on the originals before it will send."""
    for one in predecessors:
        if one.is_original:
            request = prediction_pb2.recovery_req(
                failed_proxy=one.info, new_proxy=one.info, start_seq=start + 1
            )
            await _call(new, "commit_recover_successor", request)


async def ask_highest(entry: Neighbour, frontend: prediction_pb2.proxy_info) -> int:
    """The highest number that the entry has from a frontend that is gone; the entry goes on with
    the next one. 0 where it does not tell."""
    request = prediction_pb2.successor_prepare_req(failed_proxy=frontend, new_proxy=frontend)
    reply = await _call(entry, "prepare_recover_successor", request)
    seq = 0 if reply is None else int(reply.seq)
    commit = prediction_pb2.recovery_req(
        failed_proxy=frontend, new_proxy=frontend, start_seq=seq + 1
    )
    await _call(entry, "commit_recover_successor", commit)
    return seq


async def call(address: str, name: str, request: Any) -> Any:
    """One call of ``ProxyServer``; raises ``grpc.aio.AioRpcError`` and OSError."""
    async with open_channel(address) as channel:
        stub = prediction_pb2_grpc.ProxyServerStub(channel)
        return await getattr(stub, name)(request, timeout=STEP_TIMEOUT)


async def _call(neighbour: Neighbour, name: str, request: Any) -> Any:
    try:
        return await call(neighbour.address, name, request)
    except (grpc.aio.AioRpcError, OSError) as error:
        what = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
        log.warning(
            "%s at %s did not %s: %s", neighbour.info.container_name, neighbour.address, name, what
        )
        return None
