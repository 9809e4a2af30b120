"""Batch limits, and the queue that batches are taken from."""

from __future__ import annotations

import asyncio

import pytest

from earg.batching import BatchLimit, BatchQueue, QueueFullError


@pytest.mark.parametrize(
    ("batch", "limit"),
    [
        (32, BatchLimit(32)),
        (1, BatchLimit(1)),
        (0, BatchLimit(1, one_a_call=True)),
        (-64, BatchLimit(64, dynamic=True)),
    ],
)
def test_a_configs_batch_means(batch: int, limit: BatchLimit) -> None:
    assert BatchLimit.from_config(batch) == limit


def test_a_limit_is_scaled_and_never_below_one() -> None:
    assert BatchLimit(32).scaled(0.5) == BatchLimit(16)
    assert BatchLimit(32).scaled(0.001) == BatchLimit(1)
    assert BatchLimit(64, dynamic=True).scaled(2) == BatchLimit(128, dynamic=True)
    assert BatchLimit(1, one_a_call=True).scaled(4) == BatchLimit(4)


@pytest.mark.parametrize("ratio", [0, -1, float("nan"), float("inf")])
def test_a_ratio_that_makes_no_limit_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="ratio"):
        BatchLimit(32).scaled(ratio)


def test_a_batch_takes_what_is_there_and_no_more_than_the_limit() -> None:
    async def scenario() -> None:
        queue: BatchQueue[int] = BatchQueue(10)
        for number in range(5):
            queue.put(number)
        assert await queue.take(3) == [0, 1, 2]
        assert await queue.take(3) == [3, 4]
        waiting = asyncio.create_task(queue.take(3))
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.put(5)
        assert await waiting == [5]

    asyncio.run(scenario())


def test_a_full_queue_says_so() -> None:
    async def scenario() -> None:
        queue: BatchQueue[int] = BatchQueue(2)
        queue.put(1)
        queue.put(2)
        assert queue.room == 0
        with pytest.raises(QueueFullError):
            queue.put(3)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "change",
    [
        {"most": 0},
        {"most": 10**9},
        {"wait": -0.1},
        {"wait": 61.0},
        {"wait": float("nan")},
        {"objective": -1.0},
        {"objective": float("inf")},
    ],
)
def test_a_change_out_of_bounds_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not"):
        BatchLimit(8).changed(**change)  # type: ignore[arg-type]


def test_what_a_change_does_not_name_stays() -> None:
    limit = BatchLimit(8, dynamic=True, wait=0.005, objective=0.05)
    assert limit.changed() == limit
    assert limit.changed(most=4) == BatchLimit(4, dynamic=True, wait=0.005, objective=0.05)
    assert limit.changed(wait=0, objective=0) == BatchLimit(8, dynamic=True)
    assert BatchLimit(1, one_a_call=True).changed(wait=0.1).one_a_call


def test_a_batch_waits_until_it_is_full() -> None:
    async def scenario() -> None:
        queue: BatchQueue[int] = BatchQueue(10)
        queue.put(1)
        waiting = asyncio.create_task(queue.filled_within(3, 60.0))
        await asyncio.sleep(0)
        queue.put(2)
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.put(3)
        await asyncio.wait_for(waiting, 5)

    asyncio.run(scenario())


def test_a_batch_that_does_not_fill_waits_no_longer_than_it_may() -> None:
    async def scenario() -> None:
        queue: BatchQueue[int] = BatchQueue(10)
        queue.put(1)
        await asyncio.wait_for(queue.filled_within(3, 0.01), 5)
        assert await queue.take(3) == [1]
        # A queue that can never hold so many does not make anybody wait for them.
        for number in range(10):
            queue.put(number)
        await asyncio.wait_for(queue.filled_within(99, 60.0), 5)
        # Nor does a time that has passed.
        await asyncio.wait_for(queue.filled_within(99, -1.0), 5)

    asyncio.run(scenario())
