"""A Docker daemon of the tests' own, with images that are made here: no registry is asked."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.containers.local_images import PYTHON, SITE, write_node_image, write_python_image
from udgl.targets._pairs import NODE_IMAGE

FLAGS = (
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--storage-driver=overlay2",
)
"""What lets it start where the machine's own packet filter is not to be touched."""

GRAPH = """\
meta
name Hello
version 1
operator Greet
image test/greet:1
replicas 2
batch 8
operator Count
image test/count:1
stateful Yes
logical flow
distribute
Greet -> Count
"""
"""What the tests run: of the models in ``models.py``."""

STARTS, START_TIMEOUT = 3, 45.0

MODEL_DOCKERFILE = """\
FROM {base}
COPY models.py /models/
ENV EARG_ENTRYPOINT=models:{name}
"""


@dataclass(frozen=True)
class DockerHost:
    """A daemon that runs."""

    socket: Path

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0"}

    def run(self, *command: str, cwd: Path | None = None, timeout: float = 120) -> str:
        """The output of a command that asks this daemon; fails where the command does."""
        done = subprocess.run(
            command,
            env=self.environment(),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def make_node_image(self, folder: Path) -> None:
        """``hogar/node`` from this machine's own parts."""
        archive = folder / "node.tar"
        write_node_image(archive, {})
        settings = (
            # Debian's Python looks for packages elsewhere than others do.
            f"ENV PATH={PYTHON}/bin:/bin PYTHONHOME={PYTHON} PYTHONPATH={SITE} "
            f"LD_LIBRARY_PATH={PYTHON}/lib "
            "PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GRPC_VERBOSITY=ERROR EARG_FOLDER=/models"
        )
        changes = [settings, "WORKDIR /models", 'CMD ["python", "-m", "earg.model"]']
        options = [part for change in changes for part in ("--change", change)]
        self.run("docker", "import", *options, str(archive), NODE_IMAGE)
        archive.unlink()

    def make_python_image(self, folder: Path, image: str, certificates: Path | None) -> None:
        """What ``docker/Dockerfile`` can be built on, from this machine's own parts."""
        archive = folder / "python.tar"
        write_python_image(archive, certificates)
        settings = f"ENV PATH={PYTHON}/bin:/bin LD_LIBRARY_PATH={PYTHON}/lib"
        self.run("docker", "import", "--change", settings, str(archive), image)
        archive.unlink()

    def make_model_image(
        self, folder: Path, image: str, models: Path, name: str, base: str = NODE_IMAGE
    ) -> None:
        """A model's image, in the three lines that a user writes."""
        folder.mkdir()
        shutil.copy(models, folder / "models.py")
        text = MODEL_DOCKERFILE.format(base=base, name=name)
        (folder / "Dockerfile").write_text(text)
        self.run("docker", "build", "-q", "-t", image, ".", cwd=folder)


def start_daemon(
    command: Sequence[str], folder: Path, flags: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start ``dockerd`` by that command, with all that it has in ``folder``, and wait until it
    answers; skips where it does not. It gives its containerd 15 s, which is little on a machine
    that does much else, so it is tried three times."""
    host, log = DockerHost(folder / "docker.sock"), folder / "dockerd.log"
    for _ in range(STARTS):
        (folder / "pid").unlink(missing_ok=True)
        with log.open("ab") as output:
            daemon = subprocess.Popen(
                [
                    *command,
                    *FLAGS,
                    f"--data-root={folder / 'data'}",
                    f"--exec-root={folder / 'exec'}",
                    f"--pidfile={folder / 'pid'}",
                    f"--host=unix://{host.socket}",
                    *flags,
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and daemon.poll() is None:
            asked = subprocess.run(
                ["docker", "info"], env=host.environment(), capture_output=True, check=False
            )
            if asked.returncode == 0:
                return daemon
            time.sleep(0.2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()
    last = log.read_text(errors="replace").splitlines()[-1:]
    pytest.skip(f"dockerd does not start on this machine: {' '.join(last)[:300]}")


def compose_command() -> list[str]:
    """Docker Compose, as a plugin or by itself; skips where there is none."""
    if shutil.which("docker"):
        asked = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("no Docker Compose here: apt-get install docker-compose")


@contextlib.contextmanager
def docker_host(folder: Path) -> Iterator[DockerHost]:
    """A daemon with its data in ``folder``; skips where none can be started."""
    if not shutil.which("dockerd") or not shutil.which("docker") or os.geteuid() != 0:
        pytest.skip("no dockerd to start here: apt-get install docker.io, and be root")
    daemon = start_daemon(["dockerd"], folder)
    try:
        yield DockerHost(folder / "docker.sock")
    finally:
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
        # The daemon leaves it mounted, and pytest could not remove the folder.
        left = str(folder / "exec/netns/default")
        subprocess.run(["umount", "-l", left], capture_output=True, check=False)
        # Some hundred megabytes, which pytest would keep.
        shutil.rmtree(folder / "data", ignore_errors=True)
