"""One Docker daemon and its images, for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.docker_host import DockerHost, docker_host


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHost]:
    """A daemon that has ``hogar/node`` and the models' images."""
    folder = tmp_path_factory.mktemp("images")
    with docker_host(tmp_path_factory.mktemp("docker")) as host:
        host.make_node_image(folder)
        models = Path(__file__).parent / "models.py"
        for image, name in (("test/greet:1", "Greet"), ("test/count:1", "Count")):
            host.make_model_image(folder / name, image, models, name)
        yield host
