"""The frontend over real HTTP and gRPC, with a graph behind it."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from earg.client import AgentClient, connect
from earg.config import NodeSpec, StaticConfig, read_runtime, write_static
from earg.images import Implementation
from earg.protos import model_pb2, prediction_pb2, prediction_pb2_grpc
from tests.earg.running import MODELS


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AgentClient, str]]:
    """A graph of one echo node, and its URL."""
    with connect(tmp_path_factory.mktemp("frontend") / "earg") as agent:
        try:
            yield agent, deploy(agent, "echo", "little:Echo")
        finally:
            agent.shutdown()


def deploy(agent: AgentClient, name: str, entrypoint: str) -> str:
    text = write_static(StaticConfig((NodeSpec("only", "1", "image", False, 8),)))
    agent.deploy_node(name, "1", text, 1, Implementation(entrypoint, str(MODELS)))
    agent.wire(name)
    agent.probe(name, 1)
    return agent.serve(name).url


@pytest.mark.parametrize(
    ("content_type", "body", "answered_as"),
    [
        ("text/plain", "héllo".encode(), "text/plain; charset=utf-8"),
        ("application/json", b'{"a":[1,null,"x"]}', "application/json"),
        ("application/json; charset=utf-8", b"3", "application/json"),
        ("audio/wav", bytes(range(256)), "application/octet-stream"),
        ("", b"\xff\x00", "application/octet-stream"),
    ],
)
def test_a_value_goes_through_the_graph_as_what_it_is(
    served: tuple[AgentClient, str], content_type: str, body: bytes, answered_as: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    reply = httpx.post(f"{served[1]}/predict", content=body, headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (200, answered_as)
    assert reply.content == body


@pytest.mark.parametrize(
    ("method", "path", "content_type", "body", "status", "words"),
    [
        ("POST", "/predict", "application/json", b"{", 400, "is not application/json"),
        ("POST", "/predict", "application/json", b"NaN", 400, "JSON"),
        ("POST", "/predict", "text/plain", b"\xff", 400, "is not text/plain"),
        ("POST", "/predict", "audio/wav", b"x" * (17 * 1024 * 1024), 413, "larger than"),
        ("GET", "/predict", "text/plain", b"", 405, "use POST /predict"),
        ("GET", "/elsewhere", "text/plain", b"", 404, "requests go to POST /predict"),
    ],
)
def test_a_bad_request_is_answered_with_a_sentence(
    served: tuple[AgentClient, str],
    method: str,
    path: str,
    content_type: str,
    body: bytes,
    status: int,
    words: str,
) -> None:
    reply = httpx.request(
        method, served[1] + path, content=body, headers={"Content-Type": content_type}
    )
    assert reply.status_code == status
    assert words in reply.json()["error"]


def test_a_body_without_a_length_is_bounded_too(served: tuple[AgentClient, str]) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(17):
            yield b"x" * 1024 * 1024

    try:
        reply = httpx.post(f"{served[1]}/predict", content=chunks())
    except httpx.WriteError:
        return  # refused before all was sent
    assert reply.status_code == 413


def test_a_models_error_is_the_clients_500_with_its_sentence(tmp_path: Path) -> None:
    with connect(tmp_path / "earg") as agent:
        try:
            url = deploy(agent, "count", "little:Counter")
            reply = httpx.post(
                f"{url}/predict", content=b"bad", headers={"Content-Type": "text/plain"}
            )
            assert reply.status_code == 500
            assert reply.json() == {"error": "ValueError: bad is refused"}
            fine = httpx.post(
                f"{url}/predict", content=b"x", headers={"Content-Type": "text/plain"}
            )
            assert json.loads(fine.content) == 2
        finally:
            agent.shutdown()


def test_a_client_of_the_original_gets_the_originals_answer(
    served: tuple[AgentClient, str],
) -> None:
    agent, _ = served
    runtime = read_runtime(
        (agent.home.graph_folder("echo") / "runtime.earg").read_text(encoding="utf-8")
    )
    with grpc.insecure_channel(f"{runtime.frontend_ip}:22223") as channel:
        stub = prediction_pb2_grpc.ProxyServerStub(channel)
        first = stub.downstream(
            prediction_pb2.request(input_=model_pb2.input(inputType="text", inputStream="a\nb")),
            timeout=10,
        )
        head, _, output = first.status.partition("\n")
        assert head.startswith("req sequence: ")
        assert head.endswith("ms; OUTPUT (starting from next line):")
        assert output == "a\nb"
        encoded = base64.b64encode(b"\x00\xff").decode()
        second = stub.downstream(
            prediction_pb2.request(input_=model_pb2.input(inputType="bytes", inputStream=encoded)),
            timeout=10,
        )
        assert second.status.partition("\n")[2] == encoded
        assert stub.ping(prediction_pb2.ping_req(), timeout=10).status == 0


def test_readiness_follows_the_graph(tmp_path: Path) -> None:
    with connect(tmp_path / "earg") as agent:
        try:
            url = deploy(agent, "echo", "little:Echo")
            assert httpx.get(f"{url}/ready").status_code == 200
            (pair,) = agent.graph("echo").nodes[0].pairs
            os.kill(pair.proxy_pid, signal.SIGSTOP)
            reply = httpx.get(f"{url}/ready", timeout=10)
            assert reply.status_code == 503
            assert "not ready" in reply.json()["error"]
        finally:
            agent.shutdown()
