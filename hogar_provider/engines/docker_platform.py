"""A platform of containers on Docker hosts, one or several.

It keeps nothing that counts: what there is stands in the labels of the containers. A pair whose
host is dead is started elsewhere; when the host comes back, what was replaced there is taken away.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
import zlib
from collections import defaultdict
from collections.abc import Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

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
from hogar_provider.engines.docker_containers import (
    FRONTEND,
    Container,
    Making,
    Needs,
    Wanted,
    container_of,
    explained,
    frontend_digest,
    frontend_of,
    needs_of,
    pair_of,
)
from hogar_provider.engines.docker_daemon import CALL_TIMEOUT, LOOK_TIMEOUT, Daemon, DaemonError
from hogar_provider.engines.docker_files import owner_of, put_artifact, put_token
from hogar_provider.engines.docker_network import (
    Addresses,
    GraphNetwork,
    containers_of,
    ensure_network,
    existing_network,
    network_labels,
    network_name,
    remove_networks,
)
from hogar_provider.engines.docker_placement import Room, choose
from hogar_provider.engines.docker_settings import DockerSettings
from hogar_provider.engines.docker_usage import UsageReader
from udgl.targets._manifest import MANAGER
from udgl.targets._pairs import NODE_IMAGE

log = logging.getLogger(__name__)

ADDRESS_TRIES, PORT_TRIES = 4, 30

ADDRESS_KEPT = 60.0
"""Seconds for which an address is nobody else's once it was given out."""

MOST_LINES, MOST_LOG = 10_000, 1024 * 1024
"""Lines and bytes of one answer about a log."""

_Key = tuple[str, int, int]
"""Graph, index and number of a pair; index 0 is the frontend."""


@dataclass(frozen=True, slots=True)
class _Survey:
    """The engine's containers: of the hosts that answer, and as they were of those that are silent
    for a moment; ``silent`` says of each host that does not answer why."""

    answering: Mapping[str, tuple[Container, ...]]
    remembered: Mapping[str, tuple[Container, ...]]
    silent: Mapping[str, str]

    def all(self) -> Iterable[Container]:
        for found in (*self.answering.values(), *self.remembered.values()):
            yield from found

    def there(self, key: _Key) -> list[Container]:
        """All that there is of a pair on hosts that answer, whenever it was started."""
        there = (one for found in self.answering.values() for one in found)
        return [one for one in there if (one.graph, *one.key) == key]


@dataclass(frozen=True, slots=True)
class _Place:
    """What a start that is under way takes of a host."""

    host: str
    needs: Needs
    gpus: tuple[str, ...]


