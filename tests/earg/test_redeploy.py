"""Another config of a graph that serves: what changed is replaced, and no request is lost."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from earg.client import AgentClient, AgentError, ModelFailed, connect
from earg.config import Edge, StaticConfig, write_static
from earg.images import Implementation
from earg.status import GraphStatus, NodeState, Role
from tests.earg.test_agent import deploy_all, kill_agent, pids_of, predict, processes_in, wait_for
from tests.earg.test_survival import (
    DIAMOND,
    STATEFUL_CHAIN,
    Load,
    deploy_mixed,
    implementation,
    node,
    nodes,
    settled,
)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _marked_processes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The agent hands EARG_* on, so that this test can tell its processes from all others.
    monkeypatch.setenv("EARG_HOME", str(home))


def changed(config: StaticConfig, name: str, **fields: object) -> StaticConfig:
    """The config with other fields of one node."""
    specs = tuple(
        dataclasses.replace(spec, **fields) if spec.name == name else spec  # type: ignore[arg-type]
        for spec in config.nodes
    )
    return StaticConfig(specs, config.dist, config.reduce)


def deploy(
    agent: AgentClient,
    config: StaticConfig,
    models: Callable[[str], Implementation],
    version: str = "2",
) -> GraphStatus:
    """Deploy every node in parallel, as Airflow does, then wire, probe and serve."""
    text = write_static(config)
    indexes = range(1, len(config.nodes) + 1)
    with ThreadPoolExecutor(len(config.nodes)) as threads:
        list(
            threads.map(
                lambda index: agent.deploy_node(
                    "g", version, text, index, models(config.nodes[index - 1].name)
                ),
                indexes,
            )
        )
    agent.wire("g")
    for index in indexes:
        agent.probe("g", index)
    return agent.serve("g")


def pids_by_node(graph: GraphStatus) -> dict[str, list[int]]:
    return {
        one.name: [pid for pair in one.pairs for pid in (pair.model_pid, pair.proxy_pid)]
        for one in graph.nodes
    }


def named(_: str) -> Implementation:
    return implementation("Named")


@pytest.mark.parametrize("name", ["c1", "c2", "c3", "c5"])
def test_a_stateless_node_is_replaced_alone_and_no_request_fails(
    agent: AgentClient, home: Path, name: str
) -> None:
    before = deploy(agent, DIAMOND, named, "1")

    async def scenario() -> GraphStatus:
        async with Load(before.url) as load:
            await load.more(50)
            after = await asyncio.to_thread(
                deploy, agent, changed(DIAMOND, name, version="2", image="image:2"), named
            )
            await load.more(200)
        assert load.failures == []
        assert load.replies == {
            key: f"c5(c3(c2(c1({key})))|c4(c2(c1({key}))))".encode() for key in load.replies
        }
        return after

    after = asyncio.run(scenario())
    assert (before.version, after.version, after.url) == ("1", "2", before.url)
    assert httpx.get(f"{after.url}/v2/models/g").json()["versions"] == ["2"]
    assert httpx.get(f"{after.url}/v2/models/g/versions/1").status_code == 404
    assert (node(after, name).version, node(after, name).image) == ("2", "image:2")
    old, new = pids_by_node(before), pids_by_node(after)
    assert not set(old[name]) & set(new[name])
    assert {key: pids for key, pids in old.items() if key != name} == {
        key: pids for key, pids in new.items() if key != name
    }
    wait_for(lambda: not any(map(psutil.pid_exists, old[name])), "the old processes are gone", 30)
    # The agent, the frontend, and two processes a node: nothing is left behind.
    assert len(processes_in(home)) == 2 + 2 * len(DIAMOND.nodes)


def test_every_node_at_once_is_replaced_and_no_request_fails(agent: AgentClient) -> None:
    before = deploy(agent, DIAMOND, named, "1")
    config = DIAMOND
    for spec in DIAMOND.nodes:
        config = changed(config, spec.name, version="2")

    async def scenario() -> None:
        async with Load(before.url) as load:
            await load.more(50)
            await asyncio.to_thread(deploy, agent, config, named)
            await load.more(200)
        assert load.failures == []
        assert load.replies == {
            key: f"c5(c3(c2(c1({key})))|c4(c2(c1({key}))))".encode() for key in load.replies
        }

    asyncio.run(scenario())
    after = agent.graph("g")
    assert not set(pids_of(before)) & set(pids_of(after))
    assert [one.version for one in after.nodes] == ["2"] * 5
    wait_for(lambda: not any(map(psutil.pid_exists, pids_of(before))), "the old ones are gone", 30)
    # The new ones are brought back as the old ones were.
    os.kill(node(after, "c3").pairs[0].proxy_pid, signal.SIGKILL)
    assert predict(after.url, b"x") == b"c5(c3(c2(c1(x)))|c4(c2(c1(x))))"
    wait_for(settled(agent, "g"), "every node is ready again")


def test_a_stateful_node_hands_its_state_over_and_every_request_counts_once(
    agent: AgentClient, home: Path
) -> None:
    config = StaticConfig(nodes("ledger", stateful="ledger", batch=4))
    before = deploy_mixed(agent, config)

    async def scenario() -> None:
        async with Load(before.url) as load:
            for version in ("2", "3"):
                await load.more(60)
                await asyncio.to_thread(
                    deploy,
                    agent,
                    changed(config, "ledger", version=version),
                    lambda _: implementation("Ledger"),
                    version,
                )
                await load.more(60)
                pid = (await asyncio.to_thread(agent.graph, "g")).nodes[0].pairs[0].model_pid
                os.kill(pid, signal.SIGKILL)
                await load.more(60)
                await asyncio.to_thread(wait_for, settled(agent, "g"), "ready again")
        assert load.failures == []
        replies = [json.loads(reply) for reply in load.replies.values()]
        assert {reply["times"] for reply in replies} == {1}
        assert sorted(reply["all"] for reply in replies) == list(range(1, len(replies) + 1))

    asyncio.run(scenario())
    after = agent.graph("g")
    assert [pair.role for pair in after.nodes[0].pairs] == [Role.PRIMARY, Role.BACKUP]
    assert after.nodes[0].version == "3"
    assert not set(pids_of(before)) & set(pids_of(after))
    wait_for(lambda: len(processes_in(home)) == 6, "agent, frontend and two pairs are left", 30)


def test_a_version_that_does_not_take_the_state_fails_and_the_old_one_serves_on(
    agent: AgentClient, home: Path
) -> None:
    config = StaticConfig(nodes("ledger", stateful="ledger", batch=4))
    before = deploy_mixed(agent, config)

    async def scenario() -> None:
        async with Load(before.url) as load:
            await load.more(60)
            with pytest.raises(ModelFailed) as failed:
                await asyncio.to_thread(
                    deploy,
                    agent,
                    changed(config, "ledger", version="2"),
                    lambda _: implementation("RefusesState"),
                )
            sentence = failed.value.sentence
            assert "version 2 of ledger does not take over the state of version 1" in sentence
            assert "which serves on" in sentence
            assert "this state is of another form" in sentence
            await load.more(60)
            await asyncio.to_thread(wait_for, settled(agent, "g"), "ready, with its backup")
            os.kill(before.nodes[0].pairs[0].proxy_pid, signal.SIGKILL)
            await load.more(60)
        assert load.failures == []
        replies = [json.loads(reply) for reply in load.replies.values()]
        assert sorted(reply["all"] for reply in replies) == list(range(1, len(replies) + 1))

    asyncio.run(scenario())
    wait_for(settled(agent, "g"), "ready again")
    after = agent.graph("g")
    assert (after.version, after.nodes[0].version) == ("1", "1")
    assert len(processes_in(home)) == 6


def test_a_version_whose_model_raises_fails_its_deploy_and_the_old_one_serves_on(
    agent: AgentClient, home: Path
) -> None:
    before = deploy(agent, DIAMOND, named, "1")
    config = changed(DIAMOND, "c3", version="2")
    with pytest.raises(ModelFailed, match=r"weights\.bin is missing"):
        deploy(
            agent,
            config,
            lambda name: (
                implementation("RaisesOnConstruction") if name == "c3" else implementation("Named")
            ),
        )
    assert pids_by_node(agent.graph("g")) == pids_by_node(before)
    assert (agent.graph("g").version, node(agent.graph("g"), "c3").version) == ("1", "1")
    assert predict(before.url, b"x") == b"c5(c3(c2(c1(x)))|c4(c2(c1(x))))"
    assert len(processes_in(home)) == 2 + 2 * len(DIAMOND.nodes)
    with pytest.raises(AgentError, match=r"c3 \(version 1\) not deployed with its new config yet"):
        agent.wire("g")
    # The retry, with the cause gone, does what is left; so does going back.
    after = deploy(agent, config, named)
    assert (after.version, node(after, "c3").version) == ("2", "2")
    back = deploy(agent, DIAMOND, named, "1")
    assert (back.version, node(back, "c3").version) == ("1", "1")
    assert pids_by_node(back)["c1"] == pids_by_node(before)["c1"]


def test_another_batch_alone_restarts_nothing(agent: AgentClient) -> None:
    before = deploy(agent, STATEFUL_CHAIN, named, "1")
    config = changed(changed(STATEFUL_CHAIN, "first", batch=5), "ledger", batch=-7)
    after = deploy(agent, config, named)
    assert pids_by_node(after) == pids_by_node(before)

    def limits() -> dict[str, tuple[int, str]]:
        return {
            one.name: (one.statistics.batch_most, one.statistics.limit_set_by)
            for one in agent.statistics("g").nodes
            if one.statistics is not None
        }

    expected = {"first": (5, "config"), "ledger": (7, "config"), "last": (8, "config")}
    assert limits() == expected
    for name in ("first", "ledger"):
        os.kill(node(agent.graph("g"), name).pairs[0].proxy_pid, signal.SIGKILL)
    wait_for(lambda: pids_by_node(agent.graph("g")) != pids_by_node(before), "one was replaced")
    wait_for(settled(agent, "g"), "every node is ready again")
    wait_for(lambda: limits() == expected, "the limits of the new config outlive their proxies")


def test_a_limit_that_somebody_set_outlives_another_version_and_the_agent(home: Path) -> None:
    with connect(home) as agent:
        deploy(agent, STATEFUL_CHAIN, named, "1")
        for index in (1, 2):
            agent.set_batch_limit("g", index, 3, "ada")
        config = changed(changed(STATEFUL_CHAIN, "first", version="2"), "ledger", version="2")
        after = deploy(agent, config, named)
        kill_agent(agent)
    with connect(home, start=False) as agent:
        for name in ("first", "ledger"):
            os.kill(node(after, name).pairs[0].proxy_pid, signal.SIGKILL)
        wait_for(lambda: pids_by_node(agent.graph("g")) != pids_by_node(after), "one was replaced")
        wait_for(settled(agent, "g"), "every node is ready again")

        def limits() -> set[tuple[int, str]]:
            return {
                (one.statistics.batch_limit, one.statistics.limit_set_by)
                for one in agent.statistics("g").nodes
                if one.statistics is not None and one.name != "last"
            }

        wait_for(lambda: limits() == {(3, "ada")}, "the limit is as it was set")


def test_a_graph_of_other_edges_is_answered_before_it_goes(agent: AgentClient) -> None:
    config = StaticConfig(nodes("a", "b"), (Edge((1,), (2,)),))
    before = deploy(agent, config, lambda _: implementation("Slow"), "1")
    with ThreadPoolExecutor(2) as threads:
        reply = threads.submit(predict, before.url, b"x")
        wait_for(
            lambda: any(
                one.statistics is not None and one.statistics.running
                for one in agent.statistics("g").nodes
            ),
            "the request is in the graph",
        )
        after = deploy(agent, StaticConfig(nodes("a")), named)
        assert reply.result(timeout=10) == b"x"
    assert predict(after.url, b"x") == b"a(x)"
    assert not any(map(psutil.pid_exists, pids_of(before)))


def test_two_configs_at_once_leave_no_mixture(agent: AgentClient) -> None:
    deploy(agent, DIAMOND, named, "1")
    config = changed(DIAMOND, "c3", version="2")
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(
            agent.deploy_node,
            "g", "2", write_static(config), 3, implementation("Hangs"),
            timeout=20,
        )  # fmt: skip
        wait_for(
            lambda: any("is being redeployed" in event.what for event in agent.events("g")),
            "the first deploy has begun",
        )
        other = write_static(changed(DIAMOND, "c1", version="3"))
        with pytest.raises(AgentError, match=r"with another config \(version 2\) right now"):
            agent.deploy_node("g", "3", other, 1, implementation("Named"))
        with pytest.raises(ModelFailed):
            hanging.result(timeout=60)
    after = deploy(agent, changed(DIAMOND, "c1", version="3"), named, "3")
    assert [one.version for one in after.nodes] == ["3", "1", "1", "1", "1"]


@pytest.mark.parametrize("stateful", [False, True])
def test_an_agent_that_is_killed_while_it_redeploys_is_followed_by_one_that_copes(
    home: Path, stateful: bool
) -> None:
    config = StaticConfig(nodes("first", "ledger", stateful="ledger", batch=4), (Edge((1,), (2,)),))
    name = "ledger" if stateful else "first"
    kinds = {"first": implementation("Echo"), "ledger": implementation("Ledger")}
    # At different moments: as the new pair starts, as it takes over, and after.
    for round_number, moment in enumerate((0.05, 0.6, 0.9, 1.2, 2.0)):
        with connect(home) as agent:
            if round_number == 0:
                graph = deploy_mixed(agent, config)
            version = str(round_number + 2)
            newer = changed(config, name, version=version)

            async def scenario(
                agent: AgentClient = agent,
                newer: StaticConfig = newer,
                moment: float = moment,
                version: str = version,
                url: str = graph.url,
            ) -> None:
                async with Load(url, tag=version) as load:
                    await load.more(30)
                    deploying = asyncio.create_task(
                        asyncio.to_thread(deploy, agent, newer, lambda one: kinds[one], version)
                    )
                    await asyncio.sleep(moment)
                    await asyncio.to_thread(kill_agent, agent)
                    await asyncio.gather(deploying, return_exceptions=True)
                    with connect(home) as next_agent:
                        await asyncio.to_thread(
                            deploy, next_agent, newer, lambda one: kinds[one], version
                        )
                    await load.more(60)
                assert load.failures == []
                assert {json.loads(reply)["times"] for reply in load.replies.values()} == {1}

            asyncio.run(scenario())
        with connect(home) as agent:
            wait_for(settled(agent, "g"), "every node is ready")
            assert node(agent.graph("g"), name).version == version
            wait_for(lambda: len(processes_in(home)) == 8, "nothing is left behind", 30)


def test_events_tell_how_a_node_was_replaced(agent: AgentClient) -> None:
    deploy_all(agent, "g", DIAMOND, implementation("Named"))
    wait_for(settled(agent, "g"), "every node is ready")
    deploy(agent, changed(DIAMOND, "c3", version="2"), named)
    said = [event.what for event in agent.events("g")]
    assert "is being redeployed as version 2" in said
    assert "version 2 takes the place of version 1" in said
    assert "is version 2 now" in said
    assert all(one.state is NodeState.READY for one in agent.graph("g").nodes)


@pytest.mark.parametrize("seed", [1, 2])
def test_processes_that_die_while_nodes_are_replaced_cost_no_reply_and_no_state(
    agent: AgentClient, home: Path, seed: int
) -> None:
    chance = random.Random(seed)
    config = StaticConfig(nodes("first", "ledger", stateful="ledger", batch=4), (Edge((1,), (2,)),))
    kinds = {"first": implementation("Echo"), "ledger": implementation("Ledger")}
    before = deploy_mixed(agent, config)

    def redeploy(name: str, version: str) -> GraphStatus:
        newer = changed(config, name, version=version)
        try:
            return deploy(agent, newer, lambda one: kinds[one], version)
        except AgentError:
            # What was killed was part of the new version: the retry finds the old one serving.
            wait_for(settled(agent, "g"), "ready again", 60)
            return deploy(agent, newer, lambda one: kinds[one], version)

    async def scenario() -> None:
        async with Load(before.url) as load:
            for round_number in range(6):
                name = chance.choice(["first", "ledger"])
                task = asyncio.create_task(asyncio.to_thread(redeploy, name, str(round_number + 2)))
                await asyncio.sleep(chance.uniform(0.1, 1.6))
                pair = chance.choice(node(await asyncio.to_thread(agent.graph, "g"), name).pairs)
                if pid := chance.choice([pair.model_pid, pair.proxy_pid]):
                    # It may have been replaced since.
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                after = await task
                assert node(after, name).version == str(round_number + 2)
                await load.more(40)
                await asyncio.to_thread(wait_for, settled(agent, "g"), "ready again", 60)
        assert load.failures == []
        replies = [json.loads(reply) for reply in load.replies.values()]
        assert {reply["times"] for reply in replies} == {1}
        assert sorted(reply["all"] for reply in replies) == list(range(1, len(replies) + 1))

    asyncio.run(scenario())
    wait_for(lambda: len(processes_in(home)) == 8, "nothing is left behind", 30)


def test_another_version_of_a_stateful_node_that_was_given_up_serves(
    agent: AgentClient, home: Path, tmp_path: Path
) -> None:
    config = StaticConfig(nodes("first", "ledger", stateful="ledger", batch=4), (Edge((1,), (2,)),))
    mark = tmp_path / "mark"
    kinds = {
        "first": implementation("Echo"),
        "ledger": implementation("DiesOnMark", MARK=str(mark)),
    }
    before = deploy(agent, config, lambda one: kinds[one], "1")
    mark.touch()
    for pair in node(before, "ledger").pairs:
        os.kill(pair.model_pid, signal.SIGKILL)
    wait_for(lambda: node(agent.graph("g"), "ledger").state is NodeState.DEAD, "given up", 60)
    with ThreadPoolExecutor(1) as threads:
        # It waits in the graph for the node that is to come.
        waiting = threads.submit(predict, before.url, b"x")
        kinds["ledger"] = implementation("Ledger")
        after = deploy(agent, changed(config, "ledger", version="2"), lambda one: kinds[one])
        assert json.loads(waiting.result(timeout=30)) == {"times": 1, "all": 1}
    assert pids_by_node(after)["first"] == pids_by_node(before)["first"]
    wait_for(settled(agent, "g"), "every node is ready, with its backup")
    os.kill(node(agent.graph("g"), "ledger").pairs[0].proxy_pid, signal.SIGKILL)
    assert json.loads(predict(before.url, b"y")) == {"times": 1, "all": 2}
    wait_for(lambda: len(processes_in(home)) == 8, "nothing is left behind", 30)


def test_a_client_that_gives_up_does_not_leave_half_a_replacement(
    agent: AgentClient, home: Path
) -> None:
    before = deploy(agent, DIAMOND, named, "1")
    newer = changed(DIAMOND, "c3", version="2")
    text = write_static(newer)
    for milliseconds in range(300, 1500, 150):
        with contextlib.suppress(AgentError):
            agent.deploy_node(
                "g", "2", text, 3, implementation("Named"), timeout=milliseconds / 1000
            )
        assert predict(before.url, b"x") == b"c5(c3(c2(c1(x)))|c4(c2(c1(x))))"
    after = deploy(agent, newer, named)
    assert node(after, "c3").version == "2"
    wait_for(
        lambda: len(processes_in(home)) == 2 + 2 * len(DIAMOND.nodes), "nothing is left behind", 30
    )
