"""What a client may make the frontend hold: heads, bodies, connections, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive

from earg import http_door
from earg.http_door import MAX_HEAD, Bodies, BoundedHttp


async def _echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[int]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    app = Starlette(routes=[Route("/", _echo, methods=["GET", "POST"])])
    server = uvicorn.Server(
        uvicorn.Config(app, http=BoundedHttp, ws="none", lifespan="off", log_level="error")
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        server.force_exit = True
        async with asyncio.timeout(20):
            await serving


async def answer(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back for ``parts``, until the other side closes; it must within 20 s."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(pause)
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(65536):
                    received += data
        return received
    finally:
        writer.close()


GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"GET /", b"a" * 16384),
        (GET, b"X-Many: 1\r\n" * 1000),
        (GET + b"X-Long: ", b"a" * 16384),
        (POST + b"1\r\nx\r\n0\r\n", b"X-Trailer: 1\r\n" * 1000),
        (POST + b"1;", b"a" * 16384),
    ],
)
def test_a_head_that_does_not_end_is_refused(first: bytes, piece: bytes) -> None:
    async def scenario() -> None:
        async with served() as port:
            received = await answer(port, first, *([piece] * 64))
            # Whoever still sends when the connection ends may never see the answer.
            assert received == b"" or b" 431 " in received.split(b"\r\n")[0] or b" 400 " in received
            assert b" 200 " not in received

    asyncio.run(scenario())


def test_large_heads_and_bodies_within_the_bounds_pass() -> None:
    async def scenario() -> None:
        close = b"Connection: close\r\n"
        async with served() as port:
            head = GET + close + b"X: " + b"a" * (MAX_HEAD - 200) + b"\r\n\r\n"
            assert b" 200 " in await answer(port, head)
            length = b"Content-Length: 3000000\r\n\r\n"
            body = await answer(
                port, b"POST / HTTP/1.1\r\nHost: x\r\n" + close + length, b"x" * 3_000_000
            )
            assert body.endswith(b"3000000")
            # Many heads are no large one, also where one of them comes in pieces.
            many = [GET + b"X: " + b"a" * 1000 + b"\r\n\r\n"] * 100
            last = (GET, close, b"\r\n")
            assert (await answer(port, *many, *last, pause=0.001)).count(b"200 OK") == 101
            several = (GET + b"\r\n") * 50 + GET + close + b"\r\n"
            assert (await answer(port, several)).count(b"200 OK") == 51

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "parts",
    [
        (b"",),
        (b"G",),
        (GET,),
        (GET + b"\r\n", b"GET"),
        (POST + b"5\r\nab",),
    ],
)
def test_a_client_that_lets_its_request_wait_is_dropped(
    parts: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_door, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(http_door, "BODY_SECONDS", 0.6)

    async def scenario() -> None:
        async with served() as port:
            received = await answer(port, *parts, pause=0.05)
            assert received.count(b"200 OK") == len(parts) - 1

    asyncio.run(scenario())


def test_a_slow_graph_is_not_a_slow_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_door, "CHECK_SECONDS", 0.1)
    monkeypatch.setattr(http_door, "BODY_SECONDS", 0.2)

    async def slow(request: Request) -> Response:
        await request.body()
        await asyncio.sleep(1.0)
        return PlainTextResponse("at last")

    monkeypatch.setitem(globals(), "_echo", slow)

    async def scenario() -> None:
        async with served() as port:
            request = (
                b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"
            )
            assert (await answer(port, request)).endswith(b"at last")

    asyncio.run(scenario())


def test_idle_connections_give_way_to_clients_that_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedHttp, "most_connections", 20)

    async def scenario() -> None:
        async with served() as port:
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
            for _ in range(5):
                assert b" 200 " in await answer(port, GET + b"Connection: close\r\n\r\n")

            async def is_open(reader: asyncio.StreamReader) -> bool:
                try:
                    async with asyncio.timeout(0.1):
                        return await reader.read() != b""
                except TimeoutError:
                    return True
                except ConnectionError:
                    return False

            still = await asyncio.gather(*(is_open(reader) for reader, _ in idle))
            assert sum(still) <= 20
            for _, writer in idle:
                writer.close()

    asyncio.run(scenario())


def test_large_bodies_are_counted_while_they_are_held() -> None:
    def receiver() -> Receive:
        async def receive() -> Message:
            return {"type": "http.request"}

        return receive

    async def scenario() -> None:
        bodies = Bodies(most=1_000_000)
        one, two, three = (Request({"type": "http", "headers": []}, receiver()) for _ in range(3))
        seen = []

        async def handler(request: Request) -> Response:
            seen.append(
                bodies.hold(request.receive, 300_000) and bodies.hold(request.receive, 600_000)
            )
            if request is one:
                # While this one is held, another finds less room, and a small one always some.
                await bodies.released(handler)(two)
                assert bodies.hold(three.receive, 1000)
            return JSONResponse({})

        await bodies.released(handler)(one)
        assert seen == [True, False]
        await bodies.released(handler)(two)
        assert seen == [True, False, True]

    asyncio.run(scenario())
