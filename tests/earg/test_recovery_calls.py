"""EARG's recovery calls on our proxies, driven by a foreign admin, and the numbers they rest on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import grpc
import pytest

from earg.addresses import AddressPool
from earg.command_settings import read_commands
from earg.config import Edge
from earg.pair import Commands
from earg.plain_sequence import Received, Sent
from earg.protos import hogar_pb2, model_pb2, prediction_pb2
from earg.settings import SettingError
from earg.status import PingStatus
from tests.earg.running import (
    control_of,
    eventually,
    running_model,
    running_proxy,
    stub_of,
)
from tests.earg.test_proxy import graph, stateful_pair


def plain(number: int, source: str) -> prediction_pb2.request:
    return prediction_pb2.request(
        input_=model_pb2.input(inputType="text", inputStream=f"r{number}"),
        src_uri=source,
        req_id=number + 1000,
        seq=number,
    )


def numbered(number: int) -> hogar_pb2.Request:
    return hogar_pb2.Request(id=number + 1000, seq=number)


# --- numbers --------------------------------------------------------------------------------


def test_a_request_that_is_sent_again_keeps_its_number() -> None:
    sent = Sent(8)
    assert [sent.number(numbered(one)) for one in (1, 2, 1, 3)] == [1, 2, 1, 3]
    assert [sent.number(hogar_pb2.Request(id=one)) for one in (7, 8, 7)] == [4, 5, 4]
    assert [one.id for one in sent.after(2)] == [1003, 7, 8]


def test_answered_requests_are_kept_while_one_before_them_is_not() -> None:
    sent = Sent(8)
    for number in range(1, 6):
        sent.number(numbered(number))
    sent.finish([1002, 1003])
    assert [one.seq for one in sent.after(0)] == [1, 2, 3, 4, 5]
    sent.finish([1001])
    assert [one.seq for one in sent.after(0)] == [4, 5]


def test_what_is_kept_is_bounded_by_count_and_bytes() -> None:
    sent = Sent(3)
    for number in range(1, 10):
        sent.number(numbered(number))
    assert [one.seq for one in sent.after(0)] == [7, 8, 9]
    large = Sent(100, max_bytes=1000)
    for number in range(1, 10):
        large.number(hogar_pb2.Request(id=number, payload=hogar_pb2.Payload(data=b"x" * 400)))
    assert len(large) == 2


def test_an_original_that_begins_anew_is_counted_for_from_one() -> None:
    sent = Sent(8)
    for number in range(1, 6):
        sent.number(numbered(number))
    sent.count_anew(3)
    assert [sent.number(one) for one in sent.after(3)] == [1, 2]
    assert sent.number(numbered(6)) == 3


def test_a_gap_holds_the_number_back_until_it_is_filled() -> None:
    received = Received(4)
    for number in (1, 2, 4, 5):
        received.take(number)
    assert received.in_order == 2
    received.take(3)
    assert received.in_order == 5
    received.begin(9)
    received.take(10)
    assert received.in_order == 10
    for number in range(20, 26):
        received.take(number)
    assert received.in_order == 25


# --- calls ----------------------------------------------------------------------------------


def info(pool: AddressPool, config: Any, index: int, name: str = "") -> prediction_pb2.proxy_info:
    primary = config.nodes[index - 1].primary
    return prediction_pb2.proxy_info(
        ip=primary.proxy_ip,
        port=pool.ports.proxy,
        model_id=index,
        container_name=name or primary.proxy_name,
    )


CHAIN = (dict.fromkeys(("a", "b", "c"), "little:Echo"), (Edge((1,), (2,)), Edge((2,), (3,))))


def test_a_successor_tells_how_far_it_got_and_knows_the_new_one_by_its_name(
    pool: AddressPool,
) -> None:
    async def scenario() -> None:
        async with graph(pool, *CHAIN) as (config, sink, stubs, _):
            failed, new = info(pool, config, 2), info(pool, config, 2, "new.b")
            for number in (1, 2, 4):
                reply = await stubs["c"].downstream(plain(number, "g.b.proxy"))
                assert reply.status == str(number)
            asked = prediction_pb2.successor_prepare_req(failed_proxy=failed, new_proxy=new)
            assert (await stubs["c"].prepare_recover_successor(asked)).seq == 2
            # A second report of it changes nothing.
            assert (await stubs["c"].prepare_recover_successor(asked)).seq == 2
            commit = prediction_pb2.recovery_req(failed_proxy=failed, new_proxy=new, start_seq=3)
            await stubs["c"].commit_recover_successor(commit)
            for number in (2, 3, 4):
                await stubs["c"].downstream(plain(number, "new.b"))
            assert await sink.wait_for(4) == {1000 + n: f"r{n}" for n in (1, 2, 3, 4)}
            renamed = prediction_pb2.successor_prepare_req(failed_proxy=new)
            assert (await stubs["c"].prepare_recover_successor(renamed)).seq == 4
            stranger = prediction_pb2.proxy_info(container_name="stranger", model_id=7)
            with pytest.raises(grpc.aio.AioRpcError, match="not a successor"):
                await stubs["c"].prepare_recover_successor(
                    prediction_pb2.successor_prepare_req(failed_proxy=stranger)
                )
            with pytest.raises(grpc.aio.AioRpcError, match="not a predecessor"):
                await stubs["c"].prepare_recover_predecessor(
                    prediction_pb2.recovery_req(failed_proxy=stranger)
                )

    asyncio.run(scenario())


def test_a_foreign_admin_puts_a_new_proxy_in_the_place_of_a_lost_one(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:
            config, sink, stubs, _ = await stack.enter_async_context(graph(pool, *CHAIN))
            for number in (1, 2, 3):
                await stubs["a"].downstream(plain(number, "front-end"))
            assert len(await sink.wait_for(3)) == 3
            ip = pool.take()
            await stack.enter_async_context(running_model(pool, ip, "little:Echo"))
            await stack.enter_async_context(running_proxy(pool, "new", ip))
            fresh = await stack.enter_async_context(stub_of(pool, ip))
            failed = info(pool, config, 2)
            new = prediction_pb2.proxy_info(
                ip=ip, port=pool.ports.proxy, model_id=2, container_name="new.proxy"
            )
            commit = prediction_pb2.recovery_req(failed_proxy=failed, new_proxy=new, start_seq=2)
            await stubs["a"].prepare_recover_predecessor(commit)
            await stubs["c"].commit_recover_successor(commit)
            place = prediction_pb2.new_proxy_recover_req(
                start_seq=3, model_ip=ip, model_id=2, my_uri="new.proxy", dag_name="g-1"
            )
            place.batch_size = 8
            place.pred_groups.add(proxies=[info(pool, config, 1)])
            with pytest.raises(grpc.aio.AioRpcError, match="would be a sink"):
                await fresh.recover_new_proxy(place)
            place.down_groups.add(proxies=[info(pool, config, 3)])
            await fresh.recover_new_proxy(place)
            with pytest.raises(grpc.aio.AioRpcError, match="Not in the recovery mode"):
                await fresh.recover_new_proxy(place)
            await stubs["a"].commit_recover_predecessor(commit)
            await stubs["a"].downstream(plain(4, "front-end"))
            assert (await sink.wait_for(4))[1004] == "r4"

            async def is_ready() -> bool:
                return (await fresh.ping(prediction_pb2.ping_req())).status == PingStatus.READY

            await eventually(is_ready, "the new proxy is ready")

    asyncio.run(scenario())


def test_a_primary_is_not_promoted_and_a_proxy_is_no_frontend(pool: AddressPool) -> None:
    async def scenario() -> None:
        async with graph(pool, {"only": "little:Echo"}) as (_, _, stubs, _):
            stub = stubs["only"]
            with pytest.raises(grpc.aio.AioRpcError, match="Already promoted as primary"):
                await stub.promote_primary(prediction_pb2.new_proxy_recover_req())
            with pytest.raises(grpc.aio.AioRpcError, match="is no frontend"):
                await stub.notifyentryproxy(prediction_pb2.proxy_info(ip="127.0.0.1"))
            with pytest.raises(grpc.aio.AioRpcError, match="is no frontend"):
                await stub.outputstream(plain(1, "x"))

    asyncio.run(scenario())


def test_a_promoted_backup_computes_what_came_to_it_alone_and_nothing_twice(
    pool: AddressPool,
) -> None:
    async def scenario() -> None:
        async with stateful_pair(pool, "little:Ledger", plain_sink=True) as (ips, sink, stubs):
            backup = stubs[1]
            with pytest.raises(grpc.aio.AioRpcError, match="has never had a state"):
                await backup.promote_primary(prediction_pb2.new_proxy_recover_req(start_seq=1))
            async with control_of(pool, ips[0]) as control:
                address = f"{ips[1]}:{pool.ports.proxy}"
                await control.SetBackup(hogar_pb2.BackupRequest(address=address, epoch=1))
            for number in (1, 2, 3):
                for stub in stubs:
                    # An original sends to both.
                    await stub.downstream(plain(number, "front-end"))
            await sink.wait_for(3)
            await backup.downstream(plain(4, "front-end"))
            sink.outputs.clear()
            await backup.promote_primary(prediction_pb2.new_proxy_recover_req(start_seq=2))
            # 2 and 3 are handed on again, 1 is not asked for, 4 came to the backup alone.
            outputs = {one: json.loads(text) for one, text in (await sink.wait_for(3)).items()}
            assert outputs == {
                1002: {"times": 1, "all": outputs[1002]["all"]},
                1003: {"times": 1, "all": outputs[1003]["all"]},
                1004: {"times": 1, "all": 4},
            }
            with pytest.raises(grpc.aio.AioRpcError, match="Already promoted as primary"):
                await backup.promote_primary(prediction_pb2.new_proxy_recover_req(start_seq=1))

    asyncio.run(scenario())


# --- settings -------------------------------------------------------------------------------


def test_the_environment_names_the_commands_of_originals() -> None:
    assert read_commands({}) == Commands()
    named = read_commands({"EARG_PROXY_COMMANDS": '{"c2": ["/opt/proxy", "-x"]}'})
    assert named.proxy_of("c2") == ("/opt/proxy", "-x")
    assert named.is_original("c2")
    assert not named.is_original("c1")
    everybody = read_commands({"EARG_PROXY_COMMANDS": '{"*": ["/opt/proxy"]}'})
    assert everybody.is_original("c1")
    for wrong in ("[]", "{", '{"c2": "one text"}', '{"c2": []}', '{"c2": [1]}'):
        with pytest.raises(SettingError, match="EARG_PROXY_COMMANDS"):
            read_commands({"EARG_PROXY_COMMANDS": wrong})
