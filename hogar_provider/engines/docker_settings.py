"""What an engine of Docker hosts is told: its hosts and how to speak to them.

Airflow's connections are read in Airflow's processes; the engine's agent gets this as JSON.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar
from urllib.parse import urlsplit

from udgl.targets._pairs import NODE_IMAGE

LOCAL_SOCKET = "unix:///var/run/docker.sock"

POOL = "10.213.0.0/16"
"""Where the addresses of containers come from, unless the settings say it."""

SHARE_PREFIX, MOST_SHARES = 20, 16
"""Of several hosts each one has, in its turn, a network of this prefix in the pool."""

SCHEMES = ("unix://", "tcp://", "http://", "https://")

USER = "10001:10001"
"""As whom the containers run: the user of the image ``hogar/node``."""

PULL = ("missing", "always", "never")
"""When an image is pulled: where the host lacks it, before every start, or not at all."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./=-]{0,252}\Z")
_USER = re.compile(r"[A-Za-z0-9_.-]{1,64}(?::[A-Za-z0-9_.-]{1,64})?\Z")


class SettingsError(ValueError):
    """Settings that cannot be used, as a sentence."""


@dataclass(frozen=True, slots=True)
class RegistryLogin:
    """Who pulls images of one registry, as a Docker connection of Airflow has it."""

    registry: str
    username: str
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class DockerTls:
    """PEM files on this machine: the daemon's authority, and the certificate and key to show it."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True


@dataclass(frozen=True, slots=True)
class DockerHost:
    """One daemon. Raises :class:`SettingsError` for what makes no sense.

    ``url`` is where it listens (unix:// or tcp://). A node's ``host`` is one of ``labels``, or the
    host's name. ``gpus`` are the ids of its GPUs, as ``nvidia-smi -L`` counts or names them.
    ``subnet`` is where the addresses of its containers come from. Clients reach frontends at
    ``address``, a name or an IP address, and they listen on the IP address ``publish``.
    """

    name: str
    url: str = LOCAL_SOCKET
    tls: DockerTls | None = None
    login: RegistryLogin | None = None
    labels: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    subnet: str = ""
    address: str = ""
    publish: str = ""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise SettingsError(
                f"a host called {self.name[:80]!r}: letters, digits, '_', '.' and '-' are admitted"
            )
        if not self.url.startswith(SCHEMES):
            raise SettingsError(
                f"host {self.name}: its daemon's URL is {self.url[:200]!r}, but begins with one of "
                f"{', '.join(SCHEMES)}"
            )
        for label in self.labels:
            if not _LABEL.match(label):
                raise SettingsError(f"host {self.name}: {label[:80]!r} is no label")
        if self.subnet:
            network_of(self.subnet, f"host {self.name}: subnet")
        if self.publish:
            try:
                ipaddress.IPv4Address(self.publish)
            except ValueError:
                raise SettingsError(
                    f"host {self.name}: publish must be an IPv4 address of the host, or 0.0.0.0, "
                    f"not {self.publish[:80]!r}"
                ) from None

    @property
    def is_local(self) -> bool:
        """Whether the daemon is reached by a socket file: it is on this machine then."""
        return self.url.startswith("unix://")

    @property
    def reached_at(self) -> str:
        """The name or address under which clients reach a frontend there."""
        if self.address:
            return self.address
        if self.is_local:
            return "127.0.0.1"
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """All that the engine is told. Raises :class:`SettingsError` for what makes no sense.

    ``engine`` marks its containers: nothing without this mark is touched. ``network`` is an
    existing network of all hosts to use in place of one a graph. ``user`` is as whom containers
    run, empty for each image's own. ``ports`` are the first and last host port of frontends. A host
    is dead when it has not answered for ``dead_after`` seconds. Who is to stop has ``stop_grace``
    seconds from TERM to KILL. ``token`` is what processes show each other, empty where the agent
    has one of its own.
    """

    engine: str
    hosts: tuple[DockerHost, ...] = (DockerHost("docker"),)
    node_image: str = NODE_IMAGE
    pull: str = PULL[0]
    network: str = ""
    user: str = USER
    ports: tuple[int, int] = (21000, 21999)
    dead_after: float = 10.0
    stop_grace: int = 10
    pool: str = POOL
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not _NAME.match(self.engine):
            raise SettingsError(f"an engine called {self.engine[:80]!r}")
        if not self.hosts:
            raise SettingsError("the engine has no hosts")
        names = [host.name for host in self.hosts]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingsError(f"two hosts are called {twice[0]}")
        if self.pull not in PULL:
            raise SettingsError(f"pull must be one of {', '.join(PULL)}, not {self.pull[:80]!r}")
        if self.user and not _USER.match(self.user):
            raise SettingsError(f"user must be as in 10001:10001, not {self.user[:80]!r}")
        first, last = self.ports
        if not 1 <= first <= last <= 65535:
            raise SettingsError(f"ports must be two of 1 to 65535, not {first}-{last}")
        if not 0 < self.dead_after <= 3600:
            raise SettingsError("dead_after must be above 0 and at most 3600 seconds")
        if not 0 <= self.stop_grace <= 600:
            raise SettingsError("stop_grace must be from 0 to 600 whole seconds")
        network_of(self.pool, "pool")
        bare = [host.name for host in self.hosts if not host.subnet]
        if len(self.hosts) > MOST_SHARES and bare and not self.network:
            raise SettingsError(
                f"of more than {MOST_SHARES} hosts each needs a 'subnet'; {bare[0]} has none"
            )

    def subnet_of(self, name: str) -> ipaddress.IPv4Network:
        """Where the addresses of a host's containers come from."""
        index = next(i for i, host in enumerate(self.hosts) if host.name == name)
        if self.hosts[index].subnet:
            return ipaddress.IPv4Network(self.hosts[index].subnet)
        pool = ipaddress.IPv4Network(self.pool)
        if len(self.hosts) == 1:
            return pool
        prefix = max(SHARE_PREFIX, pool.prefixlen + MOST_SHARES.bit_length() - 1)
        return list(pool.subnets(new_prefix=prefix))[index]

    def to_json(self) -> str:
        """The text that :func:`read_settings` reads. It holds the secrets."""
        return json.dumps(asdict(self), allow_nan=False)


def network_of(text: str, what: str) -> ipaddress.IPv4Network:
    """An IPv4 network of at least 16 addresses; raises :class:`SettingsError`."""
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise SettingsError(f"{what}: {error}") from None
    if found.prefixlen > 28:
        raise SettingsError(f"{what}: {text} has fewer than 16 addresses")
    return found


def read_settings(text: str) -> DockerSettings:
    """Read what :meth:`DockerSettings.to_json` has written; raises :class:`SettingsError`."""
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"the settings are no JSON: {error}") from None
    return settings_of(loaded)


