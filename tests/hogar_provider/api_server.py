"""Airflow's API server with the plugin, as a process of its own: its database, users, DAGs."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.hogar_provider.folders import LOADERS, MODELS, ROOT, chain

SIMPLE = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"

START_TIMEOUT = 240.0
"""Seconds for a machine that does much else."""

PLAIN_DAG = """\
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

with DAG("Plain", schedule=None):
    EmptyOperator(task_id="nothing")
"""
"""A DAG that is no HOGAR graph."""

GRAPHS = {
    "Shouts": chain("Shouts", "test/upper:1", "test/upper:1"),
    "Other-One": chain("Other-One", "test/upper:1"),
    "Idle": chain("Idle", "test/upper:1"),
    "Counts": chain("Counts", "test/counter:1").replace(
        "operator A\n", "operator A\nstateful Yes, "
    ),
}
"""HOGAR graphs by DAG."""

NO_NAME = ""
"""Who is not logged in."""


@dataclass
class ApiServer:
    """One that runs. ``users`` are the names that can log in."""

    home: Path
    auth_manager: str
    users: tuple[str, ...]
    port: int = 0
    workers: int = 1
    process: subprocess.Popen[bytes] | None = None
    passwords: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def earg(self) -> Path:
        """The folder of its agent."""
        return self.home / "earg"

    @property
    def log(self) -> Path:
        """What the server printed."""
        return self.home / "api-server.log"

    def variables(self) -> dict[str, str]:
        """The environment of its processes."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "_AIRFLOW"))}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        simple = ",".join(f"{name}:{role_of(name)}" for name in self.users)
        return kept | {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__AUTH_MANAGER": self.auth_manager,
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": simple,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": str(self.workers),
            "AIRFLOW__API__SECRET_KEY": "only-for-this-test-0123456789abcdef",
            "AIRFLOW__API_AUTH__JWT_SECRET": "only-for-this-test-0123456789abcdef",
            "EARG_HOME": str(self.earg),
            "PYTHONPATH": str(ROOT),
        }

    def airflow(self, *arguments: str) -> str:
        """Run Airflow's command line; returns what it prints."""
        return self._run("-m", "airflow", *arguments)

    def python(self, code: str, *arguments: str) -> str:
        """Run Python code in this Airflow."""
        return self._run("-c", code, *arguments)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.variables(),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=START_TIMEOUT,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def prepare(self) -> None:
        """Make its database, and read the DAGs into it."""
        dags = self.home / "dags"
        dags.mkdir(parents=True)
        for file in (*LOADERS, *MODELS.glob("*.*")):
            shutil.copy(file, dags)
        for name, text in GRAPHS.items():
            (dags / f"{name}.udgl").write_text(text)
        (dags / "plain.py").write_text(PLAIN_DAG)
        self.passwords = {name: secrets.token_urlsafe(16) for name in self.users}
        (self.home / "passwords.json").write_text(json.dumps(self.passwords))
        self.airflow("db", "migrate")
        self.airflow("dags", "reserialize")

    def start(self) -> None:
        """Start it and wait until it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "api-server"],
                env=self.variables(),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/api/v2/monitor/health", timeout=10).status_code == 200:
                    return
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop it and all of its workers."""
        process, self.process = self.process, None
        if process is None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def token(self, user: str) -> str:
        """What ``user`` shows Airflow."""
        if user not in self.tokens:
            reply = httpx.post(
                f"{self.url}/auth/token",
                json={"username": user, "password": self.passwords[user]},
                timeout=60,
            )
            assert reply.status_code in (200, 201), reply.text
            self.tokens[user] = reply.json()["access_token"]
        return self.tokens[user]

    def client(self, user: str, *, cookie: bool = False) -> httpx.Client:
        """A client of the provider's application, logged in as ``user``, by a cookie as browsers
        are or by a header as programs."""
        headers, cookies = {}, {}
        if user != NO_NAME:
            if cookie:
                cookies["_token"] = self.token(user)
            else:
                headers["Authorization"] = f"Bearer {self.token(user)}"
        return httpx.Client(
            base_url=f"{self.url}/hogar", headers=headers, cookies=cookies, timeout=60
        )


def role_of(user: str) -> str:
    """SimpleAuthManager's role of a user; a number after the name makes another user."""
    roles = {"admin": "admin", "editor": "user", "viewer": "viewer"}
    return roles.get(user.rstrip("0123456789"), "")


@contextlib.contextmanager
def api_server(folder: Path, auth_manager: str, *users: str) -> Iterator[ApiServer]:
    """A prepared one that is not started yet, and is stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    server = ApiServer(folder, auth_manager, users)
    server.prepare()
    try:
        yield server
    finally:
        server.stop()
