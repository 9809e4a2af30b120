"""The distribution ``hogar-node``, which ``docker/Dockerfile`` puts into the image ``hogar/node``:
``earg`` alone. Neither the language, nor Airflow's provider, nor the live view runs there.

    HOGAR_NODE_ONLY=1 pip wheel .        build it
    python scripts/node_package.py       print what it requires

Nothing but the standard library is needed to load this file.
"""

from __future__ import annotations

import os
from configparser import ConfigParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

ONLY = "HOGAR_NODE_ONLY"
NAME = "hogar-node"
BASE = "PyYAML"
"""What ``earg`` needs of the requirements without an extra."""


def chosen() -> bool:
    """Whether this distribution is to be built, in place of the whole."""
    return os.environ.get(ONLY, "") not in ("", "0")


def requirements() -> list[str]:
    """What setup.cfg asks for in the extra ``node``, and ``BASE``."""
    settings = ConfigParser()
    with (ROOT / "setup.cfg").open(encoding="utf-8") as file:
        settings.read_file(file)
    base = settings["options"]["install_requires"].split("\n")
    extra = settings["options.extras_require"]["node"].split("\n")
    return [line for line in extra if line] + [line for line in base if line.startswith(BASE)]


def arguments() -> dict[str, Any]:
    """What setup() is told in place of setup.cfg's; nothing where the whole is built."""
    if not chosen():
        return {}
    from setuptools import find_packages

    return {
        "name": NAME,
        "description": "EARG's proxies, frontend and models, as they run in a container",
        "long_description": "See airflow-provider-hogar, which this is a part of.",
        "packages": find_packages(str(ROOT), include=["earg", "earg.*"]),
        "install_requires": requirements(),
        "entry_points": {"console_scripts": ["earg = earg.cli:main"]},
    }


if __name__ == "__main__":
    print("\n".join(requirements()))
