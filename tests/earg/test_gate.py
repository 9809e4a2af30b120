"""Hostile peers at a lane's gate: huge, slow, silent, many. Nobody else is hurt."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from earg import gate
from earg.addresses import AddressPool
from earg.channel import MAX_CONNECTIONS, open_channel
from earg.gate import MAX_LANES, BlockingGate, Gate, hello
from earg.lane import Lane, LaneServer, frame, receive
from earg.payload import MAX_MESSAGE
from earg.protos import hogar_pb2, hogar_pb2_grpc, prediction_pb2, prediction_pb2_grpc
from earg.proxy import Proxy
from earg.security import SETTINGS, security
from tests.earg.authority import Authority, token_file
from tests.earg.running import eventually
from tests.earg.test_security import TOKEN, start, use


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings but the test's own."""
    use(monkeypatch, {})
    yield
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    security.cache_clear()


@contextlib.asynccontextmanager
async def served(
    handler: Callable[[bytes], bytes | None] = lambda message: message,
    most: int = MAX_LANES,
    patience: float = 10.0,
) -> AsyncIterator[tuple[LaneServer, int]]:
    server = LaneServer(handler)
    sessions = server.sessions
    make = server._gate._make
    server._gate = Gate(make, lambda: len(sessions), most, patience)
    port = await server.start("127.0.0.1")
    try:
        yield server, port
    finally:
        server.close()


