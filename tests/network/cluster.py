"""A graph whose processes are on hosts of a network, and what starts those anew that end."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from earg.config import MODEL_PORT, PROXY_PORT
from tests.network.hosts import Network

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
HTTP_PORT = 8500

CONFIG = "2\n1\nPass,1,image,false,8\nCount,1,image,true,4\ndist[1->2]\n"

FRONT, WIRING, PASS, LEFT, RIGHT = "front", "wiring", "pass", "left", "right"
HOSTS = (FRONT, WIRING, PASS, LEFT, RIGHT)
"""The frontend and its client, the wiring, the first node, and the two pairs of the second."""


@dataclass(frozen=True)
class Reply:
    """What the client got: ``count`` and ``instance`` are 0 and empty where it was none."""

    request: str
    sent: float
    at: float
    status: int
    text: str

    @property
    def count(self) -> int:
        return int(self.text.split()[0]) if self.status == 200 else 0

    @property
    def instance(self) -> str:
        return self.text.split()[1] if self.status == 200 else ""


@dataclass
class Cluster:
    """The processes by host and kind. Proxies that end are started anew, as a platform does."""

    network: Network
    folder: Path
    processes: dict[tuple[str, str], subprocess.Popen[bytes]] = field(default_factory=dict)
    ends: list[tuple[str, int]] = field(default_factory=list)
    """Which host's proxy has ended with which code."""
    _stopping: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None

    def start_all(self) -> None:
        (self.folder / "token").write_text(secrets.token_hex(32))
        (self.folder / "token").chmod(0o600)
        (self.folder / "graph.earg").write_text(CONFIG)
        where = {name: self.network[name].ip for name in HOSTS}
        pairs = {
            name: [{"proxy": where[host], "models": [where[host]]} for host in hosts]
            for name, hosts in {"Pass": [PASS], "Count": [LEFT, RIGHT]}.items()
        }
        places = {"name": "g", "version": "1", "frontend": where[FRONT], "nodes": pairs}
        (self.folder / "places.json").write_text(json.dumps(places))
        for host in (PASS, LEFT, RIGHT):
            self.start(host, "model")
            self.start(host, "proxy")
        self.start(FRONT, "frontend")
        self.start(WIRING, "wiring")
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def start(self, host: str, kind: str) -> None:
        own = self.network[host]
        variables = {
            "PYTHONPATH": str(ROOT),
            "GRPC_VERBOSITY": "ERROR",
            "EARG_TOKEN_FILE": str(self.folder / "token"),
            "LISTEN_IP": own.ip,
            "MODEL_PORT": str(MODEL_PORT),
            "PROXY_PORT": str(PROXY_PORT),
            "PROXY_NAME": own.ip,
            "FENCED": "true" if host in (LEFT, RIGHT) else "false",
            "EARG_ENTRYPOINT": f"models:{'Pass' if host == PASS else 'Count'}",
            "EARG_FOLDER": str(HERE),
            "INSTANCE": host,
            "HTTP_PORT": str(HTTP_PORT),
            "ENTRY_PROXY_NAME": self.network[PASS].ip,
        }
        command = {
            "wiring": ("earg.cli", "wire", "graph.earg", "places.json", "--watch"),
            "client": (),
        }.get(kind, (f"earg.{kind}",))
        words = [sys.executable, "-m", *command]
        if kind == "client":
            url = f"http://{own.ip}:{HTTP_PORT}/predict"
            words = [sys.executable, str(HERE / "asking.py"), url, "token"]
        with (
            (self.folder / f"{host}-{kind}.out").open("ab") as out,
            (self.folder / f"{host}-{kind}.log").open("ab") as log,
        ):
            self.processes[host, kind] = subprocess.Popen(
                own.inside(*words),
                env=os.environ | variables,
                cwd=self.folder,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )

    def _keep(self) -> None:
        while not self._stopping.wait(0.1):
            for host in (PASS, LEFT, RIGHT):
                code = self.processes[host, "proxy"].poll()
                if code is not None:
                    self.ends.append((host, code))
                    self.start(host, "proxy")

    def end(self, host: str, kind: str) -> None:
        """Kill a process that nobody starts anew."""
        process = self.processes[host, kind]
        process.kill()
        process.wait()

    def stop(self) -> None:
        self._stopping.set()
        if self._keeper is not None:
            self._keeper.join()
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    # --- what is seen -----------------------------------------------------------------------

    def said(self, host: str = WIRING, kind: str = "wiring") -> str:
        return (self.folder / f"{host}-{kind}.log").read_text(errors="replace")

    def replies(self, since: float = 0.0) -> list[Reply]:
        """What was answered after ``since``, in the order in which it was."""
        lines = (self.folder / f"{FRONT}-client.out").read_text().split("\n")[:-1]
        found = [Reply(*json.loads(line)) for line in lines]
        return [one for one in found if one.at >= since]

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}\n{self.told()}"
            time.sleep(0.05)

    def told(self) -> str:
        """The ends of all logs."""
        parts = []
        for path in sorted(self.folder.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-25:]
            parts.append("\n".join((f"--- {path.stem}", *lines)))
        return "\n".join(parts)

    def is_ready(self) -> bool:
        """Whether the wiring has said so last."""
        return self.said().rpartition("the graph is ")[2].startswith("ready")

    def answers(self, since: float, count: int = 20) -> None:
        """Wait until so many replies came after ``since``."""
        self.wait(lambda: len(self.replies(since)) >= count, f"{count} replies")


@contextlib.contextmanager
def cluster(network: Network, folder: Path) -> Iterator[Cluster]:
    """All of it, until it is left."""
    made = Cluster(network, folder)
    try:
        made.start_all()
        made.wait(made.is_ready, "a graph that is ready", 60)
        yield made
    finally:
        made.stop()
