"""The agent's folder: where it keeps its socket, its lock, its logs and its ledger."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

LEAST_FREE = 16 * 1024
"""A disk with fewer bytes free is called full."""

LONGEST_SOCKET_PATH = 100
"""Linux admits 107 bytes for a Unix socket's path."""


class HomeError(RuntimeError):
    """The agent's folder cannot be used."""


@dataclass(frozen=True, slots=True)
class Home:
    """An agent's folder. One agent runs in each; its socket belongs to its user alone."""

    path: Path

    @property
    def lock(self) -> Path:
        """Held by the agent as long as it runs."""
        return self.path / "agent.lock"

    @property
    def log(self) -> Path:
        """The agent's own log."""
        return self.path / "agent.log"

    @property
    def ledger(self) -> Path:
        """What is deployed, for the agent that follows one that was killed."""
        return self.path / "ledger.json"

    @property
    def engine_file(self) -> Path:
        """There where nodes are no processes of this machine: it names what they run on."""
        return self.path / "engine"

    @property
    def engine(self) -> str:
        """What the nodes of this home's agent run on; empty for processes of this machine."""
        try:
            return self.engine_file.read_text(encoding="utf-8")[:200].partition("\n")[0]
        except OSError:
            return ""

    @property
    def metrics_targets(self) -> Path:
        """What Prometheus is to scrape, for its file_sd_configs."""
        return self.path / "prometheus" / "targets.json"

    @property
    def socket(self) -> Path:
        """The Unix socket; in a folder of the user's under the temporary folder where this one's
        path is too long for a socket."""
        here = self.path / "agent.sock"
        if len(os.fsencode(here)) <= LONGEST_SOCKET_PATH:
            return here
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:24]
        return Path(tempfile.gettempdir()) / f"earg-{os.getuid()}" / f"{digest}.sock"

    @property
    def target(self) -> str:
        """The socket as gRPC's channels and servers name it."""
        return f"unix://{self.socket}"

    def graph_folder(self, graph: str) -> Path:
        """Where a graph's runtime config and logs are."""
        return self.path / "graphs" / graph

    def prepare(self) -> None:
        """Create the folders, for this user alone; raises :class:`HomeError`."""
        for folder in (self.path, self.socket.parent):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise self._refused(folder, error) from None
        self.check()
        # Of this thread alone: several may start an agent at once.
        probe = self.path / f"writable.{os.getpid()}.{threading.get_ident()}"
        try:
            replace_file(probe, " " * LEAST_FREE)
            probe.unlink()
        except OSError as error:
            raise self._refused(self.path, error) from None

    def check(self) -> None:
        """Raise :class:`HomeError` unless the folders are this user's and closed to others: their
        mode is all that keeps others from the agent's socket and ledger."""
        for folder in (self.path, self.socket.parent):
            try:
                found = folder.lstat()
            except OSError as error:
                raise HomeError(f"the agent's folder {folder}: {error.strerror}") from None
            if stat.S_ISLNK(found.st_mode):
                raise HomeError(f"the agent's folder {folder} is a link; name what it points to")
            if not stat.S_ISDIR(found.st_mode):
                raise HomeError(f"the agent's folder {folder} is no folder")
            if found.st_uid != os.getuid():
                raise HomeError(f"the agent's folder {folder} belongs to somebody else")
            if found.st_mode & 0o077:
                raise HomeError(
                    f"the agent's folder {folder} is open to others (mode "
                    f"{stat.S_IMODE(found.st_mode):04o}); look what is in it, then: "
                    f"chmod 700 {folder}"
                )

    def check_socket(self) -> None:
        """Raise :class:`HomeError` where the socket is not this user's: whoever made it would
        hear what a client tells the agent."""
        try:
            found = self.socket.lstat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise HomeError(f"the agent's socket {self.socket}: {error.strerror}") from None
        if found.st_uid != os.getuid() or not stat.S_ISSOCK(found.st_mode):
            raise HomeError(f"the agent's socket {self.socket} belongs to somebody else")
        self.check()

    @staticmethod
    def _refused(folder: Path, error: OSError) -> HomeError:
        return HomeError(
            f"the agent's folder {folder} cannot be written: {error.strerror}; "
            "choose another one with --home or EARG_HOME, or make room there"
        )

    def trouble(self) -> str:
        """Why nothing can be written here, as a part of a sentence; empty where it can."""
        try:
            disk = os.statvfs(self.path)
        except OSError as error:
            return error.strerror or "it cannot be read"
        if disk.f_flag & os.ST_RDONLY:
            return "its file system is read-only"
        if not os.access(self.path, os.W_OK | os.X_OK):
            return "writing is not permitted"
        blocks = disk.f_bfree if os.getuid() == 0 else disk.f_bavail
        return "its disk is full" if blocks * disk.f_frsize < LEAST_FREE else ""


def replace_file(path: Path, text: str) -> None:
    """Write a file all at once: who reads it finds the old text or the new one, also where the
    disk is full. Raises OSError, which names the file."""
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from None


def find_home(path: Path | str | None = None) -> Home:
    """The agent's folder: ``path``, else ``$EARG_HOME``, else ``earg`` in the user's state folder
    (XDG Base Directory Specification)."""
    chosen = path or os.environ.get("EARG_HOME")
    if not chosen:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        chosen = Path(state) / "earg"
    return Home(Path(chosen).expanduser().absolute())
