"""The engine ``docker``: nodes are containers of one Docker host or several.

The connection's extra names the hosts, each by a connection of type ``docker``, which has the
daemon's URL and the login of a registry. Airflow's processes read them; the engine's agent gets
what it needs on its standard input.
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hogar_provider.engines.connection import COMMON
from hogar_provider.engines.docker_settings import (
    LOCAL_SOCKET,
    DockerHost,
    DockerSettings,
    SettingsError,
    host_of,
    settings_of,
)
from hogar_provider.exceptions import AirflowException, AirflowNotFoundException

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.home import Home
    from hogar_provider.engines.connection import EngineConnection

NAME = "docker"

DEFAULT_CONNECTION = "docker_default"

PLAIN = ("node_image", "pull", "network", "user", "dead_after", "stop_grace", "pool")
"""Keys of the extra that are settings as they are."""

KEYS = ("hosts", "docker_conn_id", "ports", "engine_id", *PLAIN)
"""Keys of the extra that are this engine's own."""

HOST_KEYS = ("docker_conn_id", "url", "labels", "gpus", "subnet", "address", "publish")
"""What the extra may say of a host beside its connection."""

EXAMINE_TIMEOUT = 10
"""Seconds for a host to answer the test of a connection."""


@dataclass(frozen=True, slots=True)
class DockerEngine:
    """As :class:`hogar_provider.engines.engine.Engine` has it. ``start`` is whether an agent may
    be started where none runs."""

    home: Home
    settings: DockerSettings
    start: bool = True
    name: str = NAME
    runs_images: bool = True

    @property
    def token(self) -> str:
        """The connection's password, else that which was made for this engine."""
        from hogar_provider.engines.token import token_in

        return self.settings.token or token_in(self.home)

    def connect(self, start: bool = True) -> AgentClient:
        """As of the protocol."""
        from earg.client import AgentError, NoAgentError
        from earg.home import HomeError
        from hogar_provider.engines.agent_start import connect_to
        from hogar_provider.engines.token import make_token

        starts = start and self.start
        try:
            if starts and not self.settings.token:
                make_token(self.home)
            return connect_to(self.home, NAME, self.settings.to_json(), starts)
        except NoAgentError as error:
            if self.start or not start:
                raise
            raise NoAgentError(f"{error}, and the connection forbids to start one") from None
        except (HomeError, OSError) as error:
            raise AgentError(str(error)) from None

    def examine(self) -> tuple[bool, str]:
        """As of the protocol: every daemon is asked, and logs in to its registry."""
        from hogar_provider.engines.docker_daemon import examine, reason_of

        told, well = [], True
        for host in self.settings.hosts:
            try:
                told.append(f"Docker {examine(host, EXAMINE_TIMEOUT)} answers on host {host.name}")
            except Exception as error:
                # The SDK, the daemon, the system and the registry each have their own.
                well = False
                told.append(f"Host {host.name} ({host.url}): {reason_of(error)}".rstrip("."))
        return well, ". ".join(told) + "."


def open_engine(said: EngineConnection) -> DockerEngine:
    """The engine of a connection; raises AirflowException where it makes no sense."""
    from earg.home import find_home

    if find_spec("docker") is None:
        raise AirflowException(
            f"Connection {said.conn_id!r}: the engine docker needs Docker's library for Python; "
            "install this provider's extra 'docker'."
        )
    unknown = sorted(str(key) for key in said.extra if key not in (*COMMON, *KEYS))
    if unknown:
        raise said.wrong("a key of the extra", f"one of {', '.join((*COMMON, *KEYS))}", unknown[0])
    folder = re.sub(r"[^\w.-]", "_", said.conn_id)
    home = find_home(said.home or find_home().path / "engines" / folder)
    try:
        hosts = _hosts(said)
        given = {key: said.extra[key] for key in PLAIN if said.extra.get(key) is not None}
        if said.extra.get("ports") is not None:
            given["ports"] = _ports(said.extra["ports"])
        mark = said.extra.get("engine_id") or _mark(folder, home)
        settings = replace(settings_of({"engine": mark, **given}), hosts=hosts, token=said.token)
    except SettingsError as error:
        raise AirflowException(f"Connection {said.conn_id!r}: {error}.") from None
    return DockerEngine(home, settings, said.start)


def _mark(folder: str, home: Home) -> str:
    """By which the engine knows its containers: no other agent has the same."""
    where = f"{socket.gethostname()}:{home.path}"
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", folder).strip("-_.")[:40] or NAME
    return f"{name}-{hashlib.sha256(where.encode()).hexdigest()[:8]}"


