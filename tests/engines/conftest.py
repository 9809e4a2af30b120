"""Two Docker hosts with the tests' images, for all tests here."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import docker_host
from tests.containers.docker_host import NODE_IMAGE
from tests.engines.docker_machines import Machine, share_images, two_machines

IMAGES = {"test/greet:1": "Greet", "test/count:1": "Count"}
FOREIGN = "test/foreign:1"

FOREIGN_DOCKERFILE = """\
FROM hogar/node:1
COPY foreign_model.py /
CMD ["python", "/foreign_model.py"]
"""


@pytest.fixture(scope="session")
def machines() -> Iterator[list[Machine]]:
    """Two machines whose daemons have ``hogar/node`` and the models' images."""
    # Not pytest's own folder: it would keep some hundred megabytes.
    folder = Path(tempfile.mkdtemp(prefix="hogar-docker-"))
    try:
        with two_machines(folder) as machines:
            first, second = (machine.docker for machine in machines)
            first.make_node_image(folder)
            models = Path(docker_host.__file__).parent / "models.py"
            for image, name in IMAGES.items():
                first.make_model_image(folder / name, image, models, name)
            foreign = folder / "foreign"
            foreign.mkdir()
            shutil.copy(Path(__file__).with_name("foreign_model.py"), foreign)
            (foreign / "Dockerfile").write_text(FOREIGN_DOCKERFILE)
            first.run("docker", "build", "-q", "-t", FOREIGN, ".", cwd=foreign)
            share_images(first, second, (NODE_IMAGE, *IMAGES, FOREIGN))
            yield machines
    finally:
        shutil.rmtree(folder, ignore_errors=True)
