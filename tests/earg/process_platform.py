"""A small platform of the tests: hosts that are groups of processes on loopback addresses.

It is all in a folder, so an agent that is killed leaves it as a daemon of containers does.
``python -m tests.earg.process_platform FOLDER HOME`` runs an agent over it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earg.addresses import AddressPool, Ports
from earg.home import Home
from earg.ledger import started_at
from earg.plan import Plan
from earg.platform import (
    FrontendFound,
    GraphFound,
    PairFound,
    PairKey,
    PairOrder,
    Part,
    PlatformError,
)
from earg.status import HostStatus
from earg.usage import ContainerUsage
from earg.wiring_places import PairPlace
from tests.earg.process_host import INTERVAL

ADDRESSES = 12
"""Of each host."""

STOP_PATIENCE = 10.0


@dataclass(frozen=True)
class Host:
    """One host: its name, its folder and its addresses."""

    name: str
    folder: Path
    addresses: tuple[str, ...]

    @property
    def is_alive(self) -> bool:
        """Whether its daemon runs, and answers."""
        try:
            pid = int((self.folder / "alive").read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return False
        return state not in "TZX"

    @property
    def room(self) -> float:
        """How many more pairs fit, where a test says so."""
        with contextlib.suppress(OSError):
            return int((self.folder / "room").read_text())
        return float("inf")

    def take_room(self) -> None:
        """One more pair is put there."""
        if self.room < float("inf"):
            (self.folder / "room").write_text(str(self.room - 1))

    def orders(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What runs on it, or is to, by its name."""
        for path in sorted(self.folder.glob("*.json")):
            with contextlib.suppress(OSError, ValueError):
                yield path.stem, json.loads(path.read_text())

    def failure(self, name: str) -> str:
        """Why a process does not run; empty where it does, or is about to."""
        with contextlib.suppress(OSError, ValueError):
            pid, code = map(int, (self.folder / f"{name}.pid").read_text().split())
            if pid == 0:
                return f"{name.rpartition('.')[2]} exited with code {code}"
        return ""


def make_hosts(folder: Path, pool: AddressPool, *names: str) -> None:
    """Write down what the hosts are."""
    text = {
        "ports": [pool.ports.model, pool.ports.proxy, pool.ports.metrics],
        "hosts": {name: [pool.take() for _ in range(ADDRESSES)] for name in names},
    }
    folder.mkdir()
    (folder / "platform.json").write_text(json.dumps(text))
    for name in names:
        (folder / name).mkdir()


