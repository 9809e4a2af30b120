"""How the tests are divided among processes, and what several folders share."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.engines.docker_machines import Machine

HERE = Path(__file__).parent

TOGETHER = ("e2e/test_docker_engine.py", "engines/", "containers/", "www/", "e2e/test_live_view.py")
"""What makes network interfaces, as Docker does, and what has a browser: done by one process, one
after the other. Chromium gives up what it is loading when an interface comes or goes."""

FIRST = ("e2e/", "network/", "hogar_provider/test_airflow.py", "hogar_provider/test_api")
"""Then what takes long, so that no process has it left at the end."""

# What was pushed is tested with the same examples everywhere; `make fuzz` draws others.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("drawn", derandomize=False)
settings.load_profile("fixed")

IMAGES = {"test/greet:1": "Greet", "test/count:1": "Count"}


def pytest_configure() -> None:
    """Who starts the tests in the background of a shell has them ignore SIGINT, and what they start
    would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each file is one process's: many start something for all of their tests, and some go on where
    the test before has ended."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0].removeprefix("tests/")
            return "together" if path.startswith(TOGETHER) else path

    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first."""
    items.sort(key=lambda item: _rank(item.path.relative_to(HERE).as_posix()))


def _rank(path: str) -> int:
    for rank, prefixes in enumerate((TOGETHER, FIRST)):
        if path.startswith(prefixes):
            return rank
    return 2


@pytest.fixture(scope="session")
def machines() -> Iterator[list[Machine]]:
    """Two machines whose Docker daemons have ``hogar/node`` and the models' images."""
    from tests.containers import docker_host
    from tests.engines.docker_machines import share_images, two_machines

    # Not pytest's own folder: it would keep some hundred megabytes.
    folder = Path(tempfile.mkdtemp(prefix="hogar-docker-"))
    try:
        with two_machines(folder) as machines:
            first, second = (machine.docker for machine in machines)
            first.make_node_image(folder)
            models = Path(docker_host.__file__).parent / "models.py"
            for image, name in IMAGES.items():
                first.make_model_image(folder / name, image, models, name)
            share_images(first, second, (docker_host.NODE_IMAGE, *IMAGES))
            yield machines
    finally:
        shutil.rmtree(folder, ignore_errors=True)
