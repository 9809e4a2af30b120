"""A PostgreSQL server of a test's own, on loopback, gone when the test ends."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

UNPACKED = ROOT / "build/test-postgres"
"""Where scripts/test_tools.sh unpacks Debian's packages on a machine without PostgreSQL."""

PROGRAMS = "usr/lib/postgresql/*/bin"


def find_programs() -> Path:
    """The folder of initdb and pg_ctl; AssertionError that says what to do where there is none."""
    places = [Path("/").glob(PROGRAMS), UNPACKED.glob(PROGRAMS)]
    if on_path := shutil.which("initdb"):
        places.insert(0, iter([Path(on_path).parent]))
    for place in places:
        for folder in sorted(place, reverse=True):
            if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
                return folder
    raise AssertionError("there is no PostgreSQL; run scripts/test_tools.sh, which unpacks one")


@contextmanager
def postgres() -> Iterator[str]:
    """An empty database: its URL without the scheme, ``//user@host:port/name``.

    PostgreSQL refuses to run as root; then it is the user ``postgres``, or else ``nobody``, in a
    folder that this user can enter.
    """
    folder = Path(tempfile.mkdtemp(prefix="hogar-postgres-"))
    server = Server(folder)
    try:
        server.start()
        yield f"//airflow@127.0.0.1:{server.port}/postgres"
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """One server, whose files are in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = find_programs()
        self._environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
        self._user: str | None = None
        if os.getuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            self._user = "postgres" if "postgres" in names else "nobody"
            os.chown(folder, pwd.getpwnam(self._user).pw_uid, -1)
        if self._programs.is_relative_to(UNPACKED):
            # The checkout may be where that user cannot look.
            tools = folder / "tools"
            shutil.copytree(UNPACKED, tools, symlinks=True)
            self._programs = tools / self._programs.relative_to(UNPACKED)
            libraries = {path.parent for path in tools.rglob("lib*.so.*")}
            self._environment["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, libraries))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def start(self) -> None:
        """Make the database and start the server; returns once it takes connections."""
        self._run(
            *("initdb", "-A", "trust", "-U", "airflow", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        )
        # No file of it outlives the test, so nothing need be safe on the disk.
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder} -c fsync=off "
            "-c full_page_writes=off -c synchronous_commit=off -c jit=off"
        )
        log = str(self._folder / "log")
        self._run("pg_ctl", "-w", "-t", "60", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """Stop the server at once, if it runs."""
        if (self._folder / "data/postmaster.pid").exists():
            self._run("pg_ctl", "-w", "-t", "30", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = [str(self._programs / program), "-D", str(self._folder / "data")]
        # A pipe would stay open in the server, which pg_ctl leaves running.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [*command, *arguments],
                cwd=self._folder,
                env=self._environment,
                user=self._user,
                group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
                extra_groups=None if self._user is None else [],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=90,
            )
            output.seek(0)
            log = self._folder / "log"
            text = output.read().decode() + (log.read_text() if log.exists() else "")
        assert done.returncode == 0, f"{program} failed:\n{text}"
