"""Fixtures of the provider's tests: an Airflow, agents and dags folders that no one else uses."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Airflow reads its settings once, when the first module of it is imported, and writes a file into
# its home: so this stands before the test modules' imports.
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="hogar-airflow-"))
atexit.register(shutil.rmtree, AIRFLOW_HOME, ignore_errors=True)
SETTINGS = {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(AIRFLOW_HOME / "dags"),
}
_before = {name: os.environ.get(name) for name in SETTINGS}
os.environ.update(SETTINGS)
import airflow.sdk  # noqa: E402, F401

# Nothing of these settings leaks into the tests of other folders.
for _name, _value in _before.items():
    if _value is None:
        del os.environ[_name]
    else:
        os.environ[_name] = _value

from earg.client import AgentClient, NoAgentError, connect  # noqa: E402
from tests.hogar_provider.folders import LOADERS, MODELS  # noqa: E402


@pytest.fixture(autouse=True)
def _no_connection_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_EARG_DEFAULT", raising=False)


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    """A dags folder that holds the two loader files, as a user's does."""
    folder = tmp_path / "dags"
    folder.mkdir()
    for loader in LOADERS:
        shutil.copy(loader, folder)
    return folder


@pytest.fixture
def models(dags: Path) -> Path:
    """A dags folder with models and the images file that names them."""
    for file in MODELS.iterdir():
        if file.is_file():
            shutil.copy(file, dags)
    return dags


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The folder of an agent that is stopped, with all it started, when the test ends."""
    folder = tmp_path / "earg"
    yield folder
    try:
        with connect(folder, start=False) as client:
            client.shutdown()
    except NoAgentError:
        pass


@pytest.fixture
def connection(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default Airflow connection is to an agent of this test's own."""
    value = json.dumps({"conn_type": "earg", "extra": {"home": str(home)}})
    monkeypatch.setenv("AIRFLOW_CONN_EARG_DEFAULT", value)
    return home


@pytest.fixture
def agent(connection: Path) -> Iterator[AgentClient]:
    """A client of the agent that the default connection names."""
    with connect(connection) as client:
        yield client