def _hosts(said: EngineConnection) -> tuple[DockerHost, ...]:
    given = said.extra.get("hosts")
    if given is None:
        conn_id = said.extra.get("docker_conn_id")
        if conn_id is not None and not isinstance(conn_id, str):
            raise SettingsError("'docker_conn_id' must be the name of a connection")
        return _single(said, conn_id)
    if "docker_conn_id" in said.extra:
        raise SettingsError("'hosts' and 'docker_conn_id' exclude each other")
    if not isinstance(given, Mapping) or not given:
        raise SettingsError(
            "'hosts' must map names to docker connections, such as "
            '{"one": "docker_one", "two": {"docker_conn_id": "docker_two", "gpus": 2}}'
        )
    hosts = []
    for name, value in given.items():
        own = {"docker_conn_id": value} if isinstance(value, str) else value
        if not isinstance(own, Mapping):
            raise SettingsError(f"host {name}: expected a docker connection's name or a mapping")
        strange = [str(key) for key in own if key not in HOST_KEYS]
        if strange:
            raise SettingsError(
                f"host {name}: unknown {strange[0]!r} (known: {', '.join(HOST_KEYS)})"
            )
        conn_id = own.get("docker_conn_id")
        if conn_id is not None and not isinstance(conn_id, str):
            raise SettingsError(f"host {name}: 'docker_conn_id' must be a connection's name")
        hosts.append(_host(said, str(name), own, conn_id, one_of=len(given)))
    return tuple(hosts)


def _single(said: EngineConnection, conn_id: str | None) -> tuple[DockerHost, ...]:
    """One host: that of a connection, or the daemon of this machine."""
    try:
        return (_host(said, NAME, {}, conn_id or DEFAULT_CONNECTION, one_of=1),)
    except AirflowNotFoundException:
        if conn_id:
            raise
        return (DockerHost(NAME),)


def _host(
    said: EngineConnection, name: str, own: Mapping[str, Any], conn_id: str | None, one_of: int
) -> DockerHost:
    """What a host's connection and the extra say of it. The connection's extra has the daemon's
    URL as ``docker_url`` and its TLS as Airflow's DockerOperator calls them."""
    found: dict[str, Any] = {"name": name}
    for key in ("url", "subnet", "address", "publish"):
        if own.get(key) is not None:
            found[key] = own[key]
    if own.get("labels") is not None:
        labels = own["labels"]
        found["labels"] = labels.split(",") if isinstance(labels, str) else labels
        found["labels"] = [one.strip() if isinstance(one, str) else one for one in found["labels"]]
    if own.get("gpus") is not None:
        found["gpus"] = _gpus(name, own["gpus"])
    if conn_id:
        found = _connected(said, name, conn_id) | found
    if "url" not in found:
        if one_of > 1:
            raise SettingsError(
                f"host {name}: where its daemon listens is not said; give its connection the extra "
                "'docker_url', such as tcp://10.0.0.2:2376"
            )
        found["url"] = LOCAL_SOCKET
    host = host_of(found)
    if host.tls is not None and not host.url.startswith(("tcp://", "https://")):
        raise SettingsError(f"host {name}: TLS is for tcp:// and https://, not for {host.url}")
    return host


def _connected(said: EngineConnection, name: str, conn_id: str) -> dict[str, Any]:
    """What a connection of type ``docker`` says of a host."""
    if said.find is None:
        raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")
    connection = said.find(conn_id)
    extra = connection.extra_dejson
    if not isinstance(extra, Mapping):
        raise SettingsError(f"host {name}: the extra of connection {conn_id!r} is no JSON object")
    found: dict[str, Any] = {}
    registry = connection.host or ""
    if registry.startswith(("unix://", "tcp://")):
        # The daemon itself, by a connection that is nobody's registry.
        port = f":{connection.port}" if connection.port else ""
        found["url"], registry = f"{registry}{port}", ""
    if extra.get("docker_url"):
        found["url"] = extra["docker_url"]
    ca, certificate, key = (
        extra.get(f"tls_{part}") or "" for part in ("ca_cert", "client_cert", "client_key")
    )
    if ca or certificate or key:
        if not (ca and certificate and key):
            raise SettingsError(
                f"host {name}: connection {conn_id!r} must have all of tls_ca_cert, "
                "tls_client_cert and tls_client_key, or none"
            )
        verify = str(extra.get("tls_verify", True)).lower() not in ("false", "0", "no", "off")
        found["tls"] = {"ca": ca, "certificate": certificate, "key": key, "verify": verify}
    if registry and connection.login:
        port = f":{connection.port}" if connection.port else ""
        found["login"] = {
            "registry": f"{registry}{port}",
            "username": connection.login,
            "password": connection.password or "",
        }
    return found


def _gpus(name: str, value: Any) -> list[str]:
    if type(value) is int and 0 <= value <= 64:
        return [str(number) for number in range(value)]
    if isinstance(value, (list, tuple)) and all(isinstance(one, (str, int)) for one in value):
        return [str(one) for one in value]
    raise SettingsError(f"host {name}: gpus must be a number or a list of their ids")


def _ports(value: Any) -> list[int]:
    match = re.fullmatch(r"(\d{1,5})\s*-\s*(\d{1,5})", value) if isinstance(value, str) else None
    if match is not None:
        return [int(match[1]), int(match[2])]
    if isinstance(value, (list, tuple)):
        return list(value)
    raise SettingsError("'ports' must be the first and the last port, such as 21000-21999")
