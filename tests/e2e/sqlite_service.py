"""An Airflow on SQLite as four processes, for tests that need nothing of another database."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from earg.client import NoAgentError, connect
from tests.e2e.test_postgres_fab import PASSWORD, USER, Service
from tests.hogar_provider.airflows import AirflowCommand


def airflow_on_sqlite(home: Path) -> Service:
    """The service of an Airflow in the folder ``home``, its database made, and not started yet; its
    dags folder is for the caller to fill."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps({USER: PASSWORD}))
    settings = {
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "2",
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__INTERNAL_API_SECRET_KEY": secrets.token_hex(16),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__BASE_URL": url,
        "API__SECRET_KEY": secrets.token_hex(32),
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "LOGGING__WORKER_LOG_SERVER_PORT": "0",
        "LOGGING__TRIGGER_LOG_SERVER_PORT": "0",
        "TRIGGERER__DEFAULT_CAPACITY": "10",
        "WORKERS__EXECUTION_API_TIMEOUT": "60",
    }
    airflow = AirflowCommand(home, {f"AIRFLOW__{name}": value for name, value in settings.items()})
    airflow.run("db", "migrate")
    return Service(airflow, url)


@contextlib.contextmanager
def started(service: Service, before_stop: Callable[[], None] = lambda: None) -> Iterator[Service]:
    """The service while it runs; afterwards ``before_stop`` is called, Airflow and the agent are
    stopped, and none of Airflow's processes had to be killed."""
    try:
        service.start()
        yield service
    finally:
        before_stop()
        killed = service.stop()
        with contextlib.suppress(NoAgentError), connect(service.airflow.earg, start=False) as agent:
            agent.shutdown()
    assert killed == {}