async def is_dropped(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Whether the other side ends the connection, unanswered, within so long."""
    try:
        async with asyncio.timeout(seconds):
            return await reader.read() == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\0",
        frame(b"a whole message")[:-1],
        (MAX_MESSAGE).to_bytes(4, "big") + b"x" * 100_000,
    ],
)
def test_a_first_frame_that_does_not_come_costs_the_lane(sent: bytes) -> None:
    async def scenario() -> None:
        async with served(patience=0.3) as (server, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            began = time.monotonic()
            assert await is_dropped(reader, 10)
            assert time.monotonic() - began > 0.2
            assert not server.sessions
            writer.close()

    asyncio.run(scenario())


def test_a_peer_that_dribbles_is_dropped_and_one_that_was_let_in_may_rest() -> None:
    async def scenario() -> None:
        async with served(patience=0.5) as (_, port):
            lane = await Lane.connect("127.0.0.1", port)
            assert await lane.exchange(b"x") == b"x"
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            dropped = asyncio.create_task(is_dropped(reader, 10))
            began = time.monotonic()
            writer.write((1000).to_bytes(4, "big"))
            while not dropped.done():
                with contextlib.suppress(ConnectionError):
                    writer.write(b".")
                    await writer.drain()
                await asyncio.sleep(0.02)
            assert await dropped
            assert time.monotonic() - began < 5
            writer.close()
            assert await lane.exchange(b"y") == b"y"
            lane.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "sent",
    [
        (MAX_MESSAGE + 1).to_bytes(4, "big"),
        b"\xff" * 100,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_a_frame_larger_than_any_is_dropped_at_once(sent: bytes) -> None:
    async def scenario() -> None:
        async with served() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            assert await is_dropped(reader, 5)
            writer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "sent",
    [
        frame(b"no token"),
        frame(hello(TOKEN[:-1])),
        frame(hello(TOKEN) + b"\n"),
        frame(hello(TOKEN)) + frame(b"not yet answered"),
        (5000).to_bytes(4, "big"),
    ],
)
def test_a_lane_with_a_token_takes_nothing_before_it_has_answered(
    sent: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, token_file(tmp_path, TOKEN))
    taken = []

    async def scenario() -> None:
        async with served(taken.append) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            assert await is_dropped(reader, 5)
            writer.close()
        assert taken == []

    asyncio.run(scenario())


def test_half_sent_frames_of_all_peers_together_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "MAX_WAITING_BYTES", 1_000_000)

    async def scenario() -> None:
        async with served() as (server, port):
            peers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
            for _, writer in peers:
                writer.write(MAX_MESSAGE.to_bytes(4, "big") + b"x" * 300_000)
            ends = [asyncio.create_task(is_dropped(reader, 60)) for reader, _ in peers]

            async def five_are_dropped() -> bool:
                return sum(end.done() and end.result() for end in ends) == 5

            await eventually(five_are_dropped, "five of the eight are dropped")
            lane = await Lane.connect("127.0.0.1", port)
            assert await lane.exchange(b"x") == b"x"
            assert sum(end.done() for end in ends) == 5
            for _, writer in peers:
                writer.close()

            async def nobody_waits() -> bool:
                return not server._gate._waiting and server._gate._waiting_bytes == 0

            await eventually(nobody_waits, "nobody waits")
            await asyncio.gather(*ends)
            lane.close()

    asyncio.run(scenario())


def test_who_waits_longest_goes_first_and_who_was_let_in_stays() -> None:
    async def scenario() -> None:
        async with served(most=4) as (server, port):
            lanes = [await Lane.connect("127.0.0.1", port) for _ in range(2)]
            for lane in lanes:
                await lane.exchange(b"x")
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            assert await is_dropped(silent[0][0], 5)
            silent[0][1].close()
            lanes.append(await Lane.connect("127.0.0.1", port))
            assert await lanes[-1].exchange(b"y") == b"y"
            lanes.append(await Lane.connect("127.0.0.1", port))
            assert await lanes[-1].exchange(b"z") == b"z"
            for reader, writer in silent[1:]:
                assert await is_dropped(reader, 5)
                writer.close()
            # All places are taken by peers: one more finds none.
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await is_dropped(reader, 5)
            writer.close()
            for lane in lanes:
                assert await lane.exchange(b"still") == b"still"
            lanes.pop().close()

            async def there_is_room() -> bool:
                return len(server.sessions) == 3

            await eventually(there_is_room, "a lane has ended")
            lanes.append(await Lane.connect("127.0.0.1", port))
            assert await lanes[-1].exchange(b"back") == b"back"
            for lane in lanes:
                lane.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("with_uvloop", [False, True])
def test_peers_that_never_shake_hands_hold_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_uvloop: bool
) -> None:
    use(monkeypatch, Authority(tmp_path).issue("hands", "127.0.0.1"))

    async def scenario() -> None:
        async with served(most=4, patience=1.0) as (server, port):
            files = psutil.Process().num_fds()
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
            silent[-1][1].write(b"\x16\x03\x01\x02\x00")
            async with asyncio.timeout(10):
                lane = await Lane.connect("127.0.0.1", port)
                assert await lane.exchange(b"x") == b"x"
            for reader, writer in silent:
                assert await is_dropped(reader, 10)
                writer.close()

            async def nobody_waits() -> bool:
                # The lane has a descriptor on each side; loops open a few of their own.
                return not server._gate._waiting and psutil.Process().num_fds() <= files + 6

            await eventually(nobody_waits, "nobody waits and every descriptor is given back")
            assert await lane.exchange(b"y") == b"y"
            lane.close()

    if with_uvloop:
        pytest.importorskip("uvloop").run(scenario())
    else:
        asyncio.run(scenario())


def test_a_peer_that_does_not_read_its_answers_is_not_read_either() -> None:
    taken = 0

    def handler(message: bytes) -> bytes:
        nonlocal taken
        taken += 1
        return bytes(100_000)

    async def scenario() -> None:
        async with served(handler) as (server, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
            for _ in range(2000):
                writer.write(frame(b"x" * 1000))

            async def rests() -> bool:
                before = taken
                await asyncio.sleep(0.3)
                return 0 < taken == before

            await eventually(rests, "the server has stopped reading")
            (session,) = server.sessions
            assert session.transport.get_write_buffer_size() < 64 * 1024 * 1024
            assert taken < 2000
            received = 0
            while received < 2000 * 100_004:
                received += len(await reader.read(1 << 20))
            assert taken == 2000
            writer.close()

    asyncio.run(scenario())


def test_a_message_cannot_name_more_finished_requests_than_there_are(
    pool: AddressPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earg.proxy.MAX_FINISHED", 10)

    async def scenario() -> None:
        proxy = Proxy("g.n.proxy", pool.take(), pool.ports.proxy)
        relay = hogar_pb2.RelayRequest(finished=range(11))
        answer = proxy._relayed(relay.SerializeToString())
        assert answer is not None
        assert "11 finished requests" in hogar_pb2.RelayReply.FromString(answer).refused
        await proxy.close()

    asyncio.run(scenario())


# --- the model's ----------------------------------------------------------------------------


@contextlib.contextmanager
def blocking_gate(**named: float) -> Iterator[tuple[BlockingGate, list[bytes]]]:
    """A server as a model's, which answers each message with itself."""
    served_gate = BlockingGate(**named)  # type: ignore[arg-type]
    served_gate.open("127.0.0.1")
    taken: list[bytes] = []

    def serve() -> None:
        while (lane := served_gate.next_lane()) is not None:
            connection, message = lane
            with connection, contextlib.suppress(OSError, ValueError):
                message = receive(connection) if message is None else message
                while message is not None:
                    taken.append(message)
                    connection.sendall(frame(message))
                    message = receive(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield served_gate, taken
    finally:
        served_gate.close()
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize("with_tls", [False, True])
@pytest.mark.parametrize("with_token", [False, True])
def test_a_models_gate_lets_its_proxy_past_hostile_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_tls: bool, with_token: bool
) -> None:
    settings = Authority(tmp_path / "a").issue("model", "127.0.0.1") if with_tls else {}
    settings |= token_file(tmp_path, TOKEN) if with_token else {}
    stranger = Authority(tmp_path / "b").issue("model", "127.0.0.1")
    use(monkeypatch, settings)

    async def exchange(port: int, *messages: bytes) -> None:
        async with asyncio.timeout(20):
            lane = await Lane.connect("127.0.0.1", port)
            for message in messages:
                assert await lane.exchange(message) == message
            lane.close()

    with blocking_gate() as (served_gate, taken), contextlib.ExitStack() as stack:
        port = served_gate.port
        for sent in (
            b"",
            b"\0",
            b"\xff" * 1000,
            (MAX_MESSAGE + 1).to_bytes(4, "big"),
            MAX_MESSAGE.to_bytes(4, "big") + b"x" * 100_000,
        ):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            connection.sendall(sent)
        messages = [b"first", b"", os.urandom(3_000_000), b"last"]
        asyncio.run(exchange(port, *messages))
        assert taken == messages
        if with_tls:
            use(monkeypatch, stranger | {"EARG_TLS_CA": settings["EARG_TLS_CA"]})
            with pytest.raises(OSError, match=r"alert|closed|reset|EOF"):
                asyncio.run(exchange(port, b"stranger"))
        if with_token:
            tls_alone = {k: v for k, v in settings.items() if k != "EARG_TOKEN_FILE"}
            use(monkeypatch, tls_alone)
            with pytest.raises(OSError, match=r"closed"):
                asyncio.run(exchange(port, b"no token"))
        use(monkeypatch, settings)
        asyncio.run(exchange(port, b"again"))
        assert taken == [*messages, b"again"]


def test_a_models_gate_drops_who_waits_too_long_and_has_few_places() -> None:
    with blocking_gate(most=4, patience=0.5) as (served_gate, taken):
        with contextlib.ExitStack() as stack:
            silent = [
                stack.enter_context(socket.create_connection(("127.0.0.1", served_gate.port), 20))
                for _ in range(50)
            ]
            for connection in silent:
                connection.settimeout(20)
                with contextlib.suppress(ConnectionResetError):
                    assert connection.recv(1) == b""
        with socket.create_connection(("127.0.0.1", served_gate.port), 20) as connection:
            connection.sendall(frame(b"x"))
            assert receive(connection) == b"x"
            time.sleep(0.7)
            connection.sendall(frame(b"y"))
            assert receive(connection) == b"y"
        assert taken == [b"x", b"y"]


def test_a_models_gate_closes_while_peers_wait() -> None:
    with blocking_gate() as (served_gate, _):
        waiting = socket.create_connection(("127.0.0.1", served_gate.port), 20)
    waiting.settimeout(20)
    with contextlib.suppress(ConnectionResetError):
        assert waiting.recv(1) == b""
    waiting.close()


# --- a flood --------------------------------------------------------------------------------


@pytest.mark.slow
def test_ten_thousand_connections_do_not_hurt_a_proxy(pool: AddressPool) -> None:
    ip, port = pool.take(), pool.ports.proxy
    process = start("proxy", {"PROXY_NAME": "g.n.proxy", "PROXY_PORT": str(port), "LISTEN_IP": ip})

    async def ping() -> int:
        async with open_channel(f"{ip}:{port}") as channel:
            stub = prediction_pb2_grpc.ProxyServerStub(channel)
            request = prediction_pb2.ping_req()
            return int((await stub.ping(request, timeout=30, wait_for_ready=True)).status)

    async def lane_port() -> int:
        async with open_channel(f"{ip}:{port}") as channel:
            stub = hogar_pb2_grpc.LaneStub(channel)
            return int((await stub.Open(hogar_pb2.LaneRequest(), timeout=30)).port)

    def flood(to: int, count: int, sent: bytes) -> None:
        held: list[socket.socket] = []
        for _ in range(count):
            connection = socket.socket()
            connection.settimeout(20)
            connection.connect((ip, to))
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
            held.append(connection)
            if len(held) > 700:
                held.pop(0).close()
        files.append(known.num_fds())
        for connection in held:
            connection.close()

    files: list[int] = []
    try:
        assert asyncio.run(ping()) == 1
        known = psutil.Process(process.pid)
        lane = asyncio.run(lane_port())
        before = known.memory_info().rss
        flood(lane, 5_000, b"")
        flood(lane, 5_000, MAX_MESSAGE.to_bytes(4, "big") + b"x" * 4096)
        flood(port, 2_000, b"")
        # 700 peers held on each time.
        assert max(files[:2]) < MAX_LANES + 100
        assert files[2] < MAX_CONNECTIONS + 100
        assert known.memory_info().rss - before < 150 * 1024 * 1024
        assert asyncio.run(ping()) == 1
    finally:
        process.terminate()
        process.communicate(timeout=30)
