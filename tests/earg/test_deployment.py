"""What a deployment writes down for the agent that follows."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from earg import ledger
from earg.config import NodeSpec, StaticConfig, write_static
from earg.deployment import Deployment
from earg.ledger import GraphRecord
from earg.pair import Commands, StartError
from earg.plan import read_plan
from tests.earg.running import eventually
from tests.earg.test_agent import named

TEXT = write_static(StaticConfig((NodeSpec("only", "1", "image", False, 8),)))


@pytest.mark.slow
def test_a_frontend_that_starts_is_known_to_the_agent_that_follows(tmp_path: Path) -> None:
    commands = Commands(frontend=(sys.executable, "-c", "import time; time.sleep(600)"))
    path = tmp_path / "ledger.json"

    async def scenario() -> None:
        graph = Deployment(
            *("g", "1", read_plan(TEXT), tmp_path, commands),
            lambda: None,
            lambda node, what, before="", after="": None,
        )

        def recorded() -> GraphRecord:
            ledger.write(path, [graph.record()])
            (record,) = ledger.read(path)
            return record

        async def frontend_starts() -> bool:
            return len(recorded().leftovers) == 1

        try:
            await graph.deploy(1, named("Echo"), 60)
            assert recorded().leftovers == ()
            wiring = asyncio.create_task(graph.wire())
            await eventually(frontend_starts, "the frontend starts")
            assert recorded().frontend is None
            # What the next agent does first.
            (pid,) = ledger.kill(recorded().leftovers)
            with pytest.raises(StartError, match="the frontend of g was killed by SIGKILL"):
                await wiring
            assert ledger.started_at(pid) is None
        finally:
            await graph.down()

    asyncio.run(scenario())


@pytest.mark.slow
def test_what_is_being_deployed_and_what_serves_are_both_written_down(tmp_path: Path) -> None:
    newer = TEXT.replace("only,1,", "only,2,")

    async def scenario() -> None:
        graph = Deployment(
            *("g", "1", read_plan(TEXT), tmp_path, Commands()),
            lambda: None,
            lambda node, what, before="", after="": None,
        )
        try:
            await graph.deploy(1, named("Echo"), 60)
            await graph.wire()
            graph.replan("2", read_plan(newer))
            ledger.write(tmp_path / "ledger.json", [graph.record()])
            (record,) = ledger.read(tmp_path / "ledger.json")
            assert (record.version, record.next_version) == ("1", "2")
            assert record.config == newer
            assert record.nodes[0].spec.version == "1"
            await graph.deploy(1, named("Echo"), 60)
            await graph.wire()
            ledger.write(tmp_path / "ledger.json", [graph.record()])
            (record,) = ledger.read(tmp_path / "ledger.json")
            assert (record.version, record.nodes[0].spec.version) == ("2", "2")
        finally:
            await graph.down()

    asyncio.run(scenario())
