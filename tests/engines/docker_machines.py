"""Two machines with a Docker daemon each, as network namespaces of this one.

A machine has an address on a bridge that joins them and this one, and a subnet of its own for
containers, to which everybody has a route. Killing a machine kills its daemon and all containers
without a word; starting it again finds what its disk holds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom

import pytest

from hogar_provider.engines.docker_settings import DockerHost as EngineHost
from hogar_provider.engines.docker_settings import DockerTls
from tests.containers.docker_host import DockerHost, start_daemon
from tests.earg.authority import Authority

STOP_TIMEOUT = 20.0

TLS_PORT = 2376


def run(*command: str) -> str:
    """The output of a command; fails where the command does."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass
class Machine:
    """One machine; ``address`` is its own, ``subnet`` that of its containers. With an
    ``authority`` its daemon is reached from others, too, by TLS."""

    name: str
    namespace: str
    address: str
    subnet: str
    folder: Path
    authority: Authority | None = field(default=None, repr=False)
    daemon: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def docker(self) -> DockerHost:
        """Its daemon."""
        return DockerHost(self.folder / "docker.sock")

    @property
    def host(self) -> EngineHost:
        """What an engine is told of it: its socket, or where it is reached by TLS."""
        labels = (f"zone={self.name}",)
        if self.authority is None:
            url = f"unix://{self.docker.socket}"
            return EngineHost(
                *(self.name, url, None, None, labels, (), self.subnet, self.address, self.address)
            )
        url = f"tcp://{self.address}:{TLS_PORT}"
        tls = DockerTls(*self._files("client"))
        return EngineHost(self.name, url, tls, labels=labels, subnet=self.subnet)

    def _files(self, who: str) -> tuple[str, str, str]:
        """Authority, certificate and key of the daemon, or of its client."""
        assert self.authority is not None
        folder = self.authority.folder
        return str(self.authority.file), str(folder / f"{who}.pem"), str(folder / f"{who}.key")

    def _tls_flags(self) -> list[str]:
        if self.authority is None:
            return []
        ca, certificate, key = self._files("daemon")
        return [
            *("--tlsverify", f"--tlscacert={ca}", f"--tlscert={certificate}", f"--tlskey={key}"),
            f"--host=tcp://{self.address}:{TLS_PORT}",
        ]

    def start(self) -> None:
        """Start the daemon, and wait until it answers; skips where it does not."""
        # `ip netns exec` would hide the control groups.
        command = ["nsenter", f"--net=/run/netns/{self.namespace}", "dockerd"]
        self.daemon = start_daemon(command, self.folder, self._tls_flags())

    def kill(self) -> None:
        """End everything that runs there, at once."""
        assert self.daemon is not None
        pids = self._containers()
        # The daemon first: it must not start anything again, nor note down how it ended.
        self.daemon.kill()
        self.daemon.wait()
        self.daemon = None
        for pid in [*self._helpers(), *pids]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the daemon, and with it the containers."""
        if self.daemon is None:
            return
        self.daemon.terminate()
        try:
            self.daemon.wait(STOP_TIMEOUT)
            self.daemon = None
        except subprocess.TimeoutExpired:
            self.kill()

    def _containers(self) -> list[int]:
        found = self.docker.run("docker", "ps", "-q").split()
        if not found:
            return []
        return [
            int(p)
            for p in self.docker.run("docker", "inspect", "-f", "{{.State.Pid}}", *found).split()
            if int(p) > 1
        ]

    def _helpers(self) -> list[int]:
        """The daemon's containerd and the shims, which outlive it."""
        mark, found = os.fsencode(self.folder / "exec"), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    said = (entry / "cmdline").read_bytes()
                    if mark in said and said.startswith((b"containerd", b"/usr/bin/containerd")):
                        found.append(int(entry.name))
        return found

    def remove(self) -> None:
        """Take away what is left on this machine's disk and in its kernel."""
        for pid in self._helpers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        for point in sorted((line.split()[1] for line in mounts), reverse=True):
            if point.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", point], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, check=False)


def _need_tools() -> None:
    tools = ("dockerd", "docker", "ip", "nsenter")
    missing = [name for name in tools if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        pytest.skip(
            f"no Docker hosts can be had here (missing: {', '.join(missing) or 'root'}): "
            "apt-get install docker.io iproute2, and be root"
        )


@contextlib.contextmanager
def two_machines(folder: Path) -> Iterator[list[Machine]]:
    """Two machines whose daemons run, the second one reached by TLS as well; skips where they
    cannot be had."""
    _need_tools()
    random = SystemRandom()
    mark, number = f"{random.randrange(16**5):05x}", random.randrange(256)
    bridge, transit = f"hg{mark}b", f"10.214.{number}"
    machines = [
        Machine(name, f"hg{mark}{name}", f"{transit}.{index + 11}", subnet, folder / name)
        for index, (name, subnet) in enumerate(
            (("one", f"10.215.{number}.0/24"), ("two", f"10.216.{number}.0/24"))
        )
    ]
    for machine in machines:
        machine.folder.mkdir()
    remote = machines[1]
    remote.authority = Authority(remote.folder / "tls")
    remote.authority.issue("daemon", remote.address)
    remote.authority.issue("client", "127.0.0.1")
    try:
        try:
            _join(machines, bridge, transit, mark)
        except AssertionError as error:
            pytest.skip(f"no network namespaces can be had here: {error}")
        for machine in machines:
            machine.start()
        yield machines
    finally:
        for machine in machines:
            machine.stop()
        for machine in machines:
            machine.remove()
        subprocess.run(["ip", "link", "del", bridge], capture_output=True, check=False)


def _join(machines: list[Machine], bridge: str, transit: str, mark: str) -> None:
    run("ip", "link", "add", bridge, "type", "bridge")
    run("ip", "addr", "add", f"{transit}.1/24", "dev", bridge)
    run("ip", "link", "set", bridge, "up")
    for index, machine in enumerate(machines):
        outer, inner = f"hg{mark}o{index}", f"hg{mark}i{index}"
        inside = ("ip", "netns", "exec", machine.namespace)
        run("ip", "netns", "add", machine.namespace)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner)
        run("ip", "link", "set", outer, "master", bridge, "up")
        run("ip", "link", "set", inner, "netns", machine.namespace)
        run(*inside, "ip", "link", "set", "lo", "up")
        run(*inside, "ip", "addr", "add", f"{machine.address}/24", "dev", inner)
        run(*inside, "ip", "link", "set", inner, "up")
        run(*inside, "ip", "route", "add", "default", "via", f"{transit}.1")
        run(*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        run("ip", "route", "add", machine.subnet, "via", machine.address)
    for machine, other in (machines, machines[::-1]):
        run(
            *("ip", "netns", "exec", machine.namespace, "ip", "route", "add"),
            *(other.subnet, "via", other.address),
        )


def share_images(source: DockerHost, target: DockerHost, images: tuple[str, ...]) -> None:
    """Let another daemon have images of one."""
    save = subprocess.Popen(
        ["docker", "save", *images], env=source.environment(), stdout=subprocess.PIPE
    )
    with save:
        done = subprocess.run(
            ["docker", "load"],
            env=target.environment(),
            stdin=save.stdout,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert save.returncode == 0 == done.returncode, done.stderr