def settings_of(value: Any) -> DockerSettings:
    """The settings of a mapping; raises :class:`SettingsError` that names what is wrong."""
    read: dict[str, Callable[[str, Any], Any]] = {
        "engine": _text,
        "hosts": lambda what, hosts: tuple(host_of(host) for host in _list(what, hosts)),
        "node_image": _text,
        "pull": _text,
        "network": _text,
        "user": _text,
        "ports": _ports,
        "dead_after": _number,
        "stop_grace": _whole,
        "pool": _text,
        "token": _text,
    }
    return _make(DockerSettings, "the settings", value, read)


def host_of(value: Any) -> DockerHost:
    """A host of a mapping; raises :class:`SettingsError`."""
    name = value.get("name") if isinstance(value, Mapping) else ""
    return _make(
        DockerHost,
        f"host {str(name)[:80]}",
        value,
        {
            **dict.fromkeys(("name", "url", "subnet", "address", "publish"), _text),
            **dict.fromkeys(("labels", "gpus"), texts),
            "tls": lambda what, tls: None if tls is None else _tls(what, tls),
            "login": lambda what, login: None if login is None else _login(what, login),
        },
    )


def _tls(what: str, value: Any) -> DockerTls:
    read = {**dict.fromkeys(("ca", "certificate", "key"), _text), "verify": _truth}
    return _make(DockerTls, what, value, read)


def _login(what: str, value: Any) -> RegistryLogin:
    return _make(
        RegistryLogin, what, value, dict.fromkeys(("registry", "username", "password"), _text)
    )


_T = TypeVar("_T")


def _make(
    kind: type[_T], what: str, value: Any, read: Mapping[str, Callable[[str, Any], Any]]
) -> _T:
    if not isinstance(value, Mapping):
        raise SettingsError(f"{what}: expected a mapping")
    unknown = [str(key)[:80] for key in value if key not in read]
    if unknown:
        raise SettingsError(f"{what}: unknown {unknown[0]!r} (known: {', '.join(read)})")
    needed = [one.name for one in fields(kind) if one.name not in value and not _has_default(one)]  # type: ignore[arg-type]
    if needed:
        raise SettingsError(f"{what}: {needed[0]!r} is missing")
    return kind(**{key: read[key](f"{what}: {key}", given) for key, given in value.items()})


def _has_default(one: Any) -> bool:
    from dataclasses import MISSING

    return one.default is not MISSING or one.default_factory is not MISSING


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise SettingsError(f"{what}: expected text")
    return value


def _truth(what: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{what}: expected true or false")
    return value


def _number(what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SettingsError(f"{what}: expected a number")
    return float(value)


def _whole(what: str, value: Any) -> int:
    if type(value) is not int:
        raise SettingsError(f"{what}: expected a whole number")
    return value


def _list(what: str, value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise SettingsError(f"{what}: expected a list")
    return list(value)


def texts(what: str, value: Any) -> tuple[str, ...]:
    """A tuple of texts; raises :class:`SettingsError`."""
    return tuple(_text(what, one) for one in _list(what, value))


def _ports(what: str, value: Any) -> tuple[int, int]:
    found = _list(what, value)
    if len(found) != 2 or not all(type(one) is int for one in found):
        raise SettingsError(f"{what}: expected the first and the last port")
    return found[0], found[1]
