"""A primary without a backup sends on under a lease alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from earg.journal import Journal
from earg.lease import LEASE, Grant, Lease
from earg.protos import hogar_pb2
from earg.replication import Primary

PROCESS = 7


class Alone:
    """A primary with a clock of its own, and what it has sent on."""

    def __init__(self, *, may_be_alone: bool = False) -> None:
        self.now = 50.0
        self.sent: list[int] = []
        self.lease = Lease(lambda: self.now, PROCESS)
        self.primary = Primary(
            Journal((), 64, 1024), self._forward, lease=self.lease, may_be_alone=may_be_alone
        )

    async def _forward(self, outputs: list[hogar_pb2.Request]) -> None:
        self.sent += [one.id for one in outputs]

    async def compute(self, request_id: int) -> None:
        await self.primary.commit([hogar_pb2.Request(id=request_id)], [])
        # Whatever may leave has left by then.
        for _ in range(10):
            await asyncio.sleep(0)

    async def grant(self, epoch: int) -> bool:
        holds = self.primary.grant(Grant(PROCESS, self.now, LEASE, epoch))
        for _ in range(10):
            await asyncio.sleep(0)
        return holds


def play(scenario: Callable[[Alone], Awaitable[None]], *, may_be_alone: bool = False) -> None:
    async def body() -> None:
        alone = Alone(may_be_alone=may_be_alone)
        running = asyncio.create_task(alone.primary.run())
        try:
            await scenario(alone)
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await alone.primary.close()

    asyncio.run(body())


def test_outputs_wait_for_a_lease_and_leave_in_order() -> None:
    async def scenario(alone: Alone) -> None:
        await alone.compute(1)
        await alone.compute(2)
        assert alone.sent == []
        assert not alone.primary.may_send()
        assert alone.primary.figures().requests == 2
        assert await alone.grant(0)
        assert alone.sent == [1, 2]
        assert alone.primary.may_send()
        await alone.compute(3)
        assert alone.sent == [1, 2, 3]

    play(scenario)


def test_outputs_wait_again_once_the_lease_has_run_out() -> None:
    async def scenario(alone: Alone) -> None:
        await alone.grant(0)
        alone.now += LEASE + 0.1
        await alone.compute(1)
        assert alone.sent == []
        assert not alone.primary.may_send()
        await alone.grant(0)
        assert alone.sent == [1]

    play(scenario)


def test_a_lease_of_the_epoch_before_is_worth_nothing_after_the_backup_was_taken_away() -> None:
    async def scenario(alone: Alone) -> None:
        await alone.grant(0)
        await alone.primary.drop_backup(5)
        await alone.compute(1)
        assert not await alone.grant(0)
        assert alone.sent == []
        assert await alone.grant(5)
        assert alone.sent == [1]

    play(scenario)


def test_one_that_was_told_of_its_end_sends_nothing_on_any_more() -> None:
    async def scenario(alone: Alone) -> None:
        await alone.grant(0)
        alone.primary.end()
        await alone.compute(1)
        assert not await alone.grant(0)
        assert alone.sent == []
        assert not alone.primary.may_send()

    play(scenario)


def test_one_that_never_has_a_backup_needs_leases_from_the_first_one_on() -> None:
    async def scenario(alone: Alone) -> None:
        await alone.compute(1)
        assert alone.sent == [1]
        await alone.grant(0)
        alone.now += LEASE + 0.1
        await alone.compute(2)
        assert alone.sent == [1]

    play(scenario, may_be_alone=True)
