"""The model server: batches, errors, and both protocols."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import pytest

from earg.addresses import AddressPool
from earg.model import EntrypointError, batch_function, compute, load_model, snapshot_function
from earg.payload import failure, is_failure, pack, unpack
from earg.protos import hogar_pb2, model_pb2, model_pb2_grpc
from tests.earg.running import MODELS, open_lane, running_model


def run(entrypoint: str, values: list[Any]) -> list[Any]:
    """The replies of one batch; an error is its sentence as bytes."""
    model = load_model(entrypoint, str(MODELS))
    requests = [pack(value) for value in values]
    replies = compute(batch_function(model), requests, snapshot_function(model))
    return [reply.data if is_failure(reply) else unpack(reply) for reply in replies]


def test_a_class_with_predict_alone_serves_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_NAME", "g.node.model")
    assert run("little:Named", ["a", "b"]) == ["node(a)", "node(b)"]


@pytest.mark.parametrize("place", range(5))
def test_a_poisoned_request_fails_alone_and_counts_nobody_twice(place: int) -> None:
    values: list[Any] = ["good"] * 5
    values[place] = "bad"
    replies = run("little:Counter", values)
    assert replies[place] == b"ValueError: bad is refused"
    good = [reply for at, reply in enumerate(replies) if at != place]
    # The poisoned one was counted before it raised, in its own batch of one, and nobody twice.
    assert good == [count for count in range(1, 6) if count != place + 1]


def test_an_error_payload_is_not_shown_to_the_model() -> None:
    model = load_model("little:Counter", str(MODELS))
    requests = [pack("a"), failure("earlier"), pack("b")]
    replies = compute(batch_function(model), requests, snapshot_function(model))
    assert replies[1].data == b"earlier"
    assert [unpack(replies[0]), unpack(replies[2])] == [1, 2]


def test_a_reply_that_cannot_be_sent_fails_that_request_alone() -> None:
    replies = compute(lambda requests: [object(), "fine"], [pack("a"), pack("b")])
    assert b"cannot be sent" in replies[0].data
    assert unpack(replies[1]) == "fine"


def test_too_few_replies_are_an_error() -> None:
    replies = compute(lambda requests: [], [pack("a")])
    assert replies[0].data == b"ValueError: the model gave 0 replies to 1 requests"


def test_a_wrong_entrypoint_is_named() -> None:
    with pytest.raises(EntrypointError, match="no class Missing"):
        load_model("little:Missing", str(MODELS))
    with pytest.raises(ModuleNotFoundError):
        load_model("not_there:Missing", str(MODELS))
    with pytest.raises(EntrypointError, match="neither predict_batch"):
        load_model("string:Formatter", "")


def test_the_plain_protocol_and_ours_give_the_same_replies(pool: AddressPool) -> None:
    async def scenario() -> None:
        ip = pool.take()
        async with (
            running_model(pool, ip, "little:Counter"),
            grpc.aio.insecure_channel(f"{ip}:{pool.ports.model}") as channel,
        ):
            plain = model_pb2_grpc.PredictServiceStub(channel)
            one = await plain.Predict(model_pb2.input(inputType="text", inputStream="a"))
            assert (one.outputType, one.outputStream) == ("json", "1")
            batch = model_pb2.BatchInput(
                inputs=[model_pb2.input(inputType="text", inputStream=t) for t in ("a", "bad")],
                count=2,
            )
            two = await plain.BatchPredict(batch)
            assert two.count == 2
            assert [output.outputType for output in two.outputs] == ["json", "error"]
            message = hogar_pb2.ComputeRequest(requests=[pack("a")]).SerializeToString()
            async with open_lane(ip, pool.ports.model) as lane:
                reply = hogar_pb2.ComputeReply.FromString(await lane.exchange(message))
                # Seen so far: a, a, and bad alone in its batch.
                assert unpack(reply.replies[0]) == 4
            damaged = await plain.Predict(model_pb2.input(inputType="bytes", inputStream="?"))
            assert damaged.outputType == "error"
            assert (await plain.Ping(model_pb2.hi(msg="hi"))).status == "ok"

    asyncio.run(scenario())
