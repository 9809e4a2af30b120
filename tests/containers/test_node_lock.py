"""``docker/requirements.lock``: what the image holds is what everything else is tested with."""

from __future__ import annotations

import re
import runpy

from tests.containers.local_images import ROOT


def pins(name: str) -> set[tuple[str, str]]:
    """Names and versions of a lock file."""
    return set(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


def test_the_image_has_the_versions_of_the_lock_and_all_that_earg_asks_for() -> None:
    image, whole = pins("docker/requirements.lock"), pins("requirements.lock")
    assert image <= whole, "run make lock"
    requirements = runpy.run_path(str(ROOT / "scripts/node_package.py"))["requirements"]()
    asked = {re.split("[<>=]", line)[0].lower() for line in requirements}
    assert {"grpcio", "pyyaml"} <= asked <= {name for name, _ in image}
