"""The agent for the triggerer's event loop, and what every trigger that asks it shares."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from google.protobuf.message import Message

RECONNECT = 0.5
"""Seconds between attempts to reach an agent that does not answer."""


class AsyncAgent:
    """Calls of the agent in ``folder`` that block no event loop; make it by :func:`open_agent`."""

    def __init__(self, folder: Path) -> None:
        import grpc.aio

        from earg.home import Home
        from earg.payload import CHANNEL_OPTIONS
        from earg.protos import hogar_pb2_grpc

        self._home = Home(folder)
        self._channel = grpc.aio.insecure_channel(self._home.target, options=CHANNEL_OPTIONS)
        self._stub: Any = hogar_pb2_grpc.AgentStub(self._channel)

    async def call(self, method: str, request: Message, timeout: float) -> Any:
        """The answer to one call of the agent's protocol; raises ``earg.client.AgentError``. A call
        that is cancelled is cancelled at the agent, too."""
        import grpc

        from earg.client import read_error

        try:
            return await getattr(self._stub, method)(request, timeout=timeout)
        except grpc.RpcError as error:
            raise read_error(error, self._home, timeout) from None

    async def close(self) -> None:
        """Close the channel; the agent runs on."""
        await self._channel.close()


@asynccontextmanager
async def open_agent(folder: Path) -> AsyncIterator[AsyncAgent]:
    """The agent that runs in ``folder``; one that was killed and has left a graph serving is
    followed by another. Raises ``earg.client.NoAgentError`` where none is left."""
    # Imports, looks at the socket, and perhaps the start of a process: not in the event loop.
    await asyncio.to_thread(_make_sure, folder)
    agent = AsyncAgent(folder)
    try:
        yield agent
    finally:
        await agent.close()


def _make_sure(folder: Path) -> None:
    from earg.client import connect

    connect(folder, start=False).close()


class AgentTrigger(BaseTrigger):
    """Asks the agent until there is an answer, or ``deadline`` has passed.

    Its one event is ``{"status": "done", ...}``, or ``{"status": "failed", "gone" or "timeout",
    "error": a sentence}``. An agent that does not answer is asked again: another one may follow it.

    :param folder: the agent's folder.
    :param deadline: when to give up, in seconds since the Unix epoch: who restarts the trigger
        elsewhere gives it no more time.
    """

    def __init__(self, folder: str, deadline: float) -> None:
        super().__init__()
        self.folder = folder
        self.deadline = deadline

    def arguments(self) -> dict[str, Any]:
        """What :meth:`serialize` adds to the class: JSON alone."""
        return {"folder": self.folder, "deadline": self.deadline}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments."""
        return f"{type(self).__module__}.{type(self).__name__}", self.arguments()

    @property
    def left(self) -> float:
        """Seconds until the deadline, at least a little: the last call gives the reason."""
        return max(0.5, self.deadline - time.time())

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield the one event."""
        yield TriggerEvent(await self._result())

    async def _result(self) -> dict[str, Any]:
        from earg.client import (
            AgentError,
            DeadlineError,
            ModelFailed,
            NoAgentError,
            NoStartError,
        )

        while True:
            try:
                async with open_agent(Path(self.folder)) as agent:
                    return {"status": "done", **await self.ask(agent)}
            except NoAgentError as error:
                if time.time() > self.deadline:
                    return {"status": "timeout", "error": str(error)}
                self.log.warning("%s", error)
            except (DeadlineError, TimeoutError) as error:
                return {"status": "timeout", "error": str(error)}
            except NoStartError as error:
                return {"status": "gone", "error": str(error)}
            except ModelFailed as error:
                return {"status": "failed", "error": error.sentence, "traceback": error.traceback}
            except AgentError as error:
                return {"status": "failed", "error": str(error)}
            await asyncio.sleep(RECONNECT)

    @abstractmethod
    async def ask(self, agent: AsyncAgent) -> dict[str, Any]:
        """What the event says beside its status; raises ``earg.client.AgentError``, and
        TimeoutError with a sentence."""
