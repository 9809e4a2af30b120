"""A discrete-event simulation of HOGAR's control plane: agents, API workers, viewers, failures.

Each agent and each API worker is one Python process, so a station that does one piece of work after
the other: work that comes while it is busy waits, in order. What a step costs is not decided here,
see :class:`Costs`. The same seed gives the same result.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

Line = tuple[float, float]
"""What something costs: the fixed part, and that of each node (or byte) more."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured. Times are CPU seconds of the process that does it, sizes bytes.

    ``standing`` is the share of a core that an agent uses for a node without a backup while nobody
    asks, ``node_standing`` that of the node's own processes. A look is one poll of one graph: of
    the agent, of its caller (the API worker), and of each node's processes; ``view`` is what the
    caller makes of it, ``look_latency`` the seconds until it has its answers. ``message`` is one
    SSE message to one viewer, by its bytes; ``frame_bytes`` are those by nodes. ``death_agent`` is
    what the agent computes until a node of which a process died is whole again, ``takeover`` the
    seconds until the backup has taken over. ``start_node`` is
    what a node's processes compute until it is up, and ``start_agent`` what its agent does
    meanwhile. ``ledger`` is one writing of it, by the nodes in it, of which a death brings
    ``ledgers_a_death``. ``delta_bytes`` is what differs of a node between two views in a row, at
    rest and with requests; ``packed_bytes`` is a node's part of a frame that was compressed.
    """

    standing: float
    node_standing: float
    beat: float
    model_ping: float
    proxy_ping: float
    statistics_call: float
    beats_a_second: float
    model_pings_a_second: float
    proxy_pings_a_second: float
    statistics_a_second: float
    look_agent: Line
    look_caller: Line
    view: Line
    look_node: float
    look_latency: Line
    statistics_bytes: int
    reply_bytes: Line
    frame_bytes: Line
    message: Line
    event: float
    event_bytes: int
    events_a_death: float
    death_agent: float
    takeover: float
    start_node: float
    start_agent: float
    ledger: Line
    ledger_bytes: int
    ledgers_a_death: float
    delta_bytes: tuple[int, int]
    packed_bytes: int
    dag_import: float
    dag_build: float
    dag_serialize: float

    @property
    def worker_look(self) -> Line:
        """What an API worker computes for a look, view and JSON included."""
        return self.look_caller[0] + self.view[0], self.look_caller[1] + self.view[1]

    @property
    def explained(self) -> float:
        """The share of a core that the calls an agent makes for a node add up to, each by itself:
        what is left of :attr:`standing` are its loops and what it reads of /proc."""
        return (
            self.beat * self.beats_a_second
            + self.model_ping * self.model_pings_a_second
            + self.proxy_ping * self.proxy_pings_a_second
            + self.statistics_call * self.statistics_a_second
        )


def line(cost: Line, size: float) -> float:
    """The cost of ``size``."""
    return cost[0] + cost[1] * size


@dataclass(frozen=True, slots=True)
class Fleet:
    """``graphs`` of ``nodes / graphs`` nodes on ``hosts``; each graph's nodes lie on ``spread`` of
    them. ``stateful`` is the share of nodes that have a backup, which lies on another host, and
    with ``rack_aware`` in another rack of ``rack`` hosts."""

    graphs: int
    nodes: int
    hosts: int
    spread: int = 2
    stateful: float = 0.2
    rack: int = 10
    rack_aware: bool = True

    def __post_init__(self) -> None:
        if self.graphs < 1 or self.nodes % self.graphs or self.hosts < 1:
            raise ValueError(
                "there must be a host, and as many nodes in each graph as in any other"
            )

    @property
    def pairs(self) -> float:
        """Models with a proxy, backups included; the mean."""
        return self.nodes * (1 + self.stateful)

    @property
    def nodes_a_graph(self) -> int:
        """Nodes of each graph."""
        return self.nodes // self.graphs


@dataclass(frozen=True, slots=True)
class Placed:
    """One node: its graph, its host, and its backup's host (None without one)."""

    graph: int
    host: int
    backup: int | None