class DockerPlatform:
    """:class:`earg.platform.Platform` on Docker."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings
        self._daemons = {host.name: Daemon(host, settings.dead_after) for host in settings.hosts}
        self._readers = {name: UsageReader(one) for name, one in self._daemons.items()}
        # The containers of pairs by the last look.
        self._current: dict[_Key, tuple[Container, ...]] = {}
        self._remembered: dict[str, tuple[Container, ...]] = {}
        self._locks: weakref.WeakValueDictionary[_Key, asyncio.Lock] = weakref.WeakValueDictionary()
        self._host_locks = {name: asyncio.Lock() for name in self._daemons}
        self._placing = asyncio.Lock()
        self._places: dict[_Key, _Place] = {}
        self._starting: dict[_Key, int] = {}
        self._addresses = Addresses()
        self._given: dict[str, float] = {}
        # What was to be stopped while a host was silent, up to which generation.
        self._swept: dict[tuple[str, tuple[int, int] | None], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._clearing: set[str] = set()
        self._generation = 0

    async def close(self) -> None:
        """As of the protocol."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(one.close() for one in self._readers.values()))
        for daemon in self._daemons.values():
            daemon.close()

    # --- what there is ----------------------------------------------------------------------

    async def hosts(self) -> tuple[HostStatus, ...]:
        """As of the protocol. A host is dead once its daemon has not answered for the time that the
        settings say."""
        return tuple(await asyncio.gather(*(one.pulse() for one in self._daemons.values())))

    async def look(self) -> Mapping[str, GraphFound]:
        """As of the protocol. What hosts have that do not answer, but are not dead yet, is told as
        it was; what was replaced while its host was dead is taken away."""
        survey = await self._survey()
        current, leftovers = self._sorted(survey)
        self._current = {key: found for key, found in current.items() if key[1]}
        self._clear(one for one in leftovers if one.host in survey.answering)
        pairs: dict[str, dict[tuple[int, int], PairFound]] = defaultdict(dict)
        frontends: dict[str, tuple[Container, ...]] = {}
        for (graph, index, number), found in current.items():
            if index:
                pairs[graph][index, number] = _pair_found(found)
            else:
                frontends[graph] = found
        return {
            graph: GraphFound(
                frontends[graph][0].label("version") if graph in frontends else "",
                pairs.get(graph, {}),
                _frontend_found(frontends[graph][0]) if graph in frontends else None,
            )
            for graph in {*pairs, *frontends}
        }

    async def usage(self) -> Mapping[PairKey, tuple[ContainerUsage, ...]]:
        """As of the protocol. All hosts are asked at once."""
        current = self._current
        by_host: dict[str, list[Container]] = defaultdict(list)
        for found in current.values():
            for one in found:
                by_host[one.host].append(one)
        said = await asyncio.gather(
            *(self._readers[name].read(own) for name, own in by_host.items())
        )
        used = {container: usage for host in said for container, usage in host.items()}
        return {
            key: known
            for key, found in current.items()
            if (known := tuple(used[one.id] for one in found if one.id in used))
        }

    async def _survey(self) -> _Survey:
        daemons = list(self._daemons.values())
        said = await asyncio.gather(*map(self._list, daemons), return_exceptions=True)
        answering, remembered, silent = {}, {}, {}
        for daemon, found in zip(daemons, said, strict=True):
            if isinstance(found, tuple):
                answering[daemon.name] = self._remembered[daemon.name] = found
            elif isinstance(found, DaemonError):
                silent[daemon.name] = str(found)
                if not daemon.is_dead:
                    remembered[daemon.name] = self._remembered.get(daemon.name, ())
            else:
                raise found
        owners: dict[str, str] = {}
        for name, containers in answering.items():
            for one in containers:
                if owners.setdefault(one.id, name) != name:
                    raise PlatformError(
                        f"the hosts {owners[one.id]} and {name} are the same Docker daemon; name "
                        "it once"
                    )
        if not silent:
            # Everything that was to be swept is seen now.
            seen = [one for found in answering.values() for one in found]
            for key, generation in list(self._swept.items()):
                if not any(one.generation <= generation for one in _of(key, seen)):
                    del self._swept[key]
        return _Survey(answering, remembered, silent)

    async def _list(self, daemon: Daemon) -> tuple[Container, ...]:
        mark = f"{MANAGER}/engine={self._settings.engine}"

        def containers(client: Any) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = client.containers(all=True, filters={"label": [mark]})
            return found

        daemon.refuse_dead()
        listed = await daemon.ask(containers, LOOK_TIMEOUT)
        found = [container_of(daemon.name, one) for one in listed]
        return tuple(
            await asyncio.gather(*(self._explained(daemon, container) for container in found))
        )

    async def _explained(self, daemon: Daemon, container: Container) -> Container:
        if container.state in ("running", "created"):
            return container
        try:
            said = await daemon.ask(
                lambda client: client.inspect_container(container.id), LOOK_TIMEOUT
            )
        except DaemonError as error:
            if error.status != 404:
                raise
            return container
        return replace(container, failure=explained(container, said.get("State") or {}))

    def _sorted(self, survey: _Survey) -> tuple[dict[_Key, tuple[Container, ...]], list[Container]]:
        """The containers of each pair that is, and those of pairs that were."""
        groups: dict[_Key, dict[int, list[Container]]] = defaultdict(lambda: defaultdict(list))
        leftovers = []
        for one in survey.all():
            key = (one.graph, *one.key)
            if one.generation == self._starting.get(key):
                continue
            if one.generation <= self._swept_up_to(key):
                leftovers.append(one)
            else:
                groups[key][one.generation].append(one)
        current = {}
        for key, generations in groups.items():
            newest = max(generations)
            current[key] = tuple(generations.pop(newest))
            if key not in self._starting:
                leftovers += (one for found in generations.values() for one in found)
        return current, leftovers

    def _swept_up_to(self, key: _Key) -> int:
        graph, index, number = key
        return max(self._swept.get((graph, None), 0), self._swept.get((graph, (index, number)), 0))

    def _clear(self, leftovers: Iterable[Container]) -> None:
        """Take away, in the background, what was replaced or stopped while its host was silent."""
        fresh = [one for one in leftovers if one.id not in self._clearing]
        if fresh:
            self._clearing.update(one.id for one in fresh)
            self._begin(self._take_away(fresh))

    async def _take_away(self, containers: list[Container]) -> None:
        try:
            for one in containers:
                log.info("host %s: %s was replaced and is taken away", one.host, one.name)
            await self._remove(containers)
        except PlatformError as error:
            log.warning("what was replaced is not taken away yet: %s", error)
        finally:
            self._clearing.difference_update(one.id for one in containers)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- starting ---------------------------------------------------------------------------

    async def start_pair(self, order: PairOrder, avoid: Collection[str] = ()) -> PairFound:
        """As of the protocol."""
        _need_token(order.graph, order.token)
        key = (order.graph, order.index, order.number)
        async with self._lock(key):
            survey = await self._survey()
            current, _ = self._sorted(survey)
            have = current.get(key, ())
            runs = _runs(have, order.digest, _count(have))
            if runs and have[0].host not in avoid:
                return _pair_found(have)
            self._refuse_silent(have, survey)
            # Its other pair is to live on where this one dies.
            other = (order.graph, order.index, 1 - order.number)
            apart = {*avoid, *(one.host for one in current.get(other, ()))}
            needs, spec = needs_of(order), order.spec
            what = f"{spec.name} of graph {order.graph}"
            place = await self._reserve(key, what, needs, survey, apart, other)
            try:
                if runs and place.host in avoid:
                    return _pair_found(have)
                daemon = self._daemons[place.host]
                await self._ensure_images(daemon, {spec.image, self._settings.node_image})
                await self._remove(survey.there(key))

                async def make(network: GraphNetwork, making: Making, used: set[str]) -> None:
                    addresses = self._take(network, used, 1 + needs.models)
                    wanted = pair_of(
                        making, order, self._settings.node_image, addresses, place.gpus
                    )
                    await self._run(daemon, wanted, making, order.token)

                made = await self._start(daemon, key, order.version, order.plan, make, survey)
            finally:
                self._places.pop(key, None)
            log.info("%s, pair %d, is on host %s", what, order.number, daemon.name)
            return _pair_found(made)

    async def start_frontend(
        self, graph: str, version: str, plan: Plan, token: str = "", avoid: Collection[str] = ()
    ) -> FrontendFound:
        """As of the protocol. One that is replaced on its host keeps its port there."""
        _need_token(graph, token)
        key = (graph, 0, 0)
        async with self._lock(key):
            survey = await self._survey()
            have = self._sorted(survey)[0].get(key, ())
            if _runs(have, frontend_digest(version, plan), 1):
                return _frontend_found(have[0])
            self._refuse_silent(have, survey)
            what = f"the frontend of graph {graph}"
            place = await self._reserve(key, what, Needs(models=0), survey, avoid)
            try:
                daemon = self._daemons[place.host]
                await self._ensure_images(daemon, {self._settings.node_image})
                await self._remove(survey.there(key))
                ports = self._ports(graph, survey.answering[place.host], have, place.host)
                listens = await _published(daemon)

                async def make(network: GraphNetwork, making: Making, used: set[str]) -> None:
                    (address,) = self._take(network, used, 1)
                    for port in ports[:PORT_TRIES]:
                        url = f"http://{daemon.host.reached_at}:{port}"
                        wanted = frontend_of(
                            making, plan, self._settings.node_image, address, (listens, port), url
                        )
                        try:
                            return await self._run(daemon, [wanted], making, token)
                        except DaemonError as error:
                            if not _is_port_taken(error):
                                raise
                            refused = error
                    raise refused

                made = await self._start(daemon, key, version, plan, make, survey)
            finally:
                self._places.pop(key, None)
            log.info("%s is on host %s", what, daemon.name)
            return _frontend_found(made[0])

    def _lock(self, key: _Key) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    def _refuse_silent(self, have: tuple[Container, ...], survey: _Survey) -> None:
        """A second one must not be started while nobody knows of the first one."""
        for one in have:
            if one.host in survey.remembered:
                raise PlatformError(
                    f"{survey.silent[one.host]}; it is taken for dead after "
                    f"{self._settings.dead_after:g} s"
                )

    async def _reserve(
        self,
        key: _Key,
        what: str,
        needs: Needs,
        survey: _Survey,
        avoid: Collection[str],
        other: _Key | None = None,
    ) -> _Place:
        """Choose a host, apart from that on which ``other`` is being started, and count what is
        taken there until the containers are to be seen."""
        answering = [self._daemons[name] for name in survey.answering]
        said = await asyncio.gather(*(one.info() for one in answering))
        async with self._placing:
            rooms = []
            for daemon, info in zip(answering, said, strict=True):
                own = [one for one in survey.answering[daemon.name] if (one.graph, *one.key) != key]
                heads = [one for one in own if one.part == Part.PROXY.value]
                started = {(one.graph, *one.key) for one in heads}
                coming = [
                    place
                    for other, place in self._places.items()
                    if place.host == daemon.name and other not in started
                ]
                taken = {gpu for one in own for gpu in one.label("gpus").split(",")}
                taken.update(
                    gpu
                    for place in self._places.values()
                    if place.host == daemon.name
                    for gpu in place.gpus
                )
                rooms.append(
                    Room(
                        daemon.host,
                        info.cpus,
                        info.memory,
                        sum(_load(one) for one in heads) + sum(p.needs.load for p in coming),
                        sum(one.graph == key[0] for one in own),
                        tuple(gpu for gpu in daemon.host.gpus if gpu not in taken),
                    )
                )
            beside = {self._places[other].host} if other in self._places else set()
            room = choose(what, needs, rooms, survey.silent, {*avoid, *beside})
            place = _Place(room.host.name, needs, room.free_gpus[: needs.gpus])
            self._places[key] = place
            return place

    async def _ensure_images(self, daemon: Daemon, images: Iterable[str]) -> None:
        for image in sorted(images):
            # Nobody publishes the image that people build themselves under this name: what a
            # registry has there is a stranger's, and would get the token.
            own = image == NODE_IMAGE
            await daemon.ensure_image(image, "never" if own else self._settings.pull)

    async def _start(
        self, daemon: Daemon, key: _Key, version: str, plan: Plan, make: Any, survey: _Survey
    ) -> tuple[Container, ...]:
        """Let ``make`` make the containers of one start in the graph's network, again with other
        addresses where one is somebody's already; what there is of them then."""
        graph = key[0]
        network = await self._network(daemon, graph, plan)
        info = await daemon.info()
        used = {one.address for one in survey.all()}
        for tries in range(ADDRESS_TRIES):
            self._generation = max(self._generation + 1, time.time_ns())
            generation = self._starting[key] = self._generation
            making = Making(
                self._settings.engine,
                graph,
                version,
                network.name,
                generation,
                self._settings.user,
                info.logging == "json-file",
                info.init,
            )
            try:
                await make(network, making, used)
                break
            except DaemonError as error:
                if not _is_address_taken(error) or tries + 1 == ADDRESS_TRIES:
                    raise
            finally:
                del self._starting[key]
        found = self._remembered[daemon.name] = await self._list(daemon)
        mine = tuple(one for one in found if (one.graph, *one.key) == key)
        made = tuple(one for one in mine if one.generation == generation)
        if not made:
            raise PlatformError(f"host {daemon.name}: the containers of {graph} were taken away")
        return made

    def _take(self, network: GraphNetwork, used: set[str], count: int) -> tuple[str, ...]:
        now = time.monotonic()
        self._given = {one: at for one, at in self._given.items() if now - at < ADDRESS_KEPT}
        try:
            taken = self._addresses.take(network, {*used, *self._given}, count)
        except PlatformError:
            taken = self._addresses.take(network, used, count)
        self._given.update(dict.fromkeys(taken, now))
        return taken

    async def _network(self, daemon: Daemon, graph: str, plan: Plan) -> GraphNetwork:
        settings = self._settings
        async with self._host_locks[daemon.name]:
            if settings.network:
                part = settings.subnet_of(daemon.name) if daemon.host.subnet else None
                return await existing_network(daemon, settings.network, part)
            return await ensure_network(
                daemon,
                settings.subnet_of(daemon.name),
                network_name(settings.engine, graph),
                network_labels(settings.engine, graph),
                containers_of(plan),
                routed=len(settings.hosts) > 1 or not daemon.host.is_local,
            )

    async def _run(self, daemon: Daemon, wanted: list[Wanted], making: Making, token: str) -> None:
        """Make and start containers of one host, all of them or none."""
        made: list[str] = []

        def make(one: Wanted) -> Any:
            def call(client: Any) -> None:
                container = client.create_container(**one.arguments(client, making))["Id"]
                made.append(container)
                owner = owner_of(client, container, one.image, making.user)
                put_token(client, container, token, owner)
                if one.artifact:
                    put_artifact(client, container, one.artifact, owner)

            return call

        try:
            for one in wanted:
                await _settled(daemon.ask(make(one)))
            for container in made:
                await _settled(
                    daemon.ask(lambda client, container=container: client.start(container))  # type: ignore[misc]
                )
        except BaseException:
            # Also where the start was given up: nothing of it is left.
            await asyncio.shield(self._begin(self._undo(daemon, made)))
            raise

    async def _undo(self, daemon: Daemon, made: list[str]) -> None:
        for container in list(made):
            try:
                await daemon.ask(
                    lambda client, container=container: client.remove_container(  # type: ignore[misc]
                        container, v=True, force=True
                    )
                )
            except DaemonError as error:
                if error.status != 404:
                    log.warning("what was made of a start that failed stays: %s", error)

    def _ports(
        self, graph: str, there: tuple[Container, ...], have: tuple[Container, ...], host: str
    ) -> list[int]:
        """The host's ports to try for a frontend: that which it had, then those that no frontend of
        ours has, from one that the graph's name chooses."""
        first, last = self._settings.ports
        count = last - first + 1
        offset = zlib.crc32(f"{self._settings.engine} {graph}".encode())
        taken = {one.number_of("port") for one in there if one.graph != graph}
        before = [one.number_of("port") for one in have if one.host == host]
        found = [*before, *(first + (offset + step) % count for step in range(count))]
        found = [port for port in dict.fromkeys(found) if port and port not in taken]
        if not found:
            raise PlatformError(
                f"host {host}: all ports from {first} to {last} are those of other frontends; "
                "widen the engine's 'ports'"
            )
        return found

    # --- stopping ---------------------------------------------------------------------------

    async def stop_pair(self, graph: str, index: int, number: int) -> None:
        """As of the protocol. On a host that is silent it is taken away when the host answers."""
        async with self._lock((graph, index, number)):
            await self._stop(graph, (index, number))

    async def stop(self, graph: str) -> None:
        """As of the protocol, with the graph's networks; as :meth:`stop_pair`."""
        silent = await self._stop(graph, None)
        labels = network_labels(self._settings.engine, graph)
        await asyncio.gather(
            *(
                remove_networks(daemon, labels)
                for daemon in self._daemons.values()
                if daemon.name not in silent
            )
        )

    async def _stop(self, graph: str, key: tuple[int, int] | None) -> Mapping[str, str]:
        survey = await self._survey()
        if survey.silent:
            self._generation = max(self._generation + 1, time.time_ns())
            self._swept[graph, key] = self._generation
        there = (one for found in survey.answering.values() for one in found)
        await self._remove(list(_of((graph, key), there)))
        return survey.silent

    async def _remove(self, containers: Iterable[Container]) -> None:
        """Stop containers, TERM then KILL, and remove them; those that are gone are no error."""
        grace = self._settings.stop_grace

        def remove(one: Container) -> Any:
            def call(client: Any) -> None:
                from docker.errors import APIError

                try:
                    if one.runs:
                        client.stop(one.id, timeout=grace)
                    client.remove_container(one.id, v=True, force=True)
                except APIError as error:
                    gone = error.status_code == 404
                    # Somebody else removes it.
                    if not gone and "in progress" not in str(error.explanation):
                        raise

            return call

        await asyncio.gather(
            *(self._daemons[one.host].ask(remove(one), CALL_TIMEOUT + grace) for one in containers)
        )

    # --- logs -------------------------------------------------------------------------------

    async def tail(self, graph: str, index: int, number: int, part: Part, lines: int) -> str:
        """As of the protocol."""
        survey = await self._survey()
        found = self._sorted(survey)[0].get((graph, index, number if index else 0), ())
        wanted = part.value if index else FRONTEND
        for one in sorted(found, key=lambda one: one.number_of("replica")):
            if one.part == wanted:
                if one.host in survey.silent:
                    raise PlatformError(survey.silent[one.host])
                return await self._log(one, lines)
        raise PlatformError(f"graph {graph} has no container of node {index} that is its {wanted}")

    async def _log(self, container: Container, lines: int) -> str:
        count = max(1, min(lines, MOST_LINES))

        def read(client: Any) -> bytes:
            said: bytes = client.logs(container.id, tail=count)
            return said[-MOST_LOG:]

        said = await self._daemons[container.host].ask(read, LOOK_TIMEOUT)
        return said.decode(errors="replace")


