"""The containers of a graph: what they are told when they are made, and what they say of
themselves.

An engine keeps nothing. All that it has to know of a container stands in its labels; containers
without the engine's mark are not touched. What a process finds in its environment is what the
compile target ``compose`` writes, but for names: here everybody is known by an IPv4 address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from earg.artifact import VARIABLE
from earg.images import Implementation
from earg.plan import Plan
from earg.platform import PairOrder, Part
from hogar_provider.engines.docker_names import plain_name, short_mark
from hogar_provider.engines.trained import FOLDER, trained_folder
from udgl.targets._manifest import MANAGER, label_name, label_value
from udgl.targets._pairs import HTTP_PORT, METRICS_PORT, MODEL_PORT, PROXY_PORT

SECRETS = "/run/secrets"
TOKEN_FILE = f"{SECRETS}/token"
"""Where a process finds the token. It is a file that is copied in, so that whoever may inspect
containers does not read it there."""

FRONTEND = "frontend"

OWN_MEMORY = 2**30
"""Most bytes of memory of a proxy or a frontend."""

LOG_OPTIONS = {"max-size": "16m", "max-file": "3"}
"""How long the logs of a container may be, where the daemon keeps them as files."""

SECOND = 10**9
"""Docker counts a check's times in nanoseconds."""

RUNNING = frozenset({"running", "restarting", "paused"})
"""States of a container that Docker keeps running."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a pair asks of its host: ``cpu`` cores and ``memory`` in bytes of each model (None: as
    much as it gets), ``gpu`` of each model, how many models, and the label of the hosts."""

    cpu: float | None = None
    memory: int | None = None
    gpu: int = 0
    models: int = 1
    host: str | None = None

    @property
    def gpus(self) -> int:
        """Of all models."""
        return self.gpu * self.models

    @property
    def load(self) -> float:
        """Cores by which pairs are spread; one that names none counts for one."""
        return (1.0 if self.cpu is None else self.cpu) * self.models


def needs_of(order: PairOrder) -> Needs:
    """What a pair asks for."""
    own = order.plan.extras.of(order.index)
    return Needs(
        cpu=getattr(own, "cpu", None),
        memory=getattr(own, "memory", None),
        gpu=getattr(own, "gpu", None) or 0,
        models=own.replicas,
        host=getattr(own, "host", None),
    )


# --- what there is ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Container:
    """One of the engine's containers. ``failure`` is empty while it runs, else it says how it
    ended. What Docker's own check says of it is for people: a model that takes its time to start is
    no failure, and whether one answers is for its proxy to say."""

    host: str
    id: str
    name: str
    state: str
    labels: Mapping[str, str] = field(repr=False)
    failure: str = ""

    def label(self, name: str) -> str:
        """One of our own labels."""
        return self.labels.get(f"{MANAGER}/{name}", "")

    def number_of(self, name: str) -> int:
        """One of our own labels that is a number."""
        text = self.label(name)
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0

    @property
    def graph(self) -> str:
        """The graph's name."""
        return self.label("graph")

    @property
    def key(self) -> tuple[int, int]:
        """Index and number of its pair; (0, 0) is the frontend."""
        return self.number_of("index"), self.number_of("number")

    @property
    def part(self) -> str:
        """``model``, ``proxy`` or ``frontend``."""
        return self.label("part")

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return self.label("address")

    @property
    def generation(self) -> int:
        """Grows with every start of the pair; all containers of one start have the same."""
        return self.number_of("generation")

    @property
    def runs(self) -> bool:
        """Whether Docker keeps it running."""
        return self.state in RUNNING


def container_of(host: str, listed: Mapping[str, Any]) -> Container:
    """A container as the daemon lists it."""
    names = listed.get("Names") or [listed["Id"][:12]]
    state, status = str(listed.get("State", "")), str(listed.get("Status", ""))
    name = names[0].lstrip("/")
    labels = listed.get("Labels") or {}
    part = labels.get(f"{MANAGER}/part", "")
    failure = ""
    if state != "running":
        failure = f"{part} container {name}: {status or state}"
    return Container(host, listed["Id"], name, state, labels, failure)


def explained(container: Container, state: Mapping[str, Any]) -> str:
    """Why a container does not run, from its inspected ``State``."""
    said = container.failure
    if state.get("OOMKilled"):
        said += "; it was killed as it used more memory than it may (OOM)"
    elif state.get("Status") in ("restarting", "exited", "dead") and "(" not in said:
        said += f"; exit code {state.get('ExitCode')}"
    return said + (f"; {state['Error']}" if state.get("Error") else "")


