"""Graphs that play a part: views of the live view's API whose figures move and whose nodes die."""

from __future__ import annotations

import math
import random
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

OPERATORS = (
    ("Trancriber", "2", "sent/trancriber:v2", False, 32),
    ("Tokenizer", "1", "sent/tokenizer:v1", False, 32),
    ("Senti-Analyzer", "3", "sent/sentiment:v3", True, 1),
    ("Sub-Analyzer", "3", "sent/subject:v3", False, -32),
    ("Conclusion", "1", "sent/conclude:v1", False, 32),
)
FLOWS = (
    (1, 2, "distribute"),
    (2, 3, "distribute"),
    (2, 4, "distribute"),
    (3, 5, "reduce"),
    (4, 5, "reduce"),
)

UDGL = """\
# Is a caller happy, and about what?
meta
name SentiAnalyzer
version 3

operator Trancriber
version 2 , image sent/trancriber:v2
batch 32 , stateful No
operator Tokenizer
version 1 , image sent/tokenizer:v1
batch 32 , stateful No
operator Senti-Analyzer
version 3 , image sent/sentiment:v3
batch 1 , stateful Yes
operator Sub-Analyzer
version 3 , image sent/subject:v3
batch 32 , stateful No
operator Conclusion
version 1 , image sent/conclude:v1
batch 32 , stateful No

logical flow
distribute
Trancriber → Tokenizer
Tokenizer → Senti-Analyzer , Sub-Analyzer
reduce
Senti-Analyzer , Sub-Analyzer → Conclusion
"""

EARG = """\
5
2
Trancriber,2,sent/trancriber:v2,false,32
Tokenizer,1,sent/tokenizer:v1,false,32
Senti-Analyzer,3,sent/sentiment:v3,true,1
Sub-Analyzer,3,sent/subject:v3,false,-32
Conclusion,1,sent/conclude:v1,false,32
dist[1->2;2->3,4]
reduce[3,4->5]
"""


@dataclass
class PlayedNode:
    """One node: what was declared, what is set, and what state it is in since when."""

    index: int
    name: str
    version: str
    image: str
    stateful: bool
    declared: int
    state: str = "ready"
    reason: str = ""
    since: float = 0.0
    limit: int = 0
    dynamic: bool = False
    wait_ms: float = 0.0
    objective_ms: float = 0.0
    set_by: str = ""
    exits: int = 0
    drift: list[str] = field(default_factory=list)
    backup: str = "ready"

    def __post_init__(self) -> None:
        self.reset()
        self.set_by = ""

    def reset(self) -> None:
        self.limit, self.dynamic = max(1, abs(self.declared)), self.declared < 0
        self.wait_ms = self.objective_ms = 0.0


