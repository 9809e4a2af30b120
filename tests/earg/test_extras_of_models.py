"""Extras that say how models run: retries, no backup, an environment; deployed by a real agent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from earg.client import AgentClient, AgentError, connect
from earg.config import Edge, NodeSpec, StaticConfig
from earg.images import Implementation
from earg.status import GraphStatus, NodeState
from tests.earg.running import MODELS
from tests.earg.test_agent import kill_agent, predict, wait_for
from tests.earg.test_extras_deployed import ONE, deploy, earg, model_pids
from tests.earg.test_survival import Load, node

pytestmark = pytest.mark.slow

FAILS_FIRST = Implementation("little:FailsFirst", str(MODELS))
ENVIRONMENT = Implementation("little:Environment", str(MODELS), (("A", "image"), ("B", "image")))
LEDGER = Implementation("little:Ledger", str(MODELS))
STATEFUL = StaticConfig((NodeSpec("only", "1", "image", True, 4),))
FORK = StaticConfig(
    tuple(NodeSpec(name, "1", "image", False, 8) for name in ("router", "left", "right")),
    (Edge((1,), (2, 3)),),
)


def pids(graph: GraphStatus) -> dict[str, list[tuple[int, int]]]:
    return {
        one.name: [(pair.model_pid, pair.proxy_pid) for pair in one.pairs] for one in graph.nodes
    }


def test_what_failed_of_a_batch_is_computed_again_as_often_as_said(agent: AgentClient) -> None:
    graph = deploy(agent, ONE, "nodes:\n  only: {retries: 2, wait: 200ms}\n", FAILS_FIRST)
    assert predict(graph.url, b"a 0") == b"1"
    assert predict(graph.url, b"b 2") == b"3"

    async def at_once(*requests: str) -> list[tuple[int, str]]:
        async with httpx.AsyncClient() as client:
            calls = (
                client.post(
                    f"{graph.url}/predict", content=one, headers={"Content-Type": "text/plain"}
                )
                for one in requests
            )
            replies = await asyncio.gather(*calls)
        return [(reply.status_code, reply.text) for reply in replies]

    good, late, bad = asyncio.run(at_once("c 0", "d 2", "e 1000"))
    assert (good[0], late[0], bad[0]) == (200, 200, 500)
    assert "e 1000 fails" in bad[1]
    # It had its reply and was not computed with the other two again.
    assert json.loads(predict(graph.url, b"c 0")) == json.loads(good[1]) + 1
    before = model_pids(agent)
    graph = deploy(agent, ONE, "", FAILS_FIRST)
    assert set(model_pids(agent)).isdisjoint(before)
    with pytest.raises(httpx.HTTPStatusError):
        httpx.post(
            f"{graph.url}/predict", content="f 1", headers={"Content-Type": "text/plain"}
        ).raise_for_status()


def test_a_batch_that_is_not_answered_in_time_is_computed_by_another_replica(
    agent: AgentClient, tmp_path: Path
) -> None:
    model = Implementation("little:HangsOnce", str(MODELS), (("MARK", str(tmp_path / "mark")),))
    extras = "nodes:\n  only: {replicas: 2, retries: 1, timeout: 1s}\n"
    graph = deploy(agent, ONE, extras, model)
    begin = time.monotonic()
    assert predict(graph.url, b"x") == b"x"
    assert (tmp_path / "mark").exists()
    assert 1.0 <= time.monotonic() - begin < 20


def test_the_environment_of_the_graph_wins_and_another_one_replaces_its_node_alone(
    agent: AgentClient,
) -> None:
    split = "split:\n  router: {left: 50, right: 50}\n"
    extras = split + "nodes:\n  left: {env: {B: graph, C: 'an é'}}\n"
    before = deploy(agent, FORK, extras, ENVIRONMENT)
    left = _environment_of(before, "left")
    assert (left["A"], left["B"], left["C"]) == ("image", "graph", "an é")
    assert _environment_of(before, "right").get("C") is None
    same = deploy(agent, FORK, extras, ENVIRONMENT)
    assert pids(same) == pids(before)
    after = deploy(agent, FORK, extras.replace("graph", "other"), ENVIRONMENT)
    assert _environment_of(after, "left")["B"] == "other"
    assert pids(after)["left"] != pids(before)["left"]
    assert {name: pids(after)[name] for name in ("router", "right")} == {
        name: pids(before)[name] for name in ("router", "right")
    }


def _environment_of(graph: GraphStatus, name: str) -> dict[str, str]:
    pid = node(graph, name).pairs[0].model_pid
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def test_a_stateful_node_without_a_backup_gets_one_and_loses_it_with_its_state_kept(
    home: Path,
) -> None:
    alone = "nodes:\n  only: {backup: 0}\n"
    with connect(home) as agent:
        graph = deploy(agent, STATEFUL, alone, LEDGER)
        (only,) = graph.nodes
        assert len(only.pairs) == 1
        assert only.state is NodeState.READY
        assert json.loads(predict(graph.url, b"a")) == {"times": 1, "all": 1}
        before = pids(graph)
        assert pids(deploy(agent, STATEFUL, alone, LEDGER)) == before
        kill_agent(agent)
    with connect(home, start=False) as agent:
        assert pids(agent.graph("g")) == before

        async def scenario() -> None:
            async with Load(graph.url) as load:
                await load.more(20)
                backed = await asyncio.to_thread(deploy, agent, STATEFUL, "", LEDGER)
                assert len(backed.nodes[0].pairs) == 2
                await load.more(20)
                single = await asyncio.to_thread(deploy, agent, STATEFUL, alone, LEDGER)
                assert len(single.nodes[0].pairs) == 1
                await load.more(20)
            assert load.failures == []
            # Each request has changed the state once, and none was forgotten.
            assert all(json.loads(reply)["times"] == 1 for reply in load.replies.values())
            total = max(json.loads(reply)["all"] for reply in load.replies.values())
            assert total == len(load.replies) + 1

        asyncio.run(scenario())
        os.kill(model_pids(agent)[0], signal.SIGKILL)
        wait_for(
            lambda: any("its state is lost" in event.what for event in agent.events("g")),
            "its death is told",
        )
        wait_for(lambda: agent.graph("g").nodes[0].state is NodeState.READY, "it is back")
        assert json.loads(predict(graph.url, b"a")) == {"times": 1, "all": 1}


@pytest.mark.parametrize(
    ("extras", "words"),
    [
        ("{retries: 1}", "is not computed again"),
        ("{retries: 101}", "from 0 to 100"),
        ("{backup: 2}", "0 or 1"),
        ("{env: {MODEL_PORT: '1'}}", "set by the runtime itself"),
        ("{env: {A: 1}}", "write the value in quotes"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(
    agent: AgentClient, extras: str, words: str
) -> None:
    with pytest.raises(AgentError, match=words):
        deploy(agent, STATEFUL, f"nodes:\n  only: {extras}\n", LEDGER)


GROWN = """\
meta
  name grown
  version 1