# --- what they are told -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Making:
    """What all containers of one start have in common. ``mark`` is the engine's, ``network`` the
    name of the Docker network, ``user`` as whom they run, empty for the image's own. ``log_files``
    is whether the daemon keeps logs as files, ``init`` whether it has an init process."""

    mark: str
    graph: str
    version: str
    network: str
    generation: int
    user: str
    log_files: bool
    init: bool

    @property
    def stem(self) -> str:
        """How the names of all containers begin."""
        return f"hogar-{short_mark(self.mark)}-{plain_name(self.graph)}"

    def labels(self, name: str, version: str, own: Mapping[str, str]) -> dict[str, str]:
        """A container's labels."""
        common = {
            "app.kubernetes.io/name": label_value(name),
            "app.kubernetes.io/version": label_value(version),
            "app.kubernetes.io/part-of": label_value(self.graph),
            "app.kubernetes.io/managed-by": MANAGER,
        }
        ours = {
            "engine": self.mark,
            "graph": self.graph,
            "version": self.version,
            "generation": str(self.generation),
            **own,
        }
        return common | {f"{MANAGER}/{key}": value for key, value in ours.items()}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A container that is to be made. ``files`` are copied into it before it starts: paths of
    files or folders of this machine by where they go."""

    name: str
    image: str
    address: str
    environment: Mapping[str, str] = field(repr=False)
    labels: Mapping[str, str] = field(repr=False)
    command: tuple[str, ...] = ()
    check: Mapping[str, Any] | None = None
    of_ours: bool = False
    cpu: float | None = None
    memory: int | None = None
    gpus: tuple[str, ...] = ()
    published: tuple[str, int] | None = None
    artifact: str = ""

    def arguments(self, client: Any, making: Making) -> dict[str, Any]:
        """The arguments of the SDK's ``create_container``."""
        host: dict[str, Any] = {
            "network_mode": making.network,
            # After a restart of the host all come back.
            "restart_policy": {"Name": "unless-stopped"},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
        }
        if self.of_ours:
            # As process 1 a program that is still starting would not hear TERM. Of a model's
            # image it would hide that Docker cannot start what it names.
            host["init"] = making.init
            host |= {"read_only": True, "tmpfs": {"/tmp": ""}}  # noqa: S108  of the container's own
        if self.cpu is not None:
            host["nano_cpus"] = max(1, round(self.cpu * SECOND))
        if self.memory is not None:
            host["mem_limit"] = self.memory
        if self.gpus:
            from docker.types import DeviceRequest

            host["device_requests"] = [
                DeviceRequest(driver="nvidia", device_ids=list(self.gpus), capabilities=[["gpu"]])
            ]
        if making.log_files:
            from docker.types import LogConfig

            host["log_config"] = LogConfig(type="json-file", config=dict(LOG_OPTIONS))
        found: dict[str, Any] = {
            "image": self.image,
            "name": self.name,
            "hostname": self.name[-63:].lstrip("-"),
            "environment": dict(self.environment),
            "labels": dict(self.labels),
            # A folder that can be written before the start, also of a container that is read-only.
            "volumes": [SECRETS],
            # Proxies of the user's own would come between the processes.
            "use_config_proxy": False,
        }
        if making.user:
            found["user"] = making.user
        if self.command:
            found["command"] = list(self.command)
        if self.check is not None:
            found["healthcheck"] = dict(self.check)
        if self.published is not None:
            found["ports"] = [HTTP_PORT]
            host["port_bindings"] = {HTTP_PORT: self.published}
        endpoint = client.create_endpoint_config(ipv4_address=self.address)
        return found | {
            "host_config": client.create_host_config(**host),
            "networking_config": client.create_networking_config({making.network: endpoint}),
        }


def check_of(test: Iterable[str]) -> dict[str, Any]:
    """A container's check, as the compile target ``compose`` has it, but rarer: each starts a
    program, which takes its time on a busy host, and the wiring asks twice a second."""
    return {
        "test": ["CMD", *test],
        "interval": 60 * SECOND,
        "timeout": 30 * SECOND,
        "retries": 3,
        "start_period": 60 * SECOND,
    }


