"""A played graph on an engine of three hosts, one of which can be cut off."""

from __future__ import annotations

import threading
import time
from typing import Any

from tests.www.played import FLOWS, OPERATORS, Played, PlayedNode

HOSTS = ("box-1", "box-2", "gpu-box.example")

HOMES = {1: ["box-1"], 2: ["box-2"], 3: ["box-2", "box-1"], 4: ["box-2"], 5: ["gpu-box.example"]}
"""Of each node: its primary's host, and its backup's."""

SILENT = "its last answer is 6 s old"


class PlayedHosts(Played):
    """The founding example in containers."""

    def __init__(self, dag_id: str = "Hosts") -> None:
        nodes = [PlayedNode(at, *operator) for at, operator in enumerate(OPERATORS, start=1)]
        self.homes = {index: list(homes) for index, homes in HOMES.items()}
        self.dead: dict[str, float] = {}
        self.lost: dict[str, list[str]] = {}
        super().__init__(dag_id, dag_id, nodes, list(FLOWS))

    def cut(self, host: str, heals: bool = True) -> None:
        """A host stops answering: a backup elsewhere takes over, and what has none is started
        elsewhere after some seconds, unless it must not heal."""
        with self.lock:
            self.dead[host] = time.time()
            self.lost[host] = [n.name for n in self.nodes if host in self.homes[n.index]]
            for node in self.nodes:
                homes = self.homes[node.index]
                if homes[0] == host and len(homes) > 1:
                    homes.reverse()
                    self.change(node, "degraded", f"host {host} does not answer: its backup leads")
                elif homes[0] == host:
                    self.change(node, "dead", f"host {host} does not answer")
                elif host in homes:
                    self.change(node, "degraded", f"host {host} of its backup does not answer")
        if heals:
            timer = threading.Timer(4.0, self._elsewhere, (host,))
            timer.daemon = True
            timer.start()
            self._timers.append(timer)

    def _elsewhere(self, host: str) -> None:
        left = next(one for one in reversed(HOSTS) if one not in self.dead)
        with self.lock:
            for node in self.nodes:
                homes = self.homes[node.index]
                if host in homes:
                    homes[homes.index(host)] = left
                    self.change(node, "ready", "", f"started on {left}")

    def mend(self, host: str) -> None:
        """It answers again."""
        with self.lock:
            self.dead.pop(host, None)
            self.lost.pop(host, None)

    def node(self, node: PlayedNode, at: float) -> dict[str, Any]:
        view = super().node(node, at)
        for pair, host in zip(view["pairs"], self.homes[node.index], strict=True):
            dead = host in self.dead
            pair |= {
                "host": host,
                "address": f"10.9.{HOSTS.index(host)}.{node.index}:22223",
                "model_pids": [0],
                "proxy_pid": 0,
                "state": "dead" if dead else "ready",
                "reason": f"host {host} does not answer" if dead else "",
            }
        return view

    def view(self) -> dict[str, Any]:
        hosts = []
        for host in sorted(HOSTS, key=lambda host: (host not in self.dead, host)):
            there = [n.name for n in self.nodes if host in self.homes[n.index]]
            hosts.append(
                {
                    "name": host,
                    "dead": host in self.dead,
                    "reason": SILENT if host in self.dead else "",
                    "since": self.dead.get(host, self.began),
                    "nodes": [
                        n.name for n in self.nodes if n.name in (*there, *self.lost.get(host, ()))
                    ],
                }
            )
        return {
            **super().view(),
            "engine": "docker",
            "hosts": hosts,
            "frontend_host": "box-1",
        }

    def summary(self) -> dict[str, Any]:
        return {
            **super().summary(),
            "engine": "docker",
            "hosts": len(HOSTS),
            "dead_hosts": sorted(self.dead),
        }
