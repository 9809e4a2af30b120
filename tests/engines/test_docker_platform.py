"""The platform of Docker hosts, on two real daemons."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest

import udgl
from earg.images import Implementation
from earg.plan import Plan, read_plan
from earg.platform import GraphFound, PairKey, PairOrder, Part, PlatformError
from earg.protos import prediction_pb2, prediction_pb2_grpc
from earg.usage import ContainerUsage
from hogar_provider.engines.docker_platform import DockerPlatform
from hogar_provider.engines.docker_settings import DockerSettings
from tests.containers.docker_host import GRAPH
from tests.engines.docker_machines import Machine
from udgl.targets.earg import lower

pytestmark = pytest.mark.slow

TOKEN = "0123456789abcdef" * 4
PATIENCE = 40.0
GRAPH_OF_PARTS = GRAPH.replace("replicas 2", "replicas 2\ncpu 0.5\nmemory 256MiB\nenv A=B")


def plan_of(text: str) -> Plan:
    made = lower(udgl.parse(text, "hello.udgl"))
    return read_plan(made.text, made.extras_text)


def order_of(plan: Plan, index: int, number: int = 0, **changes: Any) -> PairOrder:
    order = PairOrder("Hello", "1", plan, index, number, Implementation("", ""), TOKEN)
    return replace(order, **changes)


def settings_of(machines: list[Machine], **changes: Any) -> DockerSettings:
    hosts = tuple(machine.host for machine in machines)
    return DockerSettings("tests", hosts, dead_after=1.0, stop_grace=1, **changes)


@asynccontextmanager
async def opened(settings: DockerSettings) -> Any:
    platform = DockerPlatform(settings)
    try:
        yield platform
    finally:
        await platform.close()


@asynccontextmanager
async def emptied(machines: list[Machine]) -> Any:
    """A platform of which nothing is left afterwards."""
    async with opened(settings_of(machines)) as platform:
        try:
            yield platform
        finally:
            await platform.stop("Hello")


async def eventually(
    ask: Callable[[], Awaitable[Any]], done: Callable[[Any], bool], patience: float = PATIENCE
) -> Any:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while not done(found := await ask()):
        assert loop.time() < deadline, found
        await asyncio.sleep(0.2)
    return found


async def answers(address: str) -> bool:
    """Whether a proxy answers who shows the token."""
    async with grpc.aio.insecure_channel(f"{address}:22223") as channel:
        try:
            await prediction_pb2_grpc.ProxyServerStub(channel).ping(
                prediction_pb2.ping_req(),
                timeout=2,
                metadata=(("authorization", f"Bearer {TOKEN}"),),
            )
        except grpc.aio.AioRpcError:
            return False
    return True


def inspected(machine: Machine, of: str) -> Mapping[str, Any]:
    (found,) = json.loads(machine.docker.run("docker", "inspect", of))
    return dict(found)


def on(machines: list[Machine], name: str) -> Machine:
    return next(machine for machine in machines if machine.name == name)


def names(machine: Machine) -> list[str]:
    return machine.docker.run("docker", "ps", "-a", "--format", "{{.Names}}").split()


def test_pairs_run_as_they_were_ordered_and_are_found_again(
    machines: list[Machine], tmp_path: Path
) -> None:
    (tmp_path / "model").write_text("7")

    async def scenario() -> None:
        plan = plan_of(GRAPH_OF_PARTS)
        async with emptied(machines) as platform:
            greet, primary, backup, frontend = await asyncio.gather(
                platform.start_pair(order_of(plan, 1)),
                platform.start_pair(order_of(plan, 2, 0)),
                platform.start_pair(order_of(plan, 2, 1)),
                platform.start_frontend("Hello", "1", plan, TOKEN),
            )
            assert {primary.host, backup.host} == {"one", "two"}
            assert len(greet.place.models) == 2
            assert all(not one.failure for one in (greet, primary, backup, frontend))

            # From here all of them are reached, and they know the token.
            for found in (greet, primary, backup):
                await eventually(lambda found=found: answers(found.place.proxy), bool)
            url = f"{frontend.url}/v2/health/live"
            await eventually(lambda: asyncio.to_thread(reachable, url), bool)
            machine = on(machines, frontend.host)
            said = inspected(machine, next(n for n in names(machine) if n.endswith("frontend")))
            machine.docker.run(
                "docker", "exec", said["Id"], *said["Config"]["Healthcheck"]["Test"][1:]
            )

            check_what_is_told(on(machines, greet.host))
            await check_what_is_used(platform, on(machines, primary.host))

            # Who comes after this one finds it all, and leaves what runs.
            async with opened(settings_of(machines)) as other:
                graph = (await other.look())["Hello"]
                assert graph.version == "1"
                assert graph.pairs == {(1, 0): greet, (2, 0): primary, (2, 1): backup}
                assert graph.frontend == frontend
                before = ids(machines)
                assert await other.start_pair(order_of(plan, 1)) == greet
                assert await other.start_frontend("Hello", "1", plan, TOKEN) == frontend
                assert ids(machines) == before

                # A restart keeps the address.
                machine = on(machines, primary.host)
                proxy = next(n for n in names(machine) if n.endswith("2-count-0-proxy"))
                machine.docker.run("docker", "restart", "-t", "1", proxy)
                assert (
                    inspected(machine, proxy)["NetworkSettings"]["Networks"].popitem()[1][
                        "IPAddress"
                    ]
                    == primary.place.proxy
                )
                await eventually(lambda: answers(primary.place.proxy), bool)

                # Another order takes its place.
                trained = (("HOGAR_ARTIFACT", str(tmp_path)),)
                runs = Implementation("models:Count", "", trained)
                changed = order_of(plan, 1, implementation=runs)
                fresh = await other.start_pair(changed)
                assert fresh.digest == changed.digest != greet.digest
                assert fresh.place.proxy != greet.place.proxy
                machine = on(machines, fresh.host)
                model = next(n for n in names(machine) if n.endswith("1-greet-0-model"))
                assert "EARG_ENTRYPOINT=models:Count" in inspected(machine, model)["Config"]["Env"]
                # What training has handed over is copied, and is its process's to read.
                machine.docker.run(
                    *("docker", "exec", model, "python", "-c"),
                    "import os; assert open(os.environ['HOGAR_ARTIFACT'] + '/model').read() == '7'",
                )
                log = await eventually(
                    lambda: other.tail("Hello", 0, 0, Part.PROXY, 5), lambda text: True
                )
                assert isinstance(log, str)

                await other.stop_pair("Hello", 1, 0)
                assert (1, 0) not in (await other.look())["Hello"].pairs

    asyncio.run(scenario())
    for machine in machines:
        assert names(machine) == []
        networks = machine.docker.run("docker", "network", "ls", "--format", "{{.Name}}").split()
        assert sorted(networks) == ["bridge", "host", "none"]
        assert machine.docker.run("docker", "volume", "ls", "-q") == ""


def reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def ids(machines: list[Machine]) -> list[str]:
    return [machine.docker.run("docker", "ps", "-aq", "--no-trunc") for machine in machines]


def check_what_is_told(machine: Machine) -> None:
    """Of the pair of Greet: what confines it, what it is given, and who may read the token."""
    model, second, proxy = (
        inspected(machine, next(n for n in names(machine) if n.endswith(f"1-greet-0-{part}")))
        for part in ("model", "model-2", "proxy")
    )
    for one in (model, second, proxy):
        told = one["HostConfig"]
        assert told["CapDrop"] == ["ALL"]
        assert told["SecurityOpt"] == ["no-new-privileges:true"]
        assert told["RestartPolicy"]["Name"] == "unless-stopped"
        assert one["Config"]["User"] == "10001:10001"
        assert TOKEN not in json.dumps(one)
        owner = machine.docker.run(
            *("docker", "exec", one["Id"], "python", "-c"),
            "import os; s = os.stat('/run/secrets/token'); print(s.st_uid, oct(s.st_mode))",
        )
        assert owner.split() == ["10001", "0o100600"]
    for one in (model, second):
        assert (one["HostConfig"]["NanoCpus"], one["HostConfig"]["Memory"]) == (
            500_000_000,
            256 * 2**20,
        )
        assert "A=B" in one["Config"]["Env"]
    assert proxy["HostConfig"]["ReadonlyRootfs"]
    assert proxy["Config"]["Labels"]["hogar/graph"] == "Hello"
    assert proxy["Config"]["Labels"]["app.kubernetes.io/managed-by"] == "hogar"


LOAD = """
import sys, time
held = b"x" * (64 << 20)
while time.process_time() < 1.0:
    pass
