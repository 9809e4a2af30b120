"""``airflow standalone`` with an AIRFLOW_HOME, ports and secrets of its own."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from words import say

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
USER = "admin"
BUNDLE = {
    "name": "dags-folder",
    "classpath": "hogar_provider.bundles.UdglDagBundle",
    # Seconds until a new file is seen; Airflow's own default is 300.
    "kwargs": {"refresh_interval": 10},
}


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the demo keeps its files."""

    airflow: Path
    demo: Path

    @property
    def earg(self) -> Path:
        """The folder of the runtime's agent, EARG_HOME."""
        return self.demo / "earg"

    @property
    def lock(self) -> Path:
        """Held as long as a demo runs; says which."""
        return self.demo / "lock.json"

    @property
    def log(self) -> Path:
        """What ``airflow standalone`` prints."""
        return self.airflow / "standalone.log"

    @property
    def config(self) -> Path:
        return self.airflow / "airflow.cfg"

    @property
    def passwords(self) -> Path:
        return self.airflow / "passwords.json"


def child_environment(folders: Folders) -> dict[str, str]:
    """What the demo's processes get: this one's environment without other Airflows' settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        # Without byte code every start would take twice as long.
        if not name.startswith("AIRFLOW") and name != "PYTHONDONTWRITEBYTECODE"
    }
    local = "127.0.0.1,localhost"
    no_proxy = ",".join(filter(None, (kept.get("NO_PROXY") or kept.get("no_proxy"), local)))
    return {
        **kept,
        "AIRFLOW_HOME": str(folders.airflow),
        "EARG_HOME": str(folders.earg),
        "PATH": f"{BIN}{os.pathsep}{kept.get('PATH', os.defpath)}",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "PYTHONUNBUFFERED": "1",
    }


def choose_ports(wanted: int) -> dict[str, int]:
    """Free ports: Airflow's own choice where it is free, else any other."""
    ports: dict[str, int] = {}
    for name, port, host in (
        ("api", wanted, "127.0.0.1"),
        ("worker_log", 8793, ""),
        ("trigger_log", 8794, ""),
    ):
        free = port not in (0, *ports.values()) and is_free(port, host)
        ports[name] = port if free else free_port(host)
    if wanted not in (0, ports["api"]):
        say(f"Port {wanted} is taken; the web UI takes {ports['api']}")
    return ports


def is_free(port: int, host: str) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str) -> int:
    """Any port that is free now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def write_config(folders: Folders, ports: dict[str, int]) -> str:
    """Write Airflow's settings; returns the password of the web UI. Secrets of an earlier start
    are kept, so that a browser stays logged in."""
    before = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(configparser.Error):
        before.read(folders.config)

    def secret(section: str, option: str) -> str:
        return before.get(section, option, fallback="") or secrets.token_hex(32)

    url = f"http://127.0.0.1:{ports['api']}"
    settings = {
        "core": {
            "dags_folder": str(ROOT / "dags"),
            "load_examples": "False",
            "executor": "LocalExecutor",
            "parallelism": "4",
            "dags_are_paused_at_creation": "False",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": str(folders.passwords),
            "execution_api_server_url": f"{url}/execution/",
        },
        # This one line is all that Airflow has to be told to take .udgl files for DAGs.
        "dag_processor": {"dag_bundle_config_list": json.dumps([BUNDLE])},
        "database": {"sql_alchemy_conn": f"sqlite:///{folders.airflow / 'airflow.db'}"},
        "api": {
            "host": "127.0.0.1",
            "port": str(ports["api"]),
            "base_url": url,
            "secret_key": secret("api", "secret_key"),
        },
        "api_auth": {"jwt_secret": secret("api_auth", "jwt_secret")},
        "logging": {
            "worker_log_server_port": str(ports["worker_log"]),
            "trigger_log_server_port": str(ports["trigger_log"]),
        },
        "usage_data_collection": {"enabled": "False"},
    }
    after = configparser.ConfigParser(interpolation=None)
    for section, options in settings.items():
        # A per cent sign starts an interpolation when Airflow reads it.
        after[section] = {name: value.replace("%", "%%") for name, value in options.items()}
    with _private(folders.config) as file:
        file.write("# Written by scripts/demo.py at every start.\n")
        after.write(file)
    return _password(folders)


def _password(folders: Folders) -> str:
    try:
        password = json.loads(folders.passwords.read_text())[USER]
    except (OSError, ValueError, KeyError, TypeError):
        password = secrets.token_urlsafe(9)
        with _private(folders.passwords) as file:
            json.dump({USER: password}, file)
    return str(password)


@contextlib.contextmanager
def _private(path: Path) -> Iterator[Any]:
    """A new file that only this user can read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        yield file


def start_airflow(folders: Folders, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start ``airflow standalone`` in a session of its own, which all its processes stay in."""
    for stale in folders.airflow.glob("airflow-*.pid"):
        stale.unlink(missing_ok=True)
    with folders.log.open("wb") as log:
        return subprocess.Popen(
            [str(BIN / "airflow"), "standalone"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folders.airflow,
            start_new_session=True,
        )