class Hosts:
    """The daemons of the hosts, for a test that starts and kills them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start a host; what ran there when it was killed is started anew."""
        command = [sys.executable, "-m", "tests.earg.process_host", str(self.folder / name)]
        self._daemons[name] = subprocess.Popen(command, start_new_session=True)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to everything on a host."""
        os.killpg(self._daemons[name].pid, number)

    def kill(self, name: str) -> None:
        """Kill a host with all that runs on it."""
        daemon = self._daemons.pop(name)
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()

    def fill(self, name: str, left: int = 0) -> None:
        """Let no more pairs fit on a host than these."""
        (self.folder / name / "room").write_text(str(left))

    def make_room(self, name: str) -> None:
        """Let all pairs fit on a host again."""
        (self.folder / name / "room").unlink()

    @property
    def refusals(self) -> int:
        """How often no host has fitted."""
        path = self.folder / "refused"
        return path.stat().st_size if path.exists() else 0

    def close(self) -> None:
        """Kill all."""
        for name in list(self._daemons):
            self.kill(name)


class ProcessPlatform:
    """An :class:`earg.platform.Platform`."""

    def __init__(self, folder: Path) -> None:
        text = json.loads((folder / "platform.json").read_text())
        self._folder = folder
        self.ports = Ports(*text["ports"])
        self._hosts = [
            Host(name, folder / name, tuple(addresses)) for name, addresses in text["hosts"].items()
        ]
        self._since: dict[str, tuple[bool, float]] = {}

    async def hosts(self) -> tuple[HostStatus, ...]:
        found = []
        for host in self._hosts:
            dead = not host.is_alive
            if self._since.get(host.name, (None, 0.0))[0] != dead:
                self._since[host.name] = (dead, time.time())
            reason = f"the daemon of {host.name} does not answer" if dead else ""
            found.append(HostStatus(host.name, dead, reason, self._since[host.name][1]))
        return tuple(found)

    def _alive(self) -> list[Host]:
        return [host for host in self._hosts if host.is_alive]

    async def look(self) -> Mapping[str, GraphFound]:
        newest: dict[tuple[str, int, int], tuple[float, Host, dict[str, Any], str]] = {}
        strays = []
        for host in self._alive():
            for name, order in host.orders():
                key = (order["graph"], order["index"], order["number"])
                one = (order["at"], host, order, host.failure(name))
                other = newest.get(key)
                if other is None:
                    newest[key] = one
                elif other[1] is host:
                    newest[key] = (*one[:3], other[3] or one[3])
                else:
                    newest[key], older = (one, other) if one[0] > other[0] else (other, one)
                    strays.append((key, older[1].name))
        for key, where in strays:
            await self._stop(key, where)
        graphs: dict[str, GraphFound] = {}
        for graph in {key[0] for key in newest}:
            pairs = {
                (index, number): self._pair(*one[1:])
                for (name, index, number), one in newest.items()
                if name == graph and index
            }
            front = newest.get((graph, 0, 0))
            graphs[graph] = GraphFound(
                "" if front is None else front[2]["version"],
                pairs,
                None if front is None else self._frontend(*front[1:]),
            )
        return graphs

    def _pair(self, host: Host, order: dict[str, Any], failure: str) -> PairFound:
        ip = order["ip"]
        return PairFound(PairPlace(ip, (ip,)), host.name, order["digest"], failure)

    def _frontend(self, host: Host, order: dict[str, Any], failure: str) -> FrontendFound:
        url = f"http://{order['ip']}:{self.ports.metrics}"
        return FrontendFound(order["ip"], url, host.name, failure)

    def _find(self, graph: str, index: int, number: int) -> list[tuple[Host, str, dict[str, Any]]]:
        return [
            (host, name, order)
            for host in self._alive()
            for name, order in host.orders()
            if (order["graph"], order["index"], order["number"]) == (graph, index, number)
        ]

    async def usage(self) -> Mapping[PairKey, tuple[ContainerUsage, ...]]:
        return {}

    async def start_pair(self, order: PairOrder, avoid: Collection[str] = ()) -> PairFound:
        key = (order.graph, order.index, order.number)
        found = self._find(*key)
        if found and found[0][2]["digest"] == order.digest and found[0][0].name not in avoid:
            host, _, present = found[0]
            return self._pair(host, present, "")
        host = found[0][0] if found and found[0][0].name not in avoid else self._choose(avoid)
        await self._stop(key)
        host.take_room()
        ip = self._free_address(host)
        both = {
            "LISTEN_IP": ip,
            "MODEL_PORT": str(self.ports.model),
            "PROXY_PORT": str(self.ports.proxy),
            "PROXY_NAME": ip,
        }
        stateful = str(order.spec.stateful).lower()
        model = {
            **dict(order.plan.implementation(order.index, order.implementation).environment),
            "EARG_ENTRYPOINT": order.implementation.entrypoint,
            "EARG_FOLDER": order.implementation.folder,
        }
        proxy = {"METRICS_PORT": str(self.ports.metrics), "FENCED": stateful}
        about = {"digest": order.digest, "ip": ip, "version": order.version}
        self._write(host, key, about, "model", "earg.model", both | model)
        self._write(host, key, about, "proxy", "earg.proxy", both | proxy)
        return PairFound(PairPlace(ip, (ip,)), host.name, order.digest)

    async def start_frontend(
        self, graph: str, version: str, plan: Plan, token: str = "", avoid: Collection[str] = ()
    ) -> FrontendFound:
        found = self._find(graph, 0, 0)
        if found and found[0][0].name not in avoid:
            return self._frontend(found[0][0], found[0][2], "")
        # On the first one, so that a test knows which host is without it.
        first = next((one for one in self._alive() if one.name not in avoid), None)
        host = first or self._choose(avoid)
        ip = self._free_address(host)
        variables = {
            "LISTEN_IP": ip,
            "PROXY_PORT": str(self.ports.proxy),
            "HTTP_PORT": str(self.ports.metrics),
            "ENTRY_PROXY_NAME": ip,
            "GRAPH_NAME": graph,
            "GRAPH_VERSION": version,
        }
        about = {"digest": "", "ip": ip, "version": version}
        self._write(host, (graph, 0, 0), about, "frontend", "earg.frontend", variables)
        return self._frontend(host, about, "")

    def _choose(self, avoid: Collection[str]) -> Host:
        alive = self._alive()
        if not alive:
            raise PlatformError("no host answers")
        alive = [host for host in alive if host.room > 0]
        if not alive:
            with (self._folder / "refused").open("a") as file:
                file.write("x")
            # Another sentence each time, as of hosts that tell how much they have free.
            raise PlatformError(f"no host fits at {time.time()}")
        free = [host for host in alive if host.name not in avoid] or alive
        return min(free, key=lambda host: len(list(host.orders())))

    @staticmethod
    def _free_address(host: Host) -> str:
        used = {order["ip"] for _, order in host.orders()}
        # Not one that a process held a moment ago.
        free = [ip for ip in host.addresses if ip not in used]
        if not free:
            raise PlatformError(f"{host.name} has no address left")
        (host.folder / "count").open("a").write("x")
        return free[(host.folder / "count").stat().st_size % len(free)]

    @staticmethod
    def _write(
        host: Host,
        key: tuple[str, int, int],
        about: dict[str, Any],
        kind: str,
        module: str,
        environment: dict[str, str],
    ) -> None:
        graph, index, number = key
        text = about | {
            "graph": graph,
            "index": index,
            "number": number,
            "at": time.time(),
            "command": [sys.executable, "-m", module],
            "environment": environment,
        }
        path = host.folder / f"{graph}.{index}.{number}.{kind}.json"
        path.with_suffix(".new").write_text(json.dumps(text))
        path.with_suffix(".new").rename(path)

    async def _stop(self, key: tuple[str, int, int], on: str = "") -> None:
        stopping = [(host, name) for host, name, _ in self._find(*key) if on in ("", host.name)]
        for host, name in stopping:
            (host.folder / f"{name}.json").unlink(missing_ok=True)
        deadline = time.monotonic() + STOP_PATIENCE
        for host, name in stopping:
            # The daemon may be about to start it.
            await asyncio.sleep(2 * INTERVAL)
            while host.is_alive and (host.folder / f"{name}.pid").exists():
                if time.monotonic() > deadline:
                    raise PlatformError(f"{name} does not stop")
                await asyncio.sleep(INTERVAL)

    async def stop_pair(self, graph: str, index: int, number: int) -> None:
        await self._stop((graph, index, number))

    async def stop(self, graph: str) -> None:
        keys = {
            (order["graph"], order["index"], order["number"])
            for host in self._alive()
            for _, order in host.orders()
            if order["graph"] == graph
        }
        await asyncio.gather(*(self._stop(key) for key in keys))

    async def tail(self, graph: str, index: int, number: int, part: Part, lines: int) -> str:
        kind = part.value if index else "frontend"
        for host, name, _ in self._find(graph, index, number):
            if name.endswith(kind):
                with contextlib.suppress(OSError):
                    text = (host.folder / f"{name}.log").read_text(errors="replace")
                    return "\n".join(text.splitlines()[-lines:])
        return ""

    async def close(self) -> None:
        pass


def pids_on(folder: Path, host: str) -> dict[str, int]:
    """The processes of a host by their names, without those that do not run."""
    found = {}
    for path in (folder / host).glob("*.pid"):
        words = path.read_text().split()
        # Empty: it is being written.
        pid = int(words[0]) if words else 0
        if pid and started_at(pid) is not None:
            found[path.stem] = pid
    return found


def main(folder: Path, home: Path) -> None:
    """Run an agent over the platform in ``folder``."""
    from earg.agent import run
    from earg.wired_deployment import WiredEngine

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    place = Home(home)
    place.prepare()
    platform = ProcessPlatform(folder)
    asyncio.run(run(place, WiredEngine("tests", platform, ports=platform.ports), None))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
