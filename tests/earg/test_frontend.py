"""The frontend over real HTTP and gRPC, with a graph behind it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from earg.addresses import AddressPool
from earg.client import AgentClient, connect
from earg.config import NodeSpec, StaticConfig, read_runtime, write_static
from earg.frontend import Frontend, Limits, http_app
from earg.images import Implementation
from earg.inference_protocol import Model
from earg.protos import model_pb2, prediction_pb2, prediction_pb2_grpc
from earg.sender import Sender
from tests.earg.running import MODELS

pytestmark = pytest.mark.slow


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
        agent_pid = agent.hello()[1]
        try:
            url = deploy(agent, "echo", "little:Echo")
            assert httpx.get(f"{url}/ready").status_code == 200
            (pair,) = agent.graph("echo").nodes[0].pairs
            # Held as well, or it would replace the proxy while the test still looks.
            os.kill(agent_pid, signal.SIGSTOP)
            os.kill(pair.proxy_pid, signal.SIGSTOP)
            for path in ("/ready", "/v2/health/ready", "/v2/models/echo/ready"):
                reply = httpx.get(url + path, timeout=10)
                assert reply.status_code == 503
                assert "not ready" in reply.json()["error"]
            assert httpx.get(f"{url}/v2/health/live").status_code == 200
        finally:
            os.kill(agent_pid, signal.SIGCONT)
            agent.shutdown()


# --- Open Inference Protocol ----------------------------------------------------------------


def infer(url: str, *texts: str, **more: object) -> httpx.Response:
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    return httpx.post(f"{url}/infer", json={"inputs": [tensor], **more}, timeout=30)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/health/live", {"live": True}),
        ("/health/ready", {"name": "echo", "ready": True}),
        ("/models/echo/ready", {"name": "echo", "ready": True}),
        ("/models/echo/versions/1/ready", {"name": "echo", "ready": True}),
    ],
)
def test_inference_clients_learn_that_the_graph_is_ready(
    served: tuple[AgentClient, str], path: str, answer: dict[str, object]
) -> None:
    reply = httpx.get(f"{served[1]}/v2{path}")
    assert (reply.status_code, reply.json()) == (200, answer)


def test_inference_clients_learn_what_is_served(served: tuple[AgentClient, str]) -> None:
    server = httpx.get(f"{served[1]}/v2").json()
    assert (server["name"], server["extensions"]) == ("earg", ["binary_tensor_data"])
    model = httpx.get(f"{served[1]}/v2/models/echo").json()
    assert (model["name"], model["versions"]) == ("echo", ["1"])
    assert model["inputs"] == [{"name": "input", "datatype": "BYTES", "shape": [-1]}]
    assert model == httpx.get(f"{served[1]}/v2/models/echo/versions/1").json()


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_an_inference_goes_through_the_graph(served: tuple[AgentClient, str], version: str) -> None:
    reply = infer(f"{served[1]}/v2/models/echo{version}", "héllo", "b", id="x7")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {
        "model_name": "echo",
        "model_version": "1",
        "id": "x7",
        "outputs": [{"name": "output", "datatype": "BYTES", "shape": [2], "data": ["héllo", "b"]}],
    }


def test_binary_tensors_go_both_ways(served: tuple[AgentClient, str]) -> None:
    data = b"\x02\0\0\0\xff\x00" + b"\x01\0\0\0b"
    parameters = {"binary_data_size": len(data)}
    tensor = {"name": "x", "shape": [2], "datatype": "BYTES", "parameters": parameters}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    reply = httpx.post(
        f"{served[1]}/v2/models/echo/infer",
        content=head + data,
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/octet-stream")
    size = int(reply.headers["inference-header-content-length"])
    (output,) = json.loads(reply.content[:size])["outputs"]
    assert output["parameters"] == parameters
    assert reply.content[size:] == data


def test_the_elements_of_a_tensor_are_in_the_graph_together(
    served: tuple[AgentClient, str],
) -> None:
    url = deploy(served[0], "sizes", "little:BatchSizes")
    reply = infer(f"{url}/v2/models/sizes", *"abcdefghijkl")
    (output,) = reply.json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("INT64", [12])
    assert max(output["data"]) > 1


def test_an_element_that_fails_fails_the_inference_with_its_sentence(
    served: tuple[AgentClient, str],
) -> None:
    url = deploy(served[0], "refusing", "little:Counter") + "/v2/models/refusing"
    alone = infer(url, "bad")
    assert alone.status_code == 500
    assert alone.json() == {"error": "ValueError: bad is refused"}
    among = infer(url, "a", "bad", "c")
    assert among.status_code == 500
    assert among.json() == {"error": "element 2 of 3: ValueError: bad is refused"}
    assert infer(url, "a").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "words"),
    [
        ("POST", "/models/other/infer", b"{}", {}, 404, "this frontend serves echo"),
        ("POST", "/models/echo/versions/2/infer", b"{}", {}, 404, "version 1"),
        ("GET", "/models/other", b"", {}, 404, "this frontend serves echo"),
        ("GET", "/models/echo/versions/2/ready", b"", {}, 404, "this frontend serves echo"),
        ("GET", "/models/echo/stop", b"", {}, 404, "POST /v2/models/{graph}/infer"),
        ("GET", "/models/echo/infer", b"", {}, 405, "use POST /v2/models/echo/infer"),
        ("POST", "/health/live", b"", {}, 405, "use GET /v2/health/live"),
        ("POST", "/models/echo/infer", b"{", {}, 400, "not JSON"),
        ("POST", "/models/echo/infer", b"x" * (17 * 1024 * 1024), {}, 413, "larger than"),
        (
            "POST",
            "/models/echo/infer",
            b'{"inputs":[{"name":"x","datatype":"INT8","shape":[1025],"data":[]}]}',
            {},
            413,
            "1025 elements are more than the 1024",
        ),
        ("POST", "/models/echo/infer", b"{}", {"Content-Encoding": "gzip"}, 415, "compressed"),
        (
            "POST",
            "/models/echo/infer",
            b"{}",
            {"Inference-Header-Content-Length": "3"},
            400,
            "Inference-Header-Content-Length",
        ),
    ],
)
def test_a_bad_inference_is_answered_with_a_sentence(
    served: tuple[AgentClient, str],
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    words: str,
) -> None:
    reply = httpx.request(method, f"{served[1]}/v2{path}", content=body, headers=headers)
    assert reply.status_code == status
    assert words in reply.json()["error"]


def test_a_full_graph_takes_all_elements_or_none_and_a_silent_one_meets_the_deadline(
    pool: AddressPool,
) -> None:
    async def body() -> None:
        nobody = f"{pool.take()}:{pool.ports.proxy}"
        entry = Sender(0, "frontend", nobody, capacity=16)
        frontend = Frontend(entry, Limits(concurrency=3, deadline=0.5))
        transport = httpx.ASGITransport(http_app(frontend, Model("g", "1")))
        async with httpx.AsyncClient(transport=transport, base_url="http://frontend") as client:

            async def post(count: int) -> httpx.Response:
                tensor = {"name": "x", "datatype": "INT8", "shape": [count], "data": [1] * count}
                return await client.post("/v2/models/g/infer", json={"inputs": [tensor]})

            first, second = await asyncio.gather(post(2), post(2))
            silent, refused = sorted((first, second), key=lambda r: r.status_code, reverse=True)
            assert (silent.status_code, refused.status_code) == (504, 503)
            assert "no reply within 0.5 s" in silent.json()["error"]
            assert refused.headers["retry-after"] == "1"
            assert "2 requests are in the graph already" in refused.json()["error"]
            assert (await post(3)).status_code == 504
        await entry.close()

    asyncio.run(body())