class Played:
    """One graph. Every call is safe from any thread; ``load`` is requests a second that enter."""

    def __init__(
        self,
        dag_id: str,
        name: str,
        nodes: list[PlayedNode],
        flows: list[tuple[int, int, str]],
        load: float = 42.0,
        deployed: bool = True,
    ) -> None:
        self.dag_id, self.name, self.nodes, self.flows = dag_id, name, nodes, flows
        self.load, self.deployed, self.draining = load, deployed, False
        self.warnings: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.changes: list[dict[str, Any]] = []
        self.began = time.time()
        self.lock = threading.RLock()
        self._timers: list[threading.Timer] = []
        for node in nodes:
            node.since = self.began - 3 * 3600
            if deployed:
                self._tell(
                    node, "wired, and its model answers", "starting", "ready", 3 * 3600 - node.index
                )
            else:
                node.state = "undeployed"

    def _tell(self, node: PlayedNode, what: str, before: str, after: str, ago: float = 0.0) -> None:
        number = len(self.events) + 1
        self.events.append(
            {
                "number": number,
                "at": time.time() - ago,
                "node": node.name,
                "what": what,
                "before": before,
                "after": after,
            }
        )

    def change(self, node: PlayedNode, state: str, reason: str, what: str = "") -> None:
        with self.lock:
            before, node.state, node.reason, node.since = node.state, state, reason, time.time()
            self._tell(node, what or reason, before, state)

    def kill(self, index: int, how: str = "recover", slowly: float = 1.0) -> None:
        """A model dies: ``recover`` plays what follows, ``dead`` that it is given up, ``blink``
        that it is over before anybody looks."""
        node = self.nodes[index - 1]
        node.exits += 1
        why = f"its model (process {4000 + index}) was killed by signal 9"
        if how == "blink":
            with self.lock:
                self._tell(node, why, "ready", "recovering", 0.034)
                self._tell(node, "its backup took over in 34 ms", "", "")
                self._tell(node, "serves again", "recovering", "ready")
            return
        if how == "dead":
            self.change(node, "dead", f"{why}; given up after 5 starts that failed", "given up")
            return
        if how == "hold":
            self.change(node, "recovering", f"{why}; a replacement starts")
            return
        self.change(node, "dead", why)
        steps: list[tuple[float, str, str]] = [(2.0, "recovering", "a replacement starts")]
        if node.stateful:
            steps = [
                (1.5, "recovering", "its backup was promoted; a new backup starts"),
                (4.0, "degraded", "no backup that holds its state yet"),
            ]
        steps.append((7.0, "ready", ""))
        for after, state, reason in steps:
            timer = threading.Timer(
                after * slowly, self.change, (node, state, reason, reason or "serves again")
            )
            timer.daemon = True
            timer.start()
            self._timers.append(timer)

    def heal(self) -> None:
        with self.lock:
            for node in self.nodes:
                if node.state != "ready":
                    self.change(node, "ready", "", "serves again")

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()

    # ---- what the API answers

    def _figures(self, node: PlayedNode, at: float) -> dict[str, float]:
        wave = math.sin(at / 9 + node.index) + 0.4 * math.sin(at / 2.3 + 2 * node.index)
        noise = random.Random(int(at) * 131 + node.index).uniform(-1, 1)
        load = max(0.0, self.load * (1 + 0.12 * wave + 0.05 * noise))
        slow = 6 + 5 * (node.index % 4) + (18 if node.index == 1 else 0)
        mean = min(
            node.limit, max(1.0, load * slow / 1000 * (1.6 + 0.5 * wave) + node.wait_ms / 20)
        )
        queue = slow * (0.35 + 0.12 * wave) * max(1.0, 6 / node.limit) + node.wait_ms / 2
        compute = slow * (0.8 + mean / 24)
        p50 = queue * 0.55 + compute * 0.8
        return {
            "load": load,
            "mean": mean,
            "queue": queue,
            "compute": compute,
            "p50": p50,
            "wave": wave,
            "noise": noise,
        }

    def _trouble(self, node: PlayedNode, at: float) -> dict[str, Any] | None:
        """As the API makes it of the events."""
        from earg.status import Event
        from hogar_provider.plugins.api.troubles import troubles

        events = (
            Event(e["at"], self.name, e["node"], e["what"], e["before"], e["after"], e["number"])
            for e in self.events
            if e["node"] == node.name
        )
        found = troubles(events, at).get(node.name)
        return None if found is None else found.model_dump()

    def node(self, node: PlayedNode, at: float) -> dict[str, Any]:
        f = self._figures(node, at)
        serves = self.deployed and node.state not in ("dead", "undeployed", "starting")
        slack = node.state == "recovering"
        role = "primary"
        pairs: list[dict[str, Any]] = []
        if self.deployed:
            pairs.append(
                self._pair(node, role, node.state, "10.0.0.4" if node.index % 2 else "10.0.0.5")
            )
            if node.stateful:
                pairs.append(
                    self._pair(
                        node,
                        "backup",
                        "starting" if slack else node.backup,
                        "10.0.0.5" if node.index % 2 else "10.0.0.4",
                    )
                )
        fill = round(f["mean"] / node.limit, 3)
        hint = ""
        if node.limit > 8 and fill < 0.3:
            mean = f"{f['mean']:.0f}"
            hint = f"fills {mean} of {node.limit}: limit is not what holds this node back"
        elif fill > 0.9 and node.limit > 1:
            hint = "Its batches are full: a higher limit may carry more requests a second."
        figures: dict[str, Any] = dict.fromkeys(
            (
                "queued",
                "running",
                "leaving",
                "requests",
                "errors",
                "requests_per_second",
                "errors_per_second",
                "p50_ms",
                "p95_ms",
                "p99_ms",
                "queue_p95_ms",
                "compute_p95_ms",
                "lag_ms",
                "cpu",
                "memory",
            )
        )
        if serves:
            figures = {
                "queued": round(abs(f["wave"]) * 3)
                + (140 if slack else 0)
                + (60 if node.state == "busy" else 0),
                "running": round(f["mean"]),
                "leaving": 0,
                "requests": round((at - self.began + 9000) * self.load),
                "errors": 3 * node.exits,
                "requests_per_second": 0.0 if slack else f["load"],
                "errors_per_second": 0.0,
                "p50_ms": f["p50"],
                "p95_ms": f["p50"] * 1.7,
                "p99_ms": f["p50"] * 2.4,
                "queue_p95_ms": f["queue"] * 1.4,
                "compute_p95_ms": f["compute"] * 1.3,
                "lag_ms": 0.4,
                "cpu": 0.12 + 0.05 * f["wave"] + 0.1 * (node.index == 1),
                "memory": 182_000_000 + 9_000_000 * node.index + round(2e6 * f["wave"]),
            }
        return {
            "index": node.index,
            "name": node.name,
            "version": node.version,
            "image": node.image,
            "stateful": node.stateful,
            "state": node.state,
            "reason": node.reason,
            "since": node.since if self.deployed else None,
            "declared": {"version": node.version, "image": node.image, "batch": node.declared},
            "drift": [*node.drift, *self._drift(node)],
            "pairs": pairs,
            **figures,
            "batch": self.batch(node, f["mean"] if serves else None, fill if serves else None, hint)
            if self.deployed
            else None,
            "exits": node.exits,
            "trouble": self._trouble(node, at) if self.deployed else None,
        }

    def _drift(self, node: PlayedNode) -> list[str]:
        if self.deployed and (node.limit, node.dynamic) != (
            max(1, abs(node.declared)),
            node.declared < 0,
        ):
            return [
                f"batch: declared {node.declared}, "
                f"runs with {-node.limit if node.dynamic else node.limit}"
            ]
        return []

    def batch(
        self, node: PlayedNode, mean: float | None, fill: float | None, hint: str
    ) -> dict[str, Any]:
        return {
            "limit": max(1, node.limit * 3 // 8) if node.dynamic else node.limit,
            "most": node.limit,
            "dynamic": node.dynamic,
            "wait_ms": node.wait_ms,
            "objective_ms": node.objective_ms,
            "set_by": node.set_by,
            "declared": node.declared,
            "mean": mean,
            "fill": fill,
            "hint": hint,
        }

    def _pair(self, node: PlayedNode, role: str, state: str, host: str) -> dict[str, Any]:
        return {
            "role": role,
            "state": state,
            "host": host,
            "address": f"{host}:{7000 + node.index}",
            "model_pids": [4000 + node.index],
            "proxy_pid": 5000 + node.index,
            "reason": node.reason if role == "primary" else "",
        }

    def view(self) -> dict[str, Any]:
        with self.lock:
            at = time.time()
            nodes = [self.node(node, at) for node in self.nodes]
            states = {node.state for node in self.nodes}
            order = ("dead", "recovering", "degraded", "starting", "busy")
            state = (
                "draining" if self.draining else next((s for s in order if s in states), "ready")
            )
            rates = {n["index"]: n["requests_per_second"] for n in nodes}
            return {
                "dag_id": self.dag_id,
                "name": self.name,
                "version": "3",
                "deployed": self.deployed,
                "reachable": True,
                "state": state if self.deployed else "undeployed",
                "url": "http://127.0.0.1:18900" if self.deployed else "",
                "warnings": self.warnings,
                "message": "",
                "at": at,
                "nodes": nodes,
                "flows": [
                    {
                        "source": s,
                        "target": t,
                        "kind": kind,
                        "label": "",
                        "requests_per_second": rates[s]
                        if rates[t] is not None
                        else (0.0 if rates[s] is not None else None),
                    }
                    for s, t, kind in self.flows
                ],
                "in_graph": sum((n["running"] or 0) + (n["queued"] or 0) for n in nodes)
                if self.deployed
                else None,
                "errors_per_second": 0.0 if self.deployed else None,
            }

    def summary(self) -> dict[str, Any]:
        view = self.view()
        first = view["nodes"][0]
        return {
            "dag_id": self.dag_id,
            "name": self.name,
            "version": "3",
            "state": view["state"],
            "url": view["url"],
            "nodes": len(self.nodes),
            "nodes_dead": sum(n.state == "dead" for n in self.nodes),
            "requests_per_second": first["requests_per_second"],
            "errors_per_second": 0.0,
            "p95_ms": first["p95_ms"],
            "warnings": self.warnings,
            "orphaned": False,
        }

    def history(self, index: int, seconds: int) -> dict[str, Any]:
        node, now = self.nodes[index - 1], time.time()
        samples = []
        for at in range(int(now) - seconds, int(now)):
            f = self._figures(node, at)
            samples.append(
                {
                    "requests": round(f["load"]),
                    "errors": 1 if at % 173 == 0 else 0,
                    "batches": max(1, round(f["load"] / f["mean"])),
                    "queued": round(abs(f["wave"]) * 3),
                    "running": round(f["mean"]),
                    "p50_ms": f["p50"],
                    "p95_ms": f["p50"] * (1.7 + 0.1 * f["noise"]),
                    "p99_ms": f["p50"] * (2.4 + 0.3 * f["noise"]),
                    "queue_p95_ms": f["queue"] * (1.4 + 0.2 * f["noise"]),
                    "compute_p95_ms": f["compute"] * (1.3 + 0.1 * f["noise"]),
                    "sizes": self._sizes(f, node.limit),
                }
            )
        times = [float(at) for at in range(int(now) - seconds, int(now), 2)]
        bounds = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500]
        return {
            "step": 1,
            "end": now,
            "samples": samples,
            "queue": {"bounds_ms": bounds, "counts": [10, 40, 200, 900, 1400, 600, 90, 4, 0, 0, 0]},
            "compute": {"bounds_ms": bounds, "counts": [0, 0, 4, 60, 900, 1900, 340, 20, 2, 0, 0]},
            "total": {"bounds_ms": bounds, "counts": [0, 0, 0, 10, 300, 1800, 960, 120, 9, 1, 0]},
            "batches": {"bounds": [1, 2, 4, 8, 16, 32], "counts": [120, 400, 900, 300, 40, 4, 0]},
            "usage": {
                "times": times,
                "series": [
                    self._usage(node, times, kind, role)
                    for role in ("primary", *(["backup"] if node.stateful else []))
                    for kind in ("model", "proxy")
                ],
            },
        }

    @staticmethod
    def _sizes(figures: dict[str, float], limit: int) -> list[int]:
        """Most batches of a second are as large as its mean, some half or twice as large."""
        most = math.ceil(math.log2(limit))
        batches = max(1, round(figures["load"] / figures["mean"]))
        row = round(math.log2(max(1.0, figures["mean"])))
        sizes = [0] * (row + 2)
        for at, share in ((row - 1, 0.25), (row, 0.6), (row + 1, 0.15)):
            sizes[min(most, max(0, at))] += round(batches * share)
        return sizes

    def _usage(self, node: PlayedNode, times: list[float], kind: str, role: str) -> dict[str, Any]:
        model, primary = kind == "model", role == "primary"
        waves = [self._figures(node, at)["wave"] for at in times]
        busy = (0.3 if model else 0.08) if primary else 0.02
        size = 182_000_000 if model else 41_000_000
        return {
            "kind": kind,
            "role": role,
            "cpu": [round(busy * (1 + 0.3 * wave), 4) for wave in waves],
            "memory": [size + 900_000 * node.index + round(2e6 * wave) for wave in waves],
        }

    def requests(self, most: int) -> dict[str, Any]:
        now = time.time()
        rows = []
        for k in range(min(most, 9)):
            node = self.nodes[k % len(self.nodes)]
            age = 140 * (9 - k) + (now * 1000 + 37 * k) % 90
            positions = [
                {
                    "index": node.index,
                    "node": node.name,
                    "stage": ("queued", "running", "leaving")[k % 3],
                    "ms": age / 3,
                }
            ]
            if node.index == 3 and len(self.nodes) > 3:
                positions.append(
                    {"index": 4, "node": self.nodes[3].name, "stage": "running", "ms": 8.0}
                )
            rows.append(
                {
                    "id": 88_000 + int(now) % 1000 + k,
                    "ms": age,
                    "attempt": 1 if k else 2,
                    "positions": positions,
                }
            )
        return {"total": 9, "requests": rows}

    def traces(self, most: int) -> dict[str, Any]:
        now = int(time.time())
        traces = []
        for k in range(min(most, 12)):
            pick = random.Random(now - k)
            start, hops, ends = 0.0, [], {}
            before = {
                t: [s for s, target, _ in self.flows if target == t] for _, t, _ in self.flows
            }
            for node in self.nodes[:8]:
                start = (
                    max((ends.get(s, 0.0) for s in before.get(node.index, [])), default=0.0) + 0.4
                )
                queue, compute = pick.uniform(0.2, 6), pick.uniform(3, 22)
                ends[node.index] = start + queue + compute + 0.6
                hops.append(
                    {
                        "index": node.index,
                        "node": node.name,
                        "start_ms": start,
                        "queue_ms": queue,
                        "compute_ms": compute,
                        "leave_ms": 0.6,
                        "batch": pick.randint(1, 12),
                        "replica": 0,
                    }
                )
            traces.append(
                {
                    "request": 88_000 - k,
                    "trace_id": f"{pick.getrandbits(128):032x}",
                    "at": now - k,
                    "duration_ms": max(ends.values()) + 0.8,
                    "error": "the model of Conclusion raised ValueError" if k == 4 else "",
                    "hops": hops,
                }
            )
        return {"traces": traces}

    def set_batching(
        self, index: int, setting: dict[str, Any], who: str = "maria"
    ) -> dict[str, Any]:
        with self.lock:
            node = self.nodes[index - 1]

            def now() -> dict[str, Any]:
                return {
                    "limit": node.limit,
                    "dynamic": node.dynamic,
                    "wait_ms": node.wait_ms,
                    "objective_ms": node.objective_ms,
                }

            before = now()
            if setting.get("reset"):
                node.reset()
                node.set_by = ""
            else:
                for key, value in setting.items():
                    setattr(node, key, value)
                node.set_by = who
            self.changes.insert(
                0, {"at": time.time(), "who": who, "node": node.name, "from": before, "to": now()}
            )
            self._tell(
                node, f"{who} set the batch limit from {before['limit']} to {node.limit}", "", ""
            )
            return self.batch(node, None, None, "")


