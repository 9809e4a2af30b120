"""Who may speak to a process: settings, refusals, and real TLS and tokens at every door."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from earg.addresses import AddressPool
from earg.channel import add_port, new_server, new_threaded_server, open_channel
from earg.cli import main
from earg.client import AgentError, connect
from earg.config import NodeSpec, StaticConfig, write_static
from earg.environment import model_environment, process_environment
from earg.http_client import open_url
from earg.images import Implementation
from earg.lane import Lane, LaneServer
from earg.protos import hogar_pb2, hogar_pb2_grpc, prediction_pb2, prediction_pb2_grpc
from earg.security import SETTINGS, SecurityError, is_loopback, read_security, security
from earg.status import NodeState
from tests.earg.authority import NAME, Authority, token_file
from tests.earg.running import MODELS, pair

TOKEN = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2
INSECURE = 78


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings but the test's own."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    security.cache_clear()
    yield
    security.cache_clear()


def use(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    """Let this process have ``settings`` from now on, and no other."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    security.cache_clear()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


# --- settings -------------------------------------------------------------------------------


def test_without_settings_there_is_no_security_and_nothing_is_asked() -> None:
    found = read_security({})
    assert (found.tls, found.token, found.is_set, found.http_scheme) == (None, "", False, "http")


def test_a_token_is_one_line_and_never_shown(tmp_path: Path) -> None:
    found = read_security(token_file(tmp_path, TOKEN))
    assert found.admits_token(TOKEN)
    assert found.admits_token(TOKEN.encode())
    for wrong in ("", TOKEN[:-1], TOKEN + "\n", OTHER, "é"):
        assert not found.admits_token(wrong)
    assert TOKEN not in repr(found)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_secret_that_others_may_read_is_refused(
    tmp_path: Path, authority: Authority, mode: int
) -> None:
    settings = token_file(tmp_path, TOKEN)
    Path(settings["EARG_TOKEN_FILE"]).chmod(mode)
    with pytest.raises(SecurityError, match=r"open to others.*chmod 600"):
        read_security(settings)
    tls = authority.issue(f"open{mode}", "127.0.0.1")
    Path(tls["EARG_TLS_KEY"]).chmod(mode)
    with pytest.raises(SecurityError, match=r"EARG_TLS_KEY .* open to others"):
        read_security(tls)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("short", "has 5 characters"),
        ("", "has 0 characters"),
        (TOKEN + " " + TOKEN, "without spaces"),
        (TOKEN + "\n" + TOKEN, "without spaces"),
        (TOKEN + "é", "visible ASCII"),
        ("x" * 5000, "larger than"),
    ],
)
def test_a_bad_token_is_refused_without_being_shown(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SecurityError, match=words) as caught:
        read_security({"EARG_TOKEN_FILE": str(path)})
    assert TOKEN not in str(caught.value)


def test_a_token_file_that_is_none_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path, words in (("pipe", "is no file"), ("none", "cannot be read"), (".", "is no file")):
        with pytest.raises(SecurityError, match=words):
            read_security({"EARG_TOKEN_FILE": str(tmp_path / path)})


def test_half_of_the_tls_settings_are_refused(authority: Authority) -> None:
    settings = authority.issue("half", "127.0.0.1")
    for name in settings:
        with pytest.raises(SecurityError, match=f"{name} must be set, too"):
            read_security({key: value for key, value in settings.items() if key != name})
    with pytest.raises(SecurityError, match="EARG_TLS_SERVER_NAME is set without"):
        read_security({"EARG_TLS_SERVER_NAME": "x"})


def test_a_key_that_is_not_the_certificates_is_refused(authority: Authority) -> None:
    settings = authority.issue("one", "127.0.0.1")
    other = authority.issue("other", "127.0.0.1")
    with pytest.raises(SecurityError, match="are not a certificate chain and its key"):
        read_security(settings | {"EARG_TLS_KEY": other["EARG_TLS_KEY"]})
    with pytest.raises(SecurityError, match="holds no certificate"):
        read_security(settings | {"EARG_TLS_CA": settings["EARG_TLS_KEY"]})


