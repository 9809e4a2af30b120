"""Copies of a request that come late, such as one that a broken lane has kept: it counts once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from earg.addresses import AddressPool
from earg.lane import Lane
from earg.payload import pack
from earg.protos import hogar_pb2
from tests.earg.running import control_of, open_lane
from tests.earg.test_proxy import stateful_pair


async def send(lane: Lane, ids: Sequence[int], finished: Sequence[int] = ()) -> None:
    requests = [hogar_pb2.Request(id=one, payload=pack(f"r{one}")) for one in ids]
    message = hogar_pb2.RelayRequest(requests=requests, finished=finished)
    assert await lane.exchange(message.SerializeToString()) == b""


def test_a_copy_of_what_was_answered_before_there_was_a_backup_is_not_computed_by_it(
    pool: AddressPool,
) -> None:
    async def scenario() -> None:
        async with (
            stateful_pair(pool, "little:Counter") as (ips, sink, _),
            control_of(pool, ips[0]) as primary,
            control_of(pool, ips[1]) as backup,
            open_lane(ips[0], pool.ports.proxy) as lane,
            open_lane(ips[1], pool.ports.proxy) as other,
        ):
            await send(lane, [1, 2])
            await sink.wait_for(2)
            await send(lane, [], finished=[1, 2])
            address = f"{ips[1]}:{pool.ports.proxy}"
            await primary.SetBackup(hogar_pb2.BackupRequest(address=address, epoch=1))
            await send(lane, [3])
            await sink.wait_for(3)
            await backup.Promote(hogar_pb2.PromoteRequest(held=1, epoch=2))
            await send(other, [1, 2])
            await send(other, [4])
            outputs = await sink.wait_for(4)
            assert outputs[4] == 4

    asyncio.run(scenario())