def sentiment(dag_id: str = "SentiAnalyzer", **more: Any) -> Played:
    """The founding example: five nodes, one of them stateful."""
    nodes = [PlayedNode(at, *operator) for at, operator in enumerate(OPERATORS, start=1)]
    return Played(dag_id, "SentiAnalyzer", nodes, list(FLOWS), **more)


def chain(dag_id: str, size: int) -> Played:
    """``size`` nodes one after the other."""
    nodes = [
        PlayedNode(k, f"Step-{k}", "1", f"chain/step-{k}:v1", False, 8) for k in range(1, size + 1)
    ]
    return Played(dag_id, dag_id, nodes, [(k, k + 1, "distribute") for k in range(1, size)])


def long_names(dag_id: str = "Long") -> Played:
    """Names, images and rates as large as they come."""
    names = (
        "MultilingualSpeechTranscriberWithDiarization",
        "Sentence-And-Paragraph-Tokenizer-For-Legal-Documents",
        "Senti",
        "Zusammenfassungsgenerator_fuer_Kundengespraeche_v2",
        "Out",
    )
    nodes = [
        PlayedNode(k, name, "12.4.1-rc3", f"registry.example/teams/{name.lower()}:v1", k == 2, 32)
        for k, name in enumerate(names, start=1)
    ]
    name = "A_graph_whose_name_is_long_because_its_team_likes_to_say_everything"
    return Played(dag_id, name, nodes, list(FLOWS), load=12_345.0)