print("done", time.process_time(), flush=True)
sys.stdin.read()
"""
"""Computes for one second, however long that takes, and holds 64 MiB until its input ends."""


async def check_what_is_used(platform: DockerPlatform, machine: Machine) -> None:
    """Of a model whose container computes, and takes memory: as much as that."""
    readings: dict[str, list[ContainerUsage]] = {}

    async def read() -> Mapping[PairKey, tuple[ContainerUsage, ...]]:
        said: Mapping[PairKey, tuple[ContainerUsage, ...]] = await platform.usage()
        for one in (one for used in said.values() for one in used):
            own = readings.setdefault(one.id, [])
            if not own or own[-1].at < one.at:
                own.append(one)
        return said

    async def read_all() -> Mapping[PairKey, tuple[ContainerUsage, ...]]:
        """What all seven use after now: this daemon tells it once a second."""
        before = {key: len(own) for key, own in readings.items()}

        def is_new(said: object) -> bool:
            # The next one may have begun before now.
            return len(readings) == 7 and all(
                len(own) >= before.get(key, -1) + 2 for key, own in readings.items()
            )

        found: Mapping[PairKey, tuple[ContainerUsage, ...]] = await eventually(read, is_new)
        return found

    await platform.look()
    first = await read_all()
    assert set(first) == {("Hello", 1, 0), ("Hello", 2, 0), ("Hello", 2, 1)}
    for key, used in first.items():
        kinds = sorted(one.kind for one in used)
        assert kinds == (["model"] * (2 if key[1] == 1 else 1)) + ["proxy"]
        assert all(0 < one.cpu_seconds < 4 * one.age for one in used)
        assert all(4 * 2**20 < one.memory < 256 * 2**20 for one in used)
    # Nothing before to compare with.
    assert all(own[0].cores is None for own in readings.values())

    model = next(name for name in names(machine) if name.endswith("2-count-0-model"))
    ours = inspected(machine, model)["Id"][:12]
    (before,) = (one for one in first["Hello", 2, 0] if one.id == ours)
    load = await asyncio.create_subprocess_exec(
        *("docker", "exec", "-i", model, "python", "-c", LOAD),
        env=machine.docker.environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert load.stdout is not None
    assert (await asyncio.wait_for(load.stdout.readline(), PATIENCE)).startswith(b"done ")
    second = await read_all()
    assert load.stdin is not None
    load.stdin.close()
    await asyncio.wait_for(load.wait(), PATIENCE)
    (after,) = (one for one in second["Hello", 2, 0] if one.id == ours)
    computed = after.cpu_seconds - before.cpu_seconds
    # Beside it the model does next to nothing; what the process was before it came into the
    # container's group is not counted there.
    assert 0.9 < computed < 2.0
    own = [one for one in readings[ours] if one.at >= before.at]
    told = [one.cores * (one.at - last.at) for last, one in pairwise(own) if one.cores is not None]
    assert sum(told) == pytest.approx(computed)
    assert len(told) == len(own) - 1
    assert after.age - before.age == pytest.approx(after.at - before.at)
    assert 60 * 2**20 < after.memory - before.memory < 110 * 2**20
    others = [
        (one, then)
        for key, used in second.items()
        for one in used
        for then in first[key]
        if one.id == then.id != ours
    ]
    assert len(others) == 6
    assert all(one.cpu_seconds - then.cpu_seconds < computed for one, then in others)


def make_eater(machine: Machine) -> None:
    """An image whose process takes all the memory that there is."""
    text = 'FROM hogar/node:1\nCMD ["python", "-c", "x = b\'x\' * 2**30"]\n'
    folder = machine.folder / "eater"
    folder.mkdir()
    (folder / "Dockerfile").write_text(text)
    machine.docker.run("docker", "build", "-q", "-t", "test/eater:1", ".", cwd=folder)


def test_what_cannot_be_started_is_told_and_leaves_nothing(machines: list[Machine]) -> None:
    async def scenario() -> None:
        async with emptied(machines) as platform:
            nowhere = plan_of(GRAPH.replace("test/greet:1", "127.0.0.1:1/greet:1"))
            with pytest.raises(
                PlatformError,
                match=r"host \w+ cannot pull image 127.0.0.1:1/greet:1: .*connection refused",
            ):
                await platform.start_pair(order_of(nowhere, 1))
            placed = plan_of(GRAPH.replace("replicas 2", "host attic"))
            with pytest.raises(
                PlatformError, match="no host fits Greet of graph Hello: one is not labelled attic"
            ):
                await platform.start_pair(order_of(placed, 1))
            greedy = plan_of(GRAPH.replace("replicas 2", "gpu 1"))
            with pytest.raises(
                PlatformError, match="one has 0 of its 0 GPUs free, and 1 are asked"
            ):
                await platform.start_pair(order_of(greedy, 1))
            untrained = Implementation("", "", (("HOGAR_ARTIFACT", "/nowhere"),))
            with pytest.raises(PlatformError, match=r"^there is no trained model in /nowhere"):
                await platform.start_pair(order_of(plan_of(GRAPH), 1, implementation=untrained))
            with pytest.raises(PlatformError, match="no token"):
                await platform.start_pair(order_of(nowhere, 1, token=""))
            here = plan_of(GRAPH.replace("replicas 2", "host zone=two"))
            assert (await platform.start_pair(order_of(here, 1))).host == "two"
            # It answers "not found" when it is started, not before.
            wrong = plan_of(GRAPH.replace("replicas 2", "env PATH=/nowhere"))
            with pytest.raises(PlatformError, match="executable file not found"):
                await platform.start_pair(order_of(wrong, 1))
            assert (await platform.look()).get("Hello") is None
            # What ends is told with how it ended.
            make_eater(machines[1])
            eater = plan_of(
                GRAPH.replace("test/greet:1", "test/eater:1").replace(
                    "replicas 2", "host zone=two\nmemory 32MiB"
                )
            )
            await platform.start_pair(order_of(eater, 1))
            graphs = await eventually(
                platform.look, lambda graphs: "OOM" in graphs["Hello"].pairs[1, 0].failure
            )
            failure = graphs["Hello"].pairs[1, 0].failure
            assert failure.startswith("model container hogar-")
            assert "(137)" in failure
            await platform.stop("Hello")
        async with opened(settings_of(machines, pull="never")) as platform:
            with pytest.raises(PlatformError, match=r"there is no image 127\.0\.0\.1:1/greet:1"):
                await platform.start_pair(order_of(nowhere, 1))

        # What a registry has under the name of what people build themselves is a stranger's.
        there = machines[1]
        there.docker.run("docker", "tag", "hogar/node:1", "kept")
        there.docker.run("docker", "rmi", "hogar/node:1")
        try:
            async with opened(settings_of(machines)) as platform:
                with pytest.raises(
                    PlatformError, match=r"no image hogar/node:1, .*: build it there"
                ):
                    await platform.start_pair(order_of(here, 1))
        finally:
            there.docker.run("docker", "tag", "kept", "hogar/node:1")
            there.docker.run("docker", "rmi", "kept")

        # A network that people have made, of which each host has a part.
        async with opened(settings_of(machines, network="shared")) as platform:
            with pytest.raises(PlatformError, match="there is no network shared"):
                await platform.start_pair(order_of(here, 1))
            there.docker.run(
                *("docker", "network", "create", "--subnet", there.subnet),
                *("--gateway", there.subnet.replace(".0/24", ".2"), "shared"),
            )
            try:
                found = await platform.start_pair(order_of(here, 1))
                assert found.place.proxy == there.subnet.replace(".0/24", ".3")
                await platform.stop("Hello")
            finally:
                there.docker.run("docker", "network", "rm", "shared")

    asyncio.run(scenario())
    assert [names(machine) for machine in machines] == [[], []]


def test_what_was_on_a_dead_host_starts_elsewhere_and_is_cleared_when_it_is_back(
    machines: list[Machine],
) -> None:
    async def scenario() -> None:
        plan = plan_of(GRAPH)
        theirs = machines[0].docker.run(
            *("docker", "run", "-d", "--restart", "always", "--network", "none"),
            *("hogar/node:1", "sh", "-c", "read end < /dev/zero"),
        )
        async with emptied(machines) as platform:
            order = order_of(plan_of(GRAPH.replace("replicas 2", "host zone=one")), 1)
            assert (await platform.start_pair(order)).host == "one"
            await platform.start_pair(order_of(plan, 2, 0), avoid=["two"])
            await platform.start_pair(order_of(plan, 2, 1))
            assert [host.dead for host in await platform.hosts()] == [False, False]
            machines[0].kill()

            # For a moment it is taken for silent: nobody must start a second one.
            await platform.hosts()
            assert set((await platform.look())["Hello"].pairs) == {(1, 0), (2, 0), (2, 1)}
            with pytest.raises(PlatformError, match="taken for dead after"):
                await platform.start_pair(order_of(plan, 1))
            one, two = await eventually(platform.hosts, lambda hosts: hosts[0].dead)
            assert "does not answer" in one.reason
            assert one.since > 0
            assert not two.dead
            assert set((await platform.look())["Hello"].pairs) == {(2, 1)}

            # What may be elsewhere starts there; what must be on the dead host cannot.
            with pytest.raises(PlatformError, match="two is not labelled zone=one"):
                await platform.start_pair(order)
            moved = await platform.start_pair(order_of(plan, 1))
            assert moved.host == "two"
            await platform.stop_pair("Hello", 2, 0)

            await asyncio.to_thread(machines[0].start)
            await eventually(platform.hosts, lambda hosts: not hosts[0].dead)

            async def left() -> tuple[Mapping[str, GraphFound], list[str]]:
                found = await platform.look()
                return found, await asyncio.to_thread(names, machines[0])

            found, there = await eventually(left, lambda both: len(both[1]) == 1)
            assert found["Hello"].pairs[1, 0] == moved
            assert set(found["Hello"].pairs) == {(1, 0), (2, 1)}
            # That of other people came back, and is left.
            assert inspected(machines[0], there[0])["Id"] == theirs.strip()

            # How a container ended is told in words.
            machine, proxy = (
                machines[1],
                next(n for n in names(machines[1]) if "2-count-1-proxy" in n),
            )
            machine.docker.run("docker", "kill", proxy)
            found = await eventually(
                platform.look, lambda graphs: graphs["Hello"].pairs[2, 1].failure
            )
            assert "Exited (137)" in found["Hello"].pairs[2, 1].failure

    try:
        asyncio.run(scenario())
    finally:
        if machines[0].daemon is None:
            machines[0].start()
        for name in names(machines[0]):
            machines[0].docker.run("docker", "rm", "-f", name)


def test_a_start_that_is_given_up_leaves_nothing(machines: list[Machine]) -> None:
    async def scenario() -> None:
        plan = plan_of(GRAPH)
        async with emptied(machines) as platform:
            for seconds in (0.0, 0.1, 0.3, 0.6):
                starting = asyncio.ensure_future(platform.start_pair(order_of(plan, 1)))
                await asyncio.sleep(seconds)
                starting.cancel()
                done = await asyncio.gather(starting, return_exceptions=True)
                there = [name for machine in machines for name in names(machine)]
                # It was done before, or is gone.
                assert len(there) == (0 if isinstance(done[0], asyncio.CancelledError) else 3)
                await platform.stop("Hello")

    asyncio.run(scenario())