@lru_cache(maxsize=16)
def place(fleet: Fleet, seed: int) -> tuple[Placed, ...]:
    """Every node, graph by graph. A graph takes the hosts with the fewest nodes, ties by chance."""
    chance = random.Random(seed)
    load = [0] * fleet.hosts
    placed = []
    for graph in range(fleet.graphs):
        order = sorted(range(fleet.hosts), key=lambda host: (load[host], chance.random()))
        own = order[: min(fleet.spread, fleet.hosts)]
        for number in range(fleet.nodes_a_graph):
            host = own[number % len(own)]
            load[host] += 1
            backup = None
            if chance.random() < fleet.stateful:
                backup = _elsewhere(fleet, host, chance)
            placed.append(Placed(graph, host, backup))
    return tuple(placed)


def _elsewhere(fleet: Fleet, host: int, chance: random.Random) -> int | None:
    """A host for a backup; the same one where there is only that."""
    others = [one for one in range(fleet.hosts) if one != host]
    if fleet.rack_aware:
        others = [one for one in others if one // fleet.rack != host // fleet.rack] or others
    return chance.choice(others) if others else host


class Station:
    """A process that computes one thing after the other. ``busy`` is what it has computed."""

    __slots__ = ("busy", "free")

    def __init__(self) -> None:
        self.busy = self.free = 0.0

    def serve(self, now: float, work: float) -> float:
        """When ``work`` that comes at ``now`` is done; calls come in the order of time."""
        self.free = max(self.free, now) + work
        self.busy += work
        return self.free


class Clock:
    """What happens, in the order of time; what is due at once, in the order in which it came."""

    def __init__(self, end: float) -> None:
        self.end = end
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0

    def at(self, when: float, happens: Callable[[float], None]) -> None:
        """Let something happen; what is due after the end never does."""
        if when <= self.end:
            self._count += 1
            heapq.heappush(self._due, (when, self._count, happens))

    def every(self, interval: float, first: float, happens: Callable[[float], None]) -> None:
        """Let something happen at ``first`` and every ``interval`` seconds after it."""

        def again(now: float) -> None:
            happens(now)
            self.at(now + interval, again)

        self.at(first, again)

    def run(self) -> None:
        """Let it all happen."""
        while self._due:
            when, _, happens = heapq.heappop(self._due)
            happens(when)


@dataclass(frozen=True, slots=True)
class Looks:
    """What watching was like. Shares are of one core, means and the most of any; latencies are
    seconds from a look's begin until its frame is there, and until the last viewer was sent it.
    ``rate`` is looks a second that a poll got, of 1 that it wants. Bytes are a second, of all."""

    polls: int
    looks: int
    rate: float
    p50: float
    p95: float
    told_p95: float
    agent: float
    agent_most: float
    worker: float
    worker_most: float
    proxy_bytes: float
    agent_bytes: float
    viewer_bytes: float


def watch(
    fleet: Fleet,
    costs: Costs,
    viewers: int,
    watched: int,
    workers: int,
    seconds: float = 20.0,
    seed: int = 1,
    sharded: bool = False,
) -> Looks:
    """``viewers`` look at ``watched`` graphs through ``workers`` of the API server.

    A viewer comes to any worker, and each worker polls each graph that a viewer of its looks at;
    ``sharded`` lets all viewers of a graph come to one worker.
    """
    chance = random.Random(seed)
    clock = Clock(seconds)
    placed = place(fleet, seed)
    portions = _portions(fleet, placed)
    agents = [Station() for _ in range(fleet.hosts)]
    stations = [Station() for _ in range(workers)]
    _stand(costs, placed, agents, clock, chance)
    audience: dict[tuple[int, int], int] = {}
    for viewer in range(viewers):
        graph = viewer % watched
        worker = graph % workers if sharded else chance.randrange(workers)
        audience[worker, graph] = audience.get((worker, graph), 0) + 1
    latencies: list[float] = []
    told: list[float] = []
    replies = 0
    frame = line(costs.frame_bytes, fleet.nodes_a_graph)
    message = line(costs.message, frame)
    caller_fixed, caller_node = costs.worker_look
    sent = 0

    def begin(worker: int, graph: int, now: float) -> None:
        station = stations[worker]
        parts = portions[graph]
        # Half of the fixed part is the asking, once for each agent; the rest follows the answers.
        asked = station.serve(now, caller_fixed / 2 * len(parts))
        clock.at(asked, lambda at: ask(worker, graph, now, at))

    def ask(worker: int, graph: int, begun: float, now: float) -> None:
        ends = [
            agents[host].serve(now, line(costs.look_agent, nodes))
            for host, nodes in portions[graph].items()
        ]
        clock.at(max(ends), lambda at: view(worker, graph, begun, at))

    def view(worker: int, graph: int, begun: float, now: float) -> None:
        nonlocal replies, sent
        work = caller_fixed / 2 + caller_node * fleet.nodes_a_graph
        done = stations[worker].serve(now, work)
        people = audience[worker, graph]
        last = stations[worker].serve(now, message * people)
        latencies.append(done - begun)
        told.append(last - begun)
        replies += len(portions[graph])
        sent += people
        clock.at(max(done + 0.05, begun + 1.0), lambda at: begin(worker, graph, at))

    for worker, graph in audience:
        clock.at(chance.random(), lambda at, w=worker, g=graph: begin(w, g, at))  # type: ignore[misc]
    clock.run()
    looks = len(latencies)
    reply_fixed, reply_node = costs.reply_bytes
    return Looks(
        polls=len(audience),
        looks=looks,
        rate=looks / seconds / len(audience) if audience else 0.0,
        p50=percentile(latencies, 0.5),
        p95=percentile(latencies, 0.95),
        told_p95=percentile(told, 0.95),
        agent=sum(one.busy for one in agents) / len(agents) / seconds,
        agent_most=max(one.busy for one in agents) / seconds,
        worker=sum(one.busy for one in stations) / len(stations) / seconds,
        worker_most=max(one.busy for one in stations) / seconds,
        proxy_bytes=costs.statistics_bytes
        * (looks * fleet.nodes_a_graph / seconds + fleet.nodes * costs.statistics_a_second),
        agent_bytes=(replies * reply_fixed + looks * fleet.nodes_a_graph * reply_node) / seconds,
        viewer_bytes=sent * frame / seconds,
    )


def _portions(fleet: Fleet, placed: Iterable[Placed]) -> list[dict[int, int]]:
    """Of each graph, how many nodes lie on which host."""
    found: list[dict[int, int]] = [{} for _ in range(fleet.graphs)]
    for one in placed:
        found[one.graph][one.host] = found[one.graph].get(one.host, 0) + 1
    return found


def _stand(
    costs: Costs,
    placed: Iterable[Placed],
    agents: list[Station],
    clock: Clock,
    chance: random.Random,
) -> None:
    """What agents do though nobody asks: a graph's pings twice a second, the statistics of all
    primaries every two seconds at once, everything else of :attr:`Costs.standing` eight times a
    second."""
    pings = costs.proxy_ping * costs.proxy_pings_a_second
    samples = costs.statistics_call * costs.statistics_a_second
    # Measured apart, they may come out larger than the whole.
    scale = min(1.0, costs.standing / (pings + samples)) if pings + samples else 1.0
    beats = max(0.0, costs.standing - (pings + samples) * scale)
    of_graph: dict[tuple[int, int], int] = {}
    primaries, pairs = [0] * len(agents), [0] * len(agents)
    for one in placed:
        primaries[one.host] += 1
        for host in (one.host, one.backup):
            if host is not None:
                pairs[host] += 1
                of_graph[one.graph, host] = of_graph.get((one.graph, host), 0) + 1

    def every(interval: float, host: int, share: float) -> None:
        def happens(now: float) -> None:
            agents[host].serve(now, share * interval)

        clock.every(interval, chance.random() * interval, happens)

    for (_, host), count in of_graph.items():
        every(0.5, host, pings * scale * count)
    for host, count in enumerate(pairs):
        every(2.0, host, samples * scale * primaries[host])
        every(0.125, host, beats * count)


def percentile(values: Iterable[float], share: float) -> float:
    """The value that ``share`` of all are at most; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


# --- failures -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Storm:
    """What a failure of hosts was like. ``primaries`` died with their host, ``took_over`` of them
    had a backup that lived, ``state_lost`` had one that died, too. ``starts`` are the pairs to be
    started elsewhere, ``started`` came up, ``given_up`` did not; ``attempts`` are all tries. Times
    are seconds after the failure was known: until the last takeover, the median and the last start.
    ``ledger`` is the largest share of the work of an agent that writing its ledger was;
    ``events_most`` is the number of events of the agent that has most."""

    primaries: int
    took_over: int
    state_lost: int
    starts: int
    started: int
    given_up: int
    attempts: int
    last_takeover: float
    median_start: float
    last_start: float
    ledger: float
    events: float
    events_most: float


GIVE_UP, FIRST_PAUSE, LONGEST_PAUSE = 5, 0.1, 5.0
"""As in ``earg/node.py``; a test holds them together."""


def storm(
    fleet: Fleet,
    costs: Costs,
    dead: Iterable[int],
    cores: int = 2,
    failing: float = 0.0,
    seed: int = 1,
) -> Storm:
    """Hosts ``dead`` die. Backups take over; pairs that died are started on the hosts that live and
    have the fewest nodes, ``cores`` at a time on each; a try fails with the chance ``failing``."""
    chance = random.Random(seed)
    gone = set(dead)
    alive = [host for host in range(fleet.hosts) if host not in gone]
    if not alive:
        raise ValueError("no host lives")
    placed = place(fleet, seed)
    load = [0] * fleet.hosts
    for one in placed:
        load[one.host] += 1
    takers: list[int] = []
    state_lost = primaries = starts = 0
    for one in placed:
        backup_lives = one.backup is not None and one.backup not in gone
        if one.host in gone:
            primaries += 1
            starts += 1
            if one.backup is not None and backup_lives:
                takers.append(one.backup)
            elif one.backup is not None:
                state_lost += 1
                starts += 1
        elif one.backup is not None and not backup_lives:
            starts += 1
    agents = {host: Station() for host in alive}
    ledgers = dict.fromkeys(alive, 0.0)
    events = dict.fromkeys(alive, 0.0)
    takeovers = []
    for host in takers:
        # The agent's work until the node is whole is more than it does until the takeover.
        takeovers.append(agents[host].serve(0.0, costs.death_agent) + costs.takeover)
        events[host] += costs.events_a_death
    queue = [(load[host], host) for host in alive]
    heapq.heapify(queue)
    lanes = {host: [0.0] * max(1, cores) for host in alive}
    done: list[float] = []
    given_up = attempts = 0
    due: list[tuple[float, int, int, int]] = []
    for number in range(starts):
        nodes, host = heapq.heappop(queue)
        heapq.heappush(queue, (nodes + 1, host))
        load[host] = nodes + 1
        due.append((0.0, number, host, 0))
    heapq.heapify(due)
    while due:
        now, number, host, failed = heapq.heappop(due)
        attempts += 1
        written = costs.ledgers_a_death * line(costs.ledger, load[host])
        ledgers[host] += written
        ready = agents[host].serve(now, costs.start_agent + written)
        core = heapq.heappop(lanes[host])
        ends = max(now, core) + costs.start_node
        heapq.heappush(lanes[host], ends)
        ends = max(ends, ready)
        events[host] += costs.events_a_death
        if chance.random() >= failing:
            done.append(ends)
        elif failed + 1 >= GIVE_UP:
            given_up += 1
        else:
            heapq.heappush(due, (ends + pause(failed + 1), number, host, failed + 1))
    return Storm(
        primaries=primaries,
        took_over=len(takers),
        state_lost=state_lost,
        starts=starts,
        started=len(done),
        given_up=given_up,
        attempts=attempts,
        last_takeover=max(takeovers, default=0.0),
        median_start=percentile(done, 0.5),
        last_start=max(done, default=0.0),
        ledger=max(
            (ledgers[host] / agents[host].busy for host in alive if agents[host].busy), default=0.0
        ),
        events=sum(events.values()),
        events_most=max(events.values()),
    )


def pause(failed: int) -> float:
    """Seconds before the next try after so many failed ones."""
    return 0.0 if failed <= 0 else min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failed - 1))


# --- where it breaks ------------------------------------------------------------------------------


def largest(fits: Callable[[int], bool], most: int = 1 << 40) -> int:
    """The largest size up to ``most`` that fits, where all below one that fits do; 0 for none."""
    least, beyond = 0, 1
    while beyond <= most and fits(beyond):
        least, beyond = beyond, beyond * 2
    beyond = min(beyond, most + 1)
    while beyond - least > 1:
        middle = (least + beyond) // 2
        least, beyond = (middle, beyond) if fits(middle) else (least, middle)
    return least


ROOM = 0.7
"""The share of a core above which a station counts as full: queues grow fast beyond it."""


def most_nodes_of_an_agent(
    costs: Costs, looks: float = 0.0, graph: int = 10, stateful: float = 0.2, spread: int = 2
) -> int:
    """Nodes of an agent whose work fits, as in :func:`agent_share`."""
    asked = looks * (spread * costs.look_agent[0] / graph + costs.look_agent[1])
    each = costs.standing * (1 + stateful) + asked
    return largest(lambda nodes: nodes * each <= ROOM)


def most_nodes_of_a_host(costs: Costs, cores: int, stateful: float = 0.2) -> int:
    """Nodes that a host can have for what they and its agent compute while nobody asks."""
    each = (costs.standing + costs.node_standing) * (1 + stateful)
    return largest(lambda nodes: nodes * each <= cores * ROOM)


def agent_share(fleet: Fleet, costs: Costs, looks: float) -> float:
    """The share of a core that one agent of ``fleet`` computes, where each graph gets so many looks
    a second; above 1 it cannot."""
    fixed, node = costs.look_agent
    parts = fleet.graphs * min(fleet.spread, fleet.hosts)
    asked = looks * (parts * fixed + fleet.nodes * node)
    return (costs.standing * fleet.pairs + asked) / fleet.hosts


def most_polls_of_a_worker(costs: Costs, nodes: int, viewers: float = 1.0) -> int:
    """Graphs of ``nodes`` nodes that an API worker can poll once a second for so many each."""
    message = line(costs.message, line(costs.frame_bytes, nodes))
    each = line(costs.worker_look, nodes) + viewers * message
    return largest(lambda polls: polls * each <= ROOM)


def most_streams_of_a_worker(costs: Costs, nodes: int) -> int:
    """Viewers of one graph of ``nodes`` nodes that an API worker can tell once a second."""
    message = line(costs.message, line(costs.frame_bytes, nodes))
    rest = ROOM - line(costs.worker_look, nodes)
    return largest(lambda viewers: viewers * message <= rest)


def list_seconds(costs: Costs, graphs: int, nodes: int) -> float:
    """Seconds that the page of all graphs asks, one graph after the other."""
    return graphs * (line(costs.look_latency, nodes) + line(costs.view, nodes))


def most_listed_at_once(costs: Costs, nodes: int, fresh: float = 2.0) -> int:
    """The same where all are asked at the same time: then the API worker's own work is left."""
    return largest(lambda graphs: graphs * line(costs.worker_look, nodes) <= fresh * ROOM)


def most_listed(costs: Costs, nodes: int, fresh: float = 2.0) -> int:
    """Graphs that the list can ask for within the time for which it is fresh."""
    return largest(lambda graphs: list_seconds(costs, graphs, nodes) <= fresh)


def most_dags(costs: Costs, processes: int, interval: float = 30.0) -> int:
    """DAGs that so many processes of the DAG processor parse within ``interval`` seconds, where
    each file costs one forked process's own work only."""
    each = costs.dag_build + costs.dag_serialize
    return largest(lambda dags: dags * each <= processes * interval * ROOM)