def pair_of(
    making: Making,
    order: PairOrder,
    node_image: str,
    addresses: tuple[str, ...],
    gpus: tuple[str, ...] = (),
) -> list[Wanted]:
    """The containers of a pair: its models, then its proxy, whose address is the first one."""
    spec, needs = order.spec, needs_of(order)
    runs = order.plan.implementation(order.index, order.implementation)
    proxy, *models = addresses
    stem = f"{making.stem}-{order.index}-{label_name(spec.name)}-{order.number}"
    own = {
        "operator": spec.name,
        "index": str(order.index),
        "number": str(order.number),
        "digest": order.digest,
        "models": str(needs.models),
        "load": f"{needs.load:g}",
        "addresses": ",".join(addresses),
    }
    artifact = trained_folder(order.plan, order.index, runs)
    wanted = []
    for replica, address in enumerate(models):
        mine = gpus[replica * needs.gpu : (replica + 1) * needs.gpu]
        told = {
            "part": Part.MODEL.value,
            "replica": str(replica),
            "address": address,
            "gpus": ",".join(mine),
        }
        suffix = f"-{replica + 1}" if replica else ""
        environment = _model_environment(spec.name, spec.version, runs, proxy, address)
        if artifact:
            environment[VARIABLE] = FOLDER
        wanted.append(
            Wanted(
                f"{stem}-model{suffix}",
                spec.image,
                address,
                environment,
                making.labels(spec.name, spec.version, own | told),
                cpu=needs.cpu,
                memory=needs.memory,
                gpus=mine,
                artifact=artifact,
            )
        )
    environment = {
        "PROXY_NAME": proxy,
        "PROXY_PORT": str(PROXY_PORT),
        "METRICS_PORT": str(METRICS_PORT),
        **_common(proxy),
        # Docker restarts a model alone, with an empty state; an agent never does.
        **({"FENCED": "true"} if spec.stateful else {}),
    }
    told = {"part": Part.PROXY.value, "address": proxy}
    wanted.append(
        Wanted(
            f"{stem}-proxy",
            node_image,
            proxy,
            environment,
            making.labels(spec.name, spec.version, own | told),
            command=("python", "-m", "earg.proxy"),
            # Whether what is behind it is ready is for the wiring to judge.
            check=check_of(("earg", "ready", "--alive")),
            of_ours=True,
            memory=OWN_MEMORY,
        )
    )
    return wanted


def _model_environment(
    name: str, version: str, runs: Implementation, proxy: str, address: str
) -> dict[str, str]:
    found = dict(runs.environment) | {
        "MODEL_NAME": name,
        "MODEL_VERSION": version,
        "MODEL_PORT": str(MODEL_PORT),
        "PROXY_NAME": proxy,
        "PROXY_PORT": str(PROXY_PORT),
        **_common(address),
    }
    if runs.entrypoint:
        found["EARG_ENTRYPOINT"] = runs.entrypoint
    return found


def _common(address: str) -> dict[str, str]:
    return {"LISTEN_IP": address, "EARG_TOKEN_FILE": TOKEN_FILE}


def frontend_digest(version: str, plan: Plan) -> str:
    """Of all that a frontend is told when it starts."""
    told = repr((version, [node.name for node in plan.config.nodes]))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def frontend_of(
    making: Making, plan: Plan, node_image: str, address: str, published: tuple[str, int], url: str
) -> Wanted:
    """The container of a frontend. Where its entry is, the wiring tells it."""
    told = {
        "part": FRONTEND,
        "index": "0",
        "number": "0",
        "digest": frontend_digest(making.version, plan),
        "address": address,
        "port": str(published[1]),
        "url": url,
    }
    environment = {
        "PROXY_PORT": str(PROXY_PORT),
        "HTTP_PORT": str(HTTP_PORT),
        # Nobody, until then.
        "ENTRY_PROXY_NAME": "127.0.0.1",
        "ENTRY_PROXY_PORT": str(PROXY_PORT),
        "GRAPH_NAME": making.graph,
        "GRAPH_VERSION": making.version,
        "NODE_NAMES": ",".join(["", *(node.name for node in plan.config.nodes)]),
        **_common(address),
    }
    ready = f"http://{address}:{HTTP_PORT}/v2/health/live"
    ask = f"import urllib.request as u; u.urlopen('{ready}', timeout=5)"
    return Wanted(
        f"{making.stem}-frontend",
        node_image,
        address,
        environment,
        making.labels(making.graph, making.version, told),
        command=("python", "-m", "earg.frontend"),
        check=check_of(("python", "-c", ask)),
        of_ours=True,
        memory=OWN_MEMORY,
        published=published,
    )
