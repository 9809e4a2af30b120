"""Hosts in network namespaces of this machine (``ip-netns(8)``), which can be cut off.

Each host is a namespace with one interface, ``eth0``, whose other end is a port of a bridge. The
bridge is in a namespace too, so nothing of it is seen outside, and several networks may have the
same addresses at once.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

NOBODY = "02:00:00:00:00:01"
"""A hardware address that no host has."""


@dataclass(frozen=True)
class Host:
    """A namespace and the one address that it has."""

    name: str
    ip: str
    namespace: str

    def inside(self, *command: str) -> list[str]:
        """The command that runs ``command`` on this host."""
        return ["ip", "netns", "exec", self.namespace, *command]


@dataclass
class Network:
    """Hosts by name, all of which reach each other until they are cut off."""

    switch: str
    hosts: dict[str, Host] = field(default_factory=dict)
    _silenced: set[tuple[str, str]] = field(default_factory=set)

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def add(self, name: str) -> Host:
        """Another host; its name is at most 15 characters."""
        host = Host(name, f"10.98.0.{len(self.hosts) + 1}", f"{self.switch}-{name}")
        ip("netns", "add", host.namespace)
        self.hosts[name] = host
        pair = ("type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        ip("-n", self.switch, "link", "add", name, *pair)
        ip("-n", self.switch, "link", "set", name, "master", "switch", "up")
        ip("-n", host.namespace, "address", "add", f"{host.ip}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            ip("-n", host.namespace, "link", "set", link, "up")
        return host

    def cut_off(self, name: str) -> None:
        """Pull a host's plug."""
        ip("-n", self.switch, "link", "set", name, "down")

    def bring_back(self, name: str) -> None:
        """Put it in again."""
        ip("-n", self.switch, "link", "set", name, "up")

    def silence(self, source: str, target: str) -> None:
        """Nothing that ``source`` sends arrives at ``target`` any more; the other way is open."""
        self._silenced.add((source, target))
        told = (self[target].ip, "lladdr", NOBODY, "nud", "permanent", "dev", "eth0")
        ip("-n", self[source].namespace, "neighbor", "replace", *told)

    def part(self, some: Collection[str], others: Collection[str]) -> None:
        """Neither of ``some`` reaches any of the ``others``, nor the other way round."""
        for one in some:
            for other in others:
                self.silence(one, other)
                self.silence(other, one)

    def mend(self) -> None:
        """All hear each other again, but for those that are cut off."""
        for source, target in self._silenced:
            told = (self[target].ip, "dev", "eth0")
            ip("-n", self[source].namespace, "neighbor", "delete", *told)
        self._silenced.clear()


def ip(*arguments: str) -> str:
    """The output of ``ip``; raises RuntimeError with what it says where it fails."""
    done = subprocess.run(
        ["ip", *arguments], capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def network(names: Sequence[str]) -> Iterator[Network]:
    """A network of hosts; skips where none can be made. Whatever happens, what runs in it is killed
    and the namespaces are taken away."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("no network namespaces here: be root, and apt-get install iproute2")
    made = Network(f"hogar-{secrets.token_hex(4)}")
    try:
        try:
            ip("netns", "add", made.switch)
            ip("-n", made.switch, "link", "add", "switch", "type", "bridge")
        except RuntimeError as error:
            pytest.skip(f"no network namespaces here: {error}")
        ip("-n", made.switch, "link", "set", "switch", "up")
        for name in names:
            made.add(name)
        yield made
    finally:
        for host in made.hosts.values():
            _empty(host.namespace)
        for namespace in (*(host.namespace for host in made.hosts.values()), made.switch):
            with contextlib.suppress(RuntimeError):
                ip("netns", "delete", namespace)


def _empty(namespace: str, patience: float = 5.0) -> None:
    """Kill what runs in a namespace, so that it goes when its name does."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            found = ip("netns", "pids", namespace).split()
        except RuntimeError:
            return
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)