@pytest.mark.parametrize(
    ("ip", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.200.3.4", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(ip: str, loopback: bool) -> None:
    assert is_loopback(ip) is loopback


# --- starting -------------------------------------------------------------------------------


def outside_address() -> str:
    """An address of this machine that is no loopback one, or the documentation's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "192.0.2.1"
        return str(probe.getsockname()[0])


def start(module: str, variables: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", f"earg.{module}"],
        env=process_environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


COMMON = {
    "PROXY_NAME": "g.n.proxy",
    "EARG_ENTRYPOINT": "little:Named",
    "EARG_FOLDER": str(MODELS),
    "ENTRY_PROXY_NAME": "127.0.0.1",
    "HTTP_PORT": "1",
    "PROXY_PORT": "1",
    "MODEL_PORT": "1",
}


@pytest.mark.parametrize("module", ["model", "proxy", "frontend"])
def test_a_process_that_others_could_reach_refuses_to_start(module: str) -> None:
    started = [start(module, COMMON | {"LISTEN_IP": ip}) for ip in ("0.0.0.0", outside_address())]
    if module == "frontend":
        started.append(start(module, COMMON | {"HTTP_IP": "0.0.0.0"}))
    for process in started:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == INSECURE
        (line,) = errors.splitlines()
        assert "which others can reach: set EARG_TLS_CERT" in line
        assert "EARG_TOKEN_FILE" in line
        assert output == ""


@pytest.mark.parametrize("module", ["model", "proxy", "frontend", "agent"])
def test_wrong_settings_are_one_sentence_and_an_exit_code(module: str, tmp_path: Path) -> None:
    process = start(
        module,
        COMMON | {"EARG_TOKEN_FILE": str(tmp_path / "none"), "EARG_HOME": str(tmp_path / "earg")},
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode == INSECURE
    assert (
        errors == f"EARG_TOKEN_FILE {tmp_path / 'none'} cannot be read: No such file or directory\n"
    )


def test_a_model_gets_what_its_proxy_needs_and_no_more() -> None:
    settings = dict.fromkeys(SETTINGS, "x") | {"EARG_HTTP_IP": "x", "PATH": "/", "PASSWORD": "x"}
    assert set(model_environment(settings)) == {*SETTINGS, "PATH"}
    assert set(process_environment(settings)) == {*SETTINGS, "PATH", "EARG_HTTP_IP"}


# --- gRPC -----------------------------------------------------------------------------------


class _Pinged(prediction_pb2_grpc.ProxyServerServicer, hogar_pb2_grpc.StatisticsServicer):
    async def ping(self, request: object, context: object) -> prediction_pb2.ping_reply:
        return prediction_pb2.ping_reply(status=0)

    async def WatchStats(self, request: object, context: object):  # type: ignore[no-untyped-def]
        yield hogar_pb2.NodeStatistics(proxy="one")
        yield hogar_pb2.NodeStatistics(proxy="two")


class _PingedInThread(prediction_pb2_grpc.ProxyServerServicer):
    def ping(self, request: object, context: object) -> prediction_pb2.ping_reply:
        return prediction_pb2.ping_reply(status=0)


async def pinged(address: str) -> int:
    async with open_channel(address) as channel:
        stub = prediction_pb2_grpc.ProxyServerStub(channel)
        return int((await stub.ping(prediction_pb2.ping_req(), timeout=5)).status)


async def refused(address: str) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pinged(address)
    assert TOKEN not in str(caught.value)
    return caught.value.code()


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("with_token", [False, True])
def test_grpc_wants_a_certificate_of_its_authority(
    pool: AddressPool,
    authority: Authority,
    stranger: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threaded: bool,
    with_token: bool,
) -> None:
    ip, port = pool.take(), pool.ports.proxy
    own = authority.issue("grpc", ip)
    token = token_file(tmp_path, TOKEN) if with_token else {}

    async def scenario() -> None:
        use(monkeypatch, own | token)
        address = f"{ip}:{port}"
        if threaded:
            server = new_threaded_server(2)
            prediction_pb2_grpc.add_ProxyServerServicer_to_server(_PingedInThread(), server)
            assert add_port(server, ip, port) == port
            server.start()
        else:
            server = new_server()
            prediction_pb2_grpc.add_ProxyServerServicer_to_server(_Pinged(), server)
            assert add_port(server, ip, port) == port
            await server.start()
        try:
            assert await pinged(address) == 0
            wrong = stranger.issue("grpc", ip)
            # Its certificate is signed by another; so is what it believes.
            use(monkeypatch, wrong | token)
            assert await refused(address) is grpc.StatusCode.UNAVAILABLE
            # It believes the right authority, and shows a certificate of another.
            use(monkeypatch, wrong | token | {"EARG_TLS_CA": own["EARG_TLS_CA"]})
            assert await refused(address) is grpc.StatusCode.UNAVAILABLE
            use(monkeypatch, token)
            assert await refused(address) is grpc.StatusCode.UNAVAILABLE
            # The server's certificate is not of the address that is called.
            use(monkeypatch, authority.issue("named", ip, name="other.test") | token)
            assert await refused(address) is grpc.StatusCode.UNAVAILABLE
            if with_token:
                use(monkeypatch, own)
                assert await refused(address) is grpc.StatusCode.UNAUTHENTICATED
                use(monkeypatch, own | token_file(tmp_path, OTHER))
                assert await refused(address) is grpc.StatusCode.UNAUTHENTICATED
        finally:
            stopping = server.stop(None)
            if not threaded:
                await stopping

    asyncio.run(scenario())


@pytest.mark.parametrize("threaded", [False, True])
def test_grpc_wants_the_token(
    pool: AddressPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threaded: bool
) -> None:
    ip, port = pool.take(), pool.ports.proxy

    async def scenario() -> None:
        use(monkeypatch, token_file(tmp_path, TOKEN))
        server = new_threaded_server(2) if threaded else new_server()
        servicer = _PingedInThread() if threaded else _Pinged()
        prediction_pb2_grpc.add_ProxyServerServicer_to_server(servicer, server)
        if not threaded:
            hogar_pb2_grpc.add_StatisticsServicer_to_server(servicer, server)
        assert add_port(server, ip, port) == port
        started = server.start()
        if not threaded:
            await started
        try:
            address = f"{ip}:{port}"
            assert await pinged(address) == 0
            if not threaded:
                assert await watched(address) == ["one", "two"]
            for settings in ({}, token_file(tmp_path, OTHER)):
                use(monkeypatch, settings)
                assert await refused(address) is grpc.StatusCode.UNAUTHENTICATED
                if not threaded:
                    with pytest.raises(grpc.aio.AioRpcError, match="show the token"):
                        await watched(address)
            use(monkeypatch, {})
            for metadata in (
                [("authorization", f"Bearer {TOKEN}x")],
                [("authorization", f"Basic {TOKEN}")],
                [("authorization", TOKEN)],
                [("authorization", f"Bearer {TOKEN}")] * 2,
            ):
                async with open_channel(address) as channel:
                    stub = prediction_pb2_grpc.ProxyServerStub(channel)
                    with pytest.raises(grpc.aio.AioRpcError, match="show the token"):
                        await stub.ping(prediction_pb2.ping_req(), timeout=5, metadata=metadata)
        finally:
            stopping = server.stop(None)
            if not threaded:
                await stopping

    async def watched(address: str) -> list[str]:
        async with open_channel(address) as channel:
            stub = hogar_pb2_grpc.StatisticsStub(channel)
            call = stub.WatchStats(hogar_pb2.WatchRequest(interval=1), timeout=5)
            return [one.proxy async for one in call]

    asyncio.run(scenario())


def test_a_channel_goes_to_an_address_and_nowhere_else() -> None:
    for target in ("unix:/tmp/x", "dns:///x:1", "127.0.0.1", "1.2.3.4:1/x", "", "a b:1"):
        with pytest.raises(ValueError, match="no address of the form ip:port"):
            open_channel(target)


# --- lanes ----------------------------------------------------------------------------------


async def is_shut_out(ip: str, port: int) -> bool:
    """Whether a lane there breaks off before it answers; one that hangs is a failure."""
    try:
        async with asyncio.timeout(20):
            lane = await Lane.connect(ip, port)
            await lane.exchange(b"let me in")
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


@pytest.mark.parametrize("with_uvloop", [False, True])
@pytest.mark.parametrize("with_tls", [False, True])
@pytest.mark.parametrize("with_token", [False, True])
def test_a_lane_opens_to_who_shows_what_is_asked(
    authority: Authority,
    stranger: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    with_tls: bool,
    with_token: bool,
    with_uvloop: bool,
) -> None:
    tls = authority.issue("lane", "127.0.0.1") if with_tls else {}
    token = token_file(tmp_path, TOKEN) if with_token else {}
    wrong = []
    if with_tls:
        other = stranger.issue("lane", "127.0.0.1")
        wrong += [token, other | token, other | token | {"EARG_TLS_CA": tls["EARG_TLS_CA"]}]
    if with_token:
        wrong += [tls, tls | token_file(tmp_path, OTHER)]

    taken = []

    def handler(message: bytes) -> bytes:
        taken.append(message)
        return message[::-1]

    async def scenario() -> None:
        use(monkeypatch, tls | token)
        server = LaneServer(handler)
        port = await server.start("127.0.0.1")
        lane = await Lane.connect("127.0.0.1", port)
        messages = [os.urandom(size) for size in (0, 1, 70_000, 3_000_000, 2)]
        answers = await asyncio.gather(*(lane.exchange(one) for one in messages))
        assert answers == [one[::-1] for one in messages]
        # An empty frame is a heartbeat, which the lane answers by itself.
        assert taken == messages[1:]
        for settings in wrong:
            use(monkeypatch, settings)
            assert await is_shut_out("127.0.0.1", port)
        assert taken == messages[1:]
        assert await lane.exchange(b"still") == b"llits"
        lane.close()
        server.close()

    if with_uvloop:
        uvloop = pytest.importorskip("uvloop")
        uvloop.run(scenario())
    else:
        asyncio.run(scenario())


def test_one_name_may_stand_for_every_peer(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        own = authority.issue("shared", name=NAME)
        use(monkeypatch, own)
        server = LaneServer(lambda message: message)
        port = await server.start("127.0.0.1")
        lane = await Lane.connect("127.0.0.1", port)
        assert await lane.exchange(b"x") == b"x"
        lane.close()
        use(monkeypatch, {k: v for k, v in own.items() if k != "EARG_TLS_SERVER_NAME"})
        with pytest.raises(ssl.SSLCertVerificationError):
            await Lane.connect("127.0.0.1", port)
        server.close()

    asyncio.run(scenario())


def test_no_lane_listens_where_others_could_reach_it() -> None:
    async def scenario() -> None:
        with pytest.raises(SecurityError, match="which others can reach"):
            await LaneServer(lambda message: message).start("0.0.0.0")

    asyncio.run(scenario())


# --- a whole graph --------------------------------------------------------------------------


class Graph:
    """A model, a proxy and a frontend as processes, and what a client of them needs."""

    def __init__(self, pool: AddressPool, settings: dict[str, str], ips: tuple[str, str]) -> None:
        self.settings = settings
        self.node_ip, self.frontend_ip = ips
        self.ports = pool.ports
        with socket.socket() as probe:
            probe.bind((self.frontend_ip, 0))
            self.http_port = int(probe.getsockname()[1])
        own = pair("g.n", self.node_ip)
        common = settings | {
            "PROXY_PORT": str(self.ports.proxy),
            "MODEL_PORT": str(self.ports.model),
        }
        node = common | {"LISTEN_IP": self.node_ip, "PROXY_NAME": own.proxy_name}
        entry = {
            "EARG_ENTRYPOINT": "little:Echo",
            "EARG_FOLDER": str(MODELS),
            "MODEL_NAME": own.model_name,
        }
        front = common | {
            "LISTEN_IP": self.frontend_ip,
            "HTTP_PORT": str(self.http_port),
            "ENTRY_PROXY_NAME": self.node_ip,
            "GRAPH_NAME": "g",
        }
        self.processes = [
            start("model", node | entry),
            start("proxy", node),
            start("frontend", front),
        ]
        self.config = (
            f"g-1\n1\n0\nfrontend,frontend,{self.frontend_ip}\nn,1,image,false,8,"
            f"{own.model_name},{own.model_id},{own.model_ip},"
            f"{own.proxy_name},{own.proxy_id},{own.proxy_ip}\n"
        )

    @property
    def url(self) -> str:
        scheme = "https" if "EARG_TLS_CERT" in self.settings else "http"
        return f"{scheme}://{self.frontend_ip}:{self.http_port}"

    async def wire(self) -> None:
        async with open_channel(f"{self.node_ip}:{self.ports.proxy}") as channel:
            stub = prediction_pb2_grpc.ProxyServerStub(channel)
            model = prediction_pb2.modelinfo(
                modelIp=self.node_ip, modelPort=self.ports.model, modelId=1
            )
            await stub.SetModel(model, timeout=60, wait_for_ready=True)
            await stub.SetDAG(prediction_pb2.dag(dag_=self.config), timeout=30)
        deadline = time.monotonic() + 60
        async with open_channel(f"{self.frontend_ip}:{self.ports.proxy}") as channel:
            stub = prediction_pb2_grpc.ProxyServerStub(channel)
            request = prediction_pb2.ping_req()
            while (await stub.ping(request, timeout=60, wait_for_ready=True)).status != 0:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

    def end(self) -> str:
        """Stop the processes; all that they wrote."""
        for process in self.processes:
            process.terminate()
        written = ""
        for process in self.processes:
            try:
                written += "".join(process.communicate(timeout=20))
            except subprocess.TimeoutExpired:
                process.kill()
                written += "".join(process.communicate())
        return written


def raw_lane(ip: str, port: int, first: bytes, seconds: float = 30) -> bytes:
    """What a lane answers to a peer with neither certificate nor token."""
    with socket.create_connection((ip, port), 20) as connection:
        connection.settimeout(seconds)
        try:
            connection.sendall(first)
            return connection.recv(1000)
        except (ConnectionError, TimeoutError):
            return b""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tls", "token", "both"])
def test_a_whole_graph_serves_its_own_and_refuses_others_at_each_door(
    pool: AddressPool,
    authority: Authority,
    stranger: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    ips = (pool.take(), pool.take())
    tls = authority.issue(f"graph-{kind}", *ips) if kind != "token" else {}
    token = token_file(tmp_path, TOKEN) if kind != "tls" else {}
    settings = tls | token
    use(monkeypatch, settings)
    graph = Graph(pool, settings, ips)
    doors = [
        (graph.node_ip, graph.ports.model),
        (graph.node_ip, graph.ports.proxy),
        (graph.frontend_ip, graph.ports.proxy),
    ]
    try:
        asyncio.run(graph.wire())

        def predict(text: str) -> str:
            request = urllib.request.Request(
                f"{graph.url}/predict", text.encode(), {"Content-Type": "text/plain"}
            )
            with open_url(request, 30) as reply:
                return str(reply.read().decode())

        assert [predict(text) for text in ("a", "b")] == ["a", "b"]

        async def lane_ports() -> list[int]:
            found = []
            for ip, port in doors:
                async with open_channel(f"{ip}:{port}") as channel:
                    stub = hogar_pb2_grpc.LaneStub(channel)
                    found.append((await stub.Open(hogar_pb2.LaneRequest(), timeout=10)).port)
            return found

        lanes = asyncio.run(lane_ports())
        wrong: list[dict[str, str]] = [{}]
        if tls:
            other = stranger.issue(f"graph-{kind}", *ips)
            wrong += [other | token, other | token | {"EARG_TLS_CA": tls["EARG_TLS_CA"]}]
        if token:
            wrong += [tls | token_file(tmp_path, OTHER)]
        if kind == "both":
            wrong += [tls, token]
        codes = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)

        async def refusals() -> None:
            for ip, port in doors:
                assert await refused(f"{ip}:{port}") in codes
            for (ip, _), port in zip(doors[1:], lanes[1:], strict=True):
                assert await is_shut_out(ip, port)

        for one in wrong:
            use(monkeypatch, one)
            asyncio.run(refusals())
            with pytest.raises((urllib.error.URLError, OSError)) as caught:
                predict("stranger")
            if not tls:
                assert isinstance(caught.value, urllib.error.HTTPError)
                assert caught.value.code == 401
                caught.value.close()
        # The model's lane, whose thread serves its proxy meanwhile, lets nobody else in.
        frame = (0).to_bytes(4, "big")
        assert raw_lane(graph.node_ip, lanes[0], frame, seconds=1) == b""
        for (ip, _), port in zip(doors[1:], lanes[1:], strict=True):
            # An empty message is a whole frame, and an empty one would be a relay of nothing.
            assert not raw_lane(ip, port, frame).startswith(frame)
        use(monkeypatch, settings)
        assert predict("again") == "again"
    finally:
        written = graph.end()
    assert TOKEN not in written
    assert OTHER not in written
    assert "PRIVATE KEY" not in written


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tls", "token", "both"])
def test_an_agents_graph_is_secured_as_the_agent_is(
    home: Path,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    tls = authority.issue(f"agent-{kind}", name=NAME) if kind != "token" else {}
    use(monkeypatch, tls | (token_file(tmp_path, TOKEN) if kind != "tls" else {}))
    monkeypatch.setenv("EARG_HTTP_IP", "127.0.0.9")
    # A stateful node: its backup's lane, and the states on it, are secured as well.
    text = write_static(StaticConfig((NodeSpec("only", "1", "image", True, 8),)))
    with connect(home) as agent:
        agent.deploy_node("g", "1", text, 1, Implementation("little:Counter", str(MODELS)))
        agent.wire("g")
        assert agent.probe("g", 1).state is NodeState.READY
        url = agent.serve("g").url
        assert url.startswith("https://127.0.0.9:" if tls else "http://127.0.0.9:")
        for count in (1, 2, 3):
            assert main(["--home", str(home), "send", "g", "--text", "x"]) == 0
            assert capsys.readouterr().out.strip() == str(count)
        os.kill(agent.graph("g").nodes[0].pairs[0].proxy_pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while main(["--home", str(home), "send", "g", "--text", "x"]) != 0:
            assert time.monotonic() < deadline
        assert capsys.readouterr().out.strip() == "4"
        use(monkeypatch, {})
        assert main(["--home", str(home), "send", "g", "--text", "x"]) != 0
        events = " ".join(event.what for event in agent.events())
    for log in home.glob("**/*.log*"):
        assert TOKEN not in log.read_text(encoding="utf-8", errors="replace")
    assert TOKEN not in events


@pytest.mark.slow
def test_an_agents_frontend_is_not_opened_to_others_without_security(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARG_HTTP_IP", "0.0.0.0")
    text = write_static(StaticConfig((NodeSpec("only", "1", "image", False, 8),)))
    with connect(home) as agent:
        agent.deploy_node("g", "1", text, 1, Implementation("little:Echo", str(MODELS)))
        with pytest.raises(AgentError, match=r"exit code 78(.|\n)*HTTP_IP is 0\.0\.0\.0, which"):
            agent.wire("g")


@pytest.mark.slow
def test_http_asks_for_the_token_but_tells_its_health(
    pool: AddressPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = token_file(tmp_path, TOKEN)
    use(monkeypatch, settings)
    graph = Graph(pool, settings, (pool.take(), pool.take()))
    try:
        asyncio.run(graph.wire())
        with httpx.Client(base_url=graph.url, timeout=30) as client:
            for path in ("/v2/health/live", "/v2/health/ready"):
                assert client.get(path).status_code == 200
            shown = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "text/plain"}
            assert client.post("/predict", content=b"x", headers=shown).text == "x"
            lower = shown | {"Authorization": f"bearer {TOKEN}"}
            assert client.post("/predict", content=b"x", headers=lower).text == "x"
            for path in ("/predict", "/v2", "/v2/models/g", "/ready", "/metrics", "/nowhere"):
                for value in (None, f"Bearer {OTHER}", f"Basic {TOKEN}", "Bearer", TOKEN):
                    headers = {} if value is None else {"Authorization": value}
                    reply = client.get(path, headers=headers)
                    assert reply.status_code == 401
                    assert reply.headers["www-authenticate"].startswith("Bearer")
                    assert "asks for a token" in reply.json()["error"]
                    assert TOKEN not in reply.text
            twice = [("Authorization", f"Bearer {TOKEN}")] * 2
            assert client.get("/v2", headers=twice).status_code == 401
    finally:
        assert TOKEN not in graph.end()


@pytest.mark.slow
def test_http_over_tls_needs_a_client_certificate(
    pool: AddressPool, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    ips = (pool.take(), pool.take())
    settings = authority.issue("https", *ips)
    use(monkeypatch, settings)
    graph = Graph(pool, settings, ips)
    try:
        asyncio.run(graph.wire())
        believing = ssl.create_default_context(cafile=settings["EARG_TLS_CA"])
        with httpx.Client(verify=believing) as client, pytest.raises(httpx.TransportError):
            client.get(f"{graph.url}/v2/health/live")
        believing.load_cert_chain(settings["EARG_TLS_CERT"], settings["EARG_TLS_KEY"])
        with httpx.Client(verify=believing) as client:
            assert client.get(f"{graph.url}/v2/health/live").json() == {"live": True}
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://{graph.frontend_ip}:{graph.http_port}/v2/health/live")
    finally:
        graph.end()
