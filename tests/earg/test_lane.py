"""Lanes: frames that arrive in pieces, answers in order, senders held back, damage."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import pytest
from google.protobuf.message import DecodeError

from earg.lane import MOST_AHEAD, Handler, Lane, LaneClosedError, LaneServer, frame
from earg.payload import MAX_MESSAGE


@contextlib.asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[tuple[LaneServer, int]]:
    server = LaneServer(handler)
    port = await server.start("127.0.0.1")
    try:
        yield server, port
    finally:
        server.close()


def test_answers_come_in_order_whatever_the_size() -> None:
    async def scenario() -> None:
        async with served(lambda message: message[::-1]) as (_, port):
            lane = await Lane.connect("127.0.0.1", port)
            messages = [os.urandom(size) for size in (0, 1, 70_000, 3, 5_000_000, 2)]
            answers = await asyncio.gather(*(lane.exchange(message) for message in messages))
            assert answers == [message[::-1] for message in messages]
            lane.close()

    asyncio.run(scenario())


def test_a_frame_may_arrive_byte_by_byte() -> None:
    async def scenario() -> None:
        async with served(lambda message: message + b"!") as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for byte in frame(b"one") + frame(b"two"):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            expected = frame(b"one!") + frame(b"two!")
            assert await reader.readexactly(len(expected)) == expected
            writer.close()

    asyncio.run(scenario())


def test_a_sender_is_held_back_until_there_is_room() -> None:
    async def scenario() -> None:
        room = 2
        taken: list[bytes] = []

        def handler(message: bytes) -> bytes | None:
            if len(taken) >= room:
                return None
            taken.append(message)
            return b"ok"

        async with served(handler) as (server, port):
            lane = await Lane.connect("127.0.0.1", port)
            sending = [asyncio.create_task(lane.exchange(bytes([n]))) for n in range(5)]
            async with asyncio.timeout(5):
                await asyncio.wait(sending[:2])
                while not server.held:
                    await asyncio.sleep(0)
            assert [task.done() for task in sending] == [True, True, False, False, False]
            room = 4
            server.release()
            async with asyncio.timeout(5):
                await asyncio.wait(sending[2:4])
            assert taken == [b"\0", b"\1", b"\2", b"\3"]
            assert not sending[4].done()
            lane.close()
            with pytest.raises(LaneClosedError):
                await sending[4]

    asyncio.run(scenario())


def test_what_is_held_back_is_not_taken_once_its_sender_has_closed_the_lane() -> None:
    """It has sent it elsewhere since."""

    async def scenario() -> None:
        taken: list[bytes] = []
        has_room = False

        def handler(message: bytes) -> bytes | None:
            if not has_room:
                return None
            taken.append(message)
            return b"ok"

        async with served(handler) as (server, port):
            closed, kept = [await Lane.connect("127.0.0.1", port) for _ in range(2)]
            gone = asyncio.create_task(closed.exchange(b"closed"))
            waiting = asyncio.create_task(kept.exchange(b"kept"))
            async with asyncio.timeout(5):
                while len(server.held) < 2:
                    await asyncio.sleep(0)
                closed.close()
                with pytest.raises(LaneClosedError):
                    await gone
                while len(server.held) > 1:
                    await asyncio.sleep(0.01)
                has_room = True
                server.release()
                assert await waiting == b"ok"
            assert taken == [b"kept"]
            kept.close()

    asyncio.run(scenario())


def test_little_more_is_read_of_one_who_is_held_back() -> None:
    async def scenario() -> None:
        async with served(lambda message: None) as (server, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(frame(b"first"))
            piece = frame(bytes(65_536))
            sent = 0
            async with asyncio.timeout(20):
                while not server.held:
                    await asyncio.sleep(0)
                (session,) = server.sessions
                with contextlib.suppress(TimeoutError):
                    # Until the kernel's buffers are full, too.
                    while sent < 100 * MOST_AHEAD:
                        async with asyncio.timeout(1):
                            writer.write(piece)
                            await writer.drain()
                        sent += len(piece)
            assert MOST_AHEAD < sent < 100 * MOST_AHEAD
            assert len(session._buffer) < 2 * MOST_AHEAD
            writer.transport.abort()

    asyncio.run(scenario())


def test_the_end_of_the_other_side_ends_every_exchange() -> None:
    async def scenario() -> None:
        async with served(lambda message: None) as (server, port):
            lane = await Lane.connect("127.0.0.1", port)
            waiting = asyncio.create_task(lane.exchange(b"x"))
            async with asyncio.timeout(5):
                while not server.held:
                    await asyncio.sleep(0)
                server.close()
                with pytest.raises(LaneClosedError):
                    await waiting
            with pytest.raises(LaneClosedError):
                await lane.exchange(b"y")

    asyncio.run(scenario())


def test_a_frame_too_large_or_damaged_drops_the_lane() -> None:
    def refuse(message: bytes) -> bytes:
        raise DecodeError("damaged")

    async def scenario() -> None:
        async with served(refuse) as (_, port):
            for data in ((MAX_MESSAGE + 1).to_bytes(4, "big"), frame(b"damaged")):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(data)
                async with asyncio.timeout(5):
                    with contextlib.suppress(ConnectionResetError):
                        assert await reader.read() == b""
                writer.close()

    asyncio.run(scenario())


def test_small_frames_are_not_delayed() -> None:
    async def scenario() -> None:
        async with served(lambda message: message) as (_, port):
            lane = await Lane.connect("127.0.0.1", port)
            connection = lane.transport.get_extra_info("socket")
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            lane.close()

    asyncio.run(scenario())