def wide(dag_id: str = "Everything", layers: int = 12, a_layer: int = 17, seed: int = 7) -> Played:
    """About 200 nodes in layers, each with one to three targets in the next."""
    pick = random.Random(seed)
    nodes: list[PlayedNode] = []
    flows: list[tuple[int, int, str]] = []
    rows: list[list[int]] = []
    for layer in range(layers):
        size = 1 if layer in (0, layers - 1) else a_layer + pick.randint(0, 5)
        row = []
        for k in range(size):
            index = len(nodes) + 1
            row.append(index)
            nodes.append(
                PlayedNode(
                    index,
                    f"L{layer:02}-Scorer-{k:02}",
                    "1",
                    f"all/scorer-{layer}-{k}:v1",
                    index % 9 == 0,
                    16,
                )
            )
        rows.append(row)
    for before, after in pairwise(rows):
        seen = set()
        for at, source in enumerate(before):
            near = at * len(after) // len(before)
            for target in {after[min(len(after) - 1, near + d)] for d in range(pick.randint(1, 2))}:
                flows.append((source, target, "distribute"))
                seen.add(target)
        # Whoever got none is fed by the one that stands beside it.
        flows += [
            (before[at * len(before) // len(after)], target, "distribute")
            for at, target in enumerate(after)
            if target not in seen
        ]
    graph = Played(dag_id, "Everything", nodes, flows, load=310.0)
    graph.kill(57, "dead")
    graph.kill(120, "hold")
    graph.change(nodes[88], "degraded", "no backup that holds its state")
    graph.change(nodes[30], "busy", "two full batches or more wait")
    graph.change(nodes[31], "busy", "two full batches or more wait")
    return graph


def gallery() -> Played:
    """One node in each state."""
    states = ("ready", "busy", "degraded", "recovering", "dead", "starting", "draining", "ready")
    why = {
        "busy": "two full batches or more wait for its model",
        "degraded": "1 of 3 replicas does not run",
        "recovering": "its proxy (process 5004) was killed by signal 9; a replacement starts",
        "dead": "host 10.0.0.5 does not answer: no heartbeat for 2 s",
        "starting": "its model loads",
        "draining": "the graph takes no new requests",
    }
    nodes = [
        PlayedNode(k, f"{s.capitalize()}-{k}", "1", f"all/{s}:v1", k % 2 == 0, 16)
        for k, s in enumerate(states, start=1)
    ]
    kinds = ("distribute", "switch", "split", "reduce")
    flows = [(1, 2), (1, 3), (1, 4), (2, 5), (3, 6), (4, 7), (5, 8), (6, 8), (7, 8)]
    graph = Played(
        "States", "States", nodes, [(s, t, kinds[k % 4]) for k, (s, t) in enumerate(flows)]
    )
    for node, state in zip(nodes, states, strict=True):
        if state != "ready":
            graph.change(node, state, why[state])
    return graph