operator First
  entrypoint little:Echo, batch dynamic 8, wait 1ms
operator Left
  entrypoint little:Environment, env GREETING="good morning"
operator Right
  image some/image:1, retries 1
logical flow
switch
  First -> Left when reply == "GREETING", Right otherwise
"""


def test_what_udgl_compiles_is_deployed_by_earg_up_as_it_is(home: Path, tmp_path: Path) -> None:
    import udgl
    from udgl.targets.earg import compile_graph

    for file in compile_graph(udgl.parse(GROWN)).files:
        (tmp_path / file.name).write_text(file.text, encoding="utf-8")
    names = sorted(path.name for path in tmp_path.glob("grown-1.*"))
    assert names == ["grown-1.earg", "grown-1.extras.yaml", "grown-1.images.yaml"]
    own = tmp_path / "images.yaml"
    own.write_text("some/image:1: {entrypoint: 'little:Named'}\n", encoding="utf-8")
    done = earg(
        home,
        *("up", str(tmp_path / "grown-1.earg"), "--extras", str(tmp_path / "grown-1.extras.yaml")),
        *("--images", str(tmp_path / "grown-1.images.yaml"), "--images", str(own)),
        *("--models", str(MODELS), "--json"),
    )
    assert done.returncode == 0, done.stderr
    url = json.loads(done.stdout)["url"]
    assert predict(url, b"x") == b"Right(x)"
    assert predict(url, b"GREETING") == b"good morning"
