"""Starts that outlast the client that asked for them."""

from __future__ import annotations

import asyncio

import pytest

from earg.handover import Starts


class Begun:
    """Starts that end when told to; ``times`` and ``ended`` count."""

    def __init__(self) -> None:
        self.times = 0
        self.ended = 0
        self.go = asyncio.Event()

    async def begin(self) -> int:
        self.times += 1
        number = self.times
        try:
            await self.go.wait()
        finally:
            self.ended += 1
        return number


def passed() -> bool:
    return True


def not_passed() -> bool:
    return False


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def give_up(task: asyncio.Task[int]) -> None:
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_next_client_gets_what_the_first_has_begun() -> None:
    async def scenario() -> None:
        starts, begun = Starts[int](), Begun()
        await give_up(asyncio.create_task(starts.join("a", begun.begin, passed)))
        assert begun.ended == 0
        second = asyncio.create_task(starts.join("a", begun.begin, passed))
        await settle()
        begun.go.set()
        assert await second == 1
        assert await starts.join("a", begun.begin, passed) == 2

    asyncio.run(scenario())


def test_a_client_that_goes_away_ends_the_start() -> None:
    async def scenario() -> None:
        starts, begun = Starts[int](), Begun()
        await give_up(asyncio.create_task(starts.join("a", begun.begin, not_passed)))
        assert begun.ended == 1

    asyncio.run(scenario())


def test_a_client_that_goes_away_leaves_the_start_to_the_others() -> None:
    async def scenario() -> None:
        starts, begun = Starts[int](), Begun()
        other = asyncio.create_task(starts.join("a", begun.begin, passed))
        await give_up(asyncio.create_task(starts.join("a", begun.begin, not_passed)))
        begun.go.set()
        assert await other == 1

    asyncio.run(scenario())


def test_what_ended_between_two_clients_is_told_to_the_second() -> None:
    async def scenario() -> None:
        starts, begun = Starts[int](), Begun()

        async def fails() -> int:
            await begun.begin()
            raise RuntimeError("no weights")

        await give_up(asyncio.create_task(starts.join("a", fails, passed)))
        begun.go.set()
        await settle()
        with pytest.raises(RuntimeError, match="no weights"):
            await starts.join("a", fails, passed)
        assert begun.times == 1

    asyncio.run(scenario())


def test_a_start_that_nobody_takes_over_is_ended() -> None:
    async def scenario() -> None:
        starts, begun = Starts[int](handover=0.05), Begun()
        await give_up(asyncio.create_task(starts.join("a", begun.begin, passed)))
        async with asyncio.timeout(10):
            while not begun.ended:
                await asyncio.sleep(0.01)
        await starts.close()

    asyncio.run(scenario())


def test_closing_ends_all() -> None:
    async def scenario() -> None:
        starts, begun = Starts[int](), Begun()
        await give_up(asyncio.create_task(starts.join("a", begun.begin, passed)))
        await starts.close()
        assert begun.ended == 1

    asyncio.run(scenario())


def test_what_was_never_begun_cannot_be_joined() -> None:
    async def scenario() -> None:
        with pytest.raises(KeyError):
            await Starts[int]().join("a", None, passed)

    asyncio.run(scenario())
