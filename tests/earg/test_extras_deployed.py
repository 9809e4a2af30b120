"""Graphs with extras, deployed by a real agent: replicas, choices, waits, and their redeploy."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from earg.client import AgentClient, AgentError, connect
from earg.config import Edge, NodeSpec, StaticConfig, write_static
from earg.images import Implementation
from earg.status import GraphStatus, NodeState
from tests.earg.running import MODELS
from tests.earg.test_agent import kill_agent, predict, processes_in, wait_for
from tests.earg.test_survival import Load, node

pytestmark = pytest.mark.slow

NAMED = Implementation("little:Named", str(MODELS))
ONE = StaticConfig((NodeSpec("only", "1", "image", False, 4),))
CHAIN = StaticConfig(
    tuple(NodeSpec(name, "1", "image", False, 8) for name in ("first", "middle", "last")),
    (Edge((1,), (2,)), Edge((2,), (3,))),
)
FORK = StaticConfig(
    tuple(NodeSpec(name, "1", "image", False, 8) for name in ("ask", "yes", "no")),
    (Edge((1,), (2, 3)),),
)


def deploy(
    agent: AgentClient,
    config: StaticConfig,
    extras: str,
    implementation: Implementation = NAMED,
    version: str = "1",
) -> GraphStatus:
    text = write_static(config, choices=bool(extras))
    indexes = range(1, len(config.nodes) + 1)
    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(
                lambda i: agent.deploy_node("g", version, text, i, implementation, extras=extras),
                indexes,
            )
        )
    agent.wire("g")
    for index in indexes:
        agent.probe("g", index)
    return agent.serve("g")


def replicas(count: int, name: str = "only") -> str:
    return f"nodes:\n  {name}: {{replicas: {count}}}\n"


def model_pids(agent: AgentClient, name: str = "only") -> tuple[int, ...]:
    return node(agent.graph("g"), name).pairs[0].model_pids


def test_replicas_share_the_requests_and_a_killed_one_costs_no_reply(agent: AgentClient) -> None:
    graph = deploy(agent, CHAIN, replicas(3, "middle"))
    pids = model_pids(agent, "middle")
    assert len(set(pids)) == 3

    async def scenario() -> None:
        async with Load(graph.url) as load:
            for pid in pids:
                await load.more(50)
                os.kill(pid, signal.SIGKILL)
            await load.more(200)
        assert load.failures == []
        assert load.replies == {key: f"last(middle(first({key})))".encode() for key in load.replies}

    asyncio.run(scenario())
    wait_for(
        lambda: node(agent.graph("g"), "middle").state is NodeState.READY,
        "all replicas run again",
    )
    again = model_pids(agent, "middle")
    assert len(set(again)) == 3
    assert set(again).isdisjoint({0, *pids})


def test_a_node_with_a_dead_replica_is_degraded_and_serves(
    agent: AgentClient, tmp_path: Path
) -> None:
    """Its second start fails for ever: the other model serves on."""
    model = Implementation(
        "little:DiesOnSecondStart", str(MODELS), (("MARK", str(tmp_path / "mark")),)
    )
    with pytest.raises(AgentError, match="the device is gone"):
        deploy(agent, ONE, replicas(2), model)
    graph = deploy(agent, ONE, replicas(2))
    os.kill(model_pids(agent)[1], signal.SIGKILL)
    wait_for(
        lambda: any(event.after == "degraded" for event in agent.events("g")),
        "it is told as degraded",
    )
    assert predict(graph.url, b"x") == b"only(x)"
    wait_for(lambda: agent.graph("g").nodes[0].state is NodeState.READY, "it is whole again")


def test_replicas_and_extras_are_adopted_by_the_next_agent(home: Path) -> None:
    extras = "switch:\n  ask:\n    - {to: yes, when: 'reply == \"ask(a)\"'}\n    - {to: no}\n"
    with connect(home) as agent:
        graph = deploy(agent, FORK, extras + replicas(2, "no"))
        before = model_pids(agent, "no")
        kill_agent(agent)
    with connect(home, start=False) as agent:
        assert model_pids(agent, "no") == before
        os.kill(node(agent.graph("g"), "ask").pairs[0].proxy_pid, signal.SIGKILL)
        wait_for(
            lambda: node(agent.graph("g"), "ask").state is NodeState.READY, "the proxy is back"
        )
        # Its new proxy was told the extras again.
        assert predict(graph.url, b"a") == b"yes(ask(a))"
        assert predict(graph.url, b"b") == b"no(ask(b))"
        agent.down("g")
        assert {process.pid for process in processes_in(home)} <= {agent.hello()[1]}


def test_changed_extras_replace_what_they_change_and_no_request_fails(
    agent: AgentClient,
) -> None:
    graph = deploy(agent, FORK, "split:\n  ask: {yes: 99, no: 1}\n")
    before = {one.name: one.pairs[0].model_pid for one in graph.nodes}

    async def scenario() -> None:
        async with Load(graph.url) as load:
            await load.more(50)
            await asyncio.to_thread(deploy, agent, FORK, "split:\n  ask: {yes: 1, no: 99}\n")
            await load.more(50)
            await asyncio.to_thread(
                deploy, agent, FORK, "split:\n  ask: {yes: 1, no: 99}\n" + replicas(2, "no")
            )
            seen = set(load.replies)
            await load.more(200)
            late = [load.replies[key] for key in load.replies if key not in seen]
        assert load.failures == []
        assert sum(reply.startswith(b"no(") for reply in late) > 0.9 * len(late)

    asyncio.run(scenario())
    after = {one.name: one.pairs[0].model_pid for one in agent.graph("g").nodes}
    assert after["yes"] == before["yes"]
    assert after["ask"] != before["ask"]
    assert len(model_pids(agent, "no")) == 2


def test_a_wait_and_an_objective_change_without_a_restart(agent: AgentClient) -> None:
    deploy(agent, ONE, "nodes:\n  only: {wait: 20ms, latency: 30ms}\n")
    pids = model_pids(agent)

    def batching() -> tuple[float, float, str]:
        statistics = agent.statistics("g").nodes[0].statistics
        assert statistics is not None
        return statistics.batch_wait, statistics.batch_objective, statistics.limit_set_by

    assert batching() == (0.02, 0.03, "config")
    deploy(agent, ONE, "nodes:\n  only: {wait: 5ms}\n")
    assert batching() == (0.005, 0.0, "config")
    before = agent.set_batch_limit("g", 1, wait=0.5, who="ada")
    assert (before.limit, before.wait, before.who) == (4, 0.005, "config")
    agent.set_batch_limit("g", 1, objective=0.1, who="bea")
    # Both outlive the proxy.
    os.kill(agent.graph("g").nodes[0].pairs[0].proxy_pid, signal.SIGKILL)
    wait_for(lambda: agent.graph("g").nodes[0].state is NodeState.READY, "the proxy is back")
    wait_for(lambda: batching() == (0.5, 0.1, "bea"), "what was set is set again")
    assert model_pids(agent) == pids


def test_extras_that_do_not_fit_are_refused_with_a_sentence(agent: AgentClient) -> None:
    with pytest.raises(AgentError, match="no operator called 'onlly'; did you mean 'only'"):
        deploy(agent, ONE, replicas(2, "onlly"))
    with pytest.raises(AgentError, match="a request would be answered twice"):
        deploy(agent, FORK, "nodes:\n  ask: {wait: 1ms}\n")


def test_a_request_that_takes_longer_than_its_timeout_fails(agent: AgentClient) -> None:
    slow = Implementation("little:BatchSizes", str(MODELS))
    graph = deploy(agent, ONE, "nodes:\n  only: {timeout: 10ms}\n", slow)
    reply = httpx.post(f"{graph.url}/predict", content=b"x")
    assert reply.status_code == 500
    assert "the model did not answer within 0.01 s" in reply.json()["error"]


def test_the_register_and_the_traces_tell_where_requests_are(
    agent: AgentClient, home: Path
) -> None:
    slow = Implementation("little:BatchSizes", str(MODELS))
    graph = deploy(agent, ONE, "nodes:\n  only: {wait: 1s}\n", slow)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    with ThreadPoolExecutor(1) as threads:
        posted = threads.submit(
            httpx.post, f"{graph.url}/predict", content=b"x", headers=headers, timeout=30
        )
        wait_for(lambda: agent.requests("g")[0] == 1, "the request is in the graph")
        wait_for(lambda: any(one.positions for one in agent.requests("g")[1]), "a node holds it")
        total, (request,) = agent.requests("g")
        assert total == 1
        assert (request.positions[0].index, request.positions[0].stage) == (1, "queued")
        assert earg(home, "requests", "g").stdout.startswith("1 request in g")
        assert posted.result().headers["traceparent"].startswith(f"00-{trace_id}-")
    assert agent.requests("g") == (0, ())
    trace = next(one for one in agent.traces("g") if one.trace_id == trace_id)
    assert [hop.node for hop in trace.hops] == ["only"]
    assert trace.hops[0].queue >= 0.9
    assert trace.duration >= trace.hops[0].queue + trace.hops[0].compute
    assert abs(trace.start - time.time()) < 60
    shown = earg(home, "traces", "g").stdout
    assert trace_id in shown
    assert "only" in shown
    (told,) = json.loads(earg(home, "traces", "g", "--json").stdout)
    assert told["trace_id"] == trace_id


def earg(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "earg.cli", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_command_line_deploys_extras_and_changes_batching(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "g-1.earg"
    spec = NodeSpec("only", "1", "hogar/named:1", False, -8)
    config.write_text(write_static(StaticConfig((spec,))))
    extras = tmp_path / "extras.yaml"
    extras.write_text(replicas(2))
    images = str(MODELS / "images.yaml")
    done = earg(home, "up", str(config), "--images", images, "--extras", str(extras))
    assert "g serves at http://" in done.stdout
    told = json.loads(earg(home, "nodes", "--json").stdout)
    assert len(told[0]["nodes"][0]["pairs"][0]["model_pids"]) == 2
    said = earg(home, "batch", "g", "only", "16", "--wait", "5ms", "--latency", "50ms").stdout
    assert said == (
        "only of g takes at most 16 requests at once, fewer by itself so that a batch computes "
        "within 50 ms, and waits up to 5 ms for them; before: at most 8 requests at once, fewer "
        "by itself, set by config\n"
    )
    assert (
        "at most 16 requests at once, and waits"
        in earg(home, "batch", "g", "only", "--static").stdout
    )