async def _settled(work: Coroutine[Any, Any, None]) -> None:
    """Await what is begun in a thread, also where this is cancelled: who tidies up afterwards has
    to see what came of it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _of(
    key: tuple[str, tuple[int, int] | None], containers: Iterable[Container]
) -> Iterable[Container]:
    graph, pair = key
    return (one for one in containers if one.graph == graph and pair in (None, one.key))


def _count(found: tuple[Container, ...]) -> int:
    """How many containers the pair was started with."""
    return found[0].number_of("models") + 1 if found else 0


def _load(proxy: Container) -> float:
    try:
        return float(proxy.label("load") or 1)
    except ValueError:
        return 1.0


def _runs(found: tuple[Container, ...], digest: str, count: int) -> bool:
    return (
        len(found) == count > 0
        and all(one.runs for one in found)
        and found[0].label("digest") == digest
    )


def _pair_found(found: tuple[Container, ...]) -> PairFound:
    head = found[0]
    proxy, *models = head.label("addresses").split(",")
    # A proxy may only follow its model: what the model says comes first.
    parts = sorted(found, key=lambda one: (one.part == Part.PROXY.value, one.name))
    failures = [one.failure for one in parts if one.failure]
    missing = _count(found) - len(found)
    if missing:
        there = ", ".join(one.name for one in found)
        failures.append(f"{missing} of its containers are gone; there are {there}")
    place = PairPlace(proxy, tuple(models))
    return PairFound(place, head.host, head.label("digest"), "; ".join(failures))


def _frontend_found(one: Container) -> FrontendFound:
    return FrontendFound(one.address, one.label("url"), one.host, one.failure)


def _need_token(graph: str, token: str) -> None:
    if not token:
        raise PlatformError(
            f"graph {graph} has no token: what listens in containers can be reached by others"
        )


def _is_address_taken(error: DaemonError) -> bool:
    return str(error).endswith("Address already in use")


def _is_port_taken(error: DaemonError) -> bool:
    text = str(error)
    return "port is already allocated" in text or "bind: address already in use" in text


async def _published(daemon: Daemon) -> str:
    """The IPv4 address on which a frontend listens on its host."""
    import socket

    host = daemon.host
    if host.publish:
        return host.publish
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOK_TIMEOUT):
            found = await loop.getaddrinfo(host.reached_at, None, family=socket.AF_INET)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise PlatformError(
            f"host {host.name}: its address {host.reached_at} is not known ({error}); set its "
            "'publish' to the IPv4 address that frontends are to listen on"
        ) from None
    return str(found[0][4][0])
