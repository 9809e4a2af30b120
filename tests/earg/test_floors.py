"""The floors of the house: who may import whom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODULES = sorted(
    f"earg.{path.stem}"
    for path in (Path(__file__).parents[2] / "earg").glob("*.py")
    if path.stem != "__init__"
)


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_earg_knows_neither_airflow_nor_udgl() -> None:
    loaded = loaded_by(", ".join(MODULES))
    assert "earg.proxy" in loaded
    assert {name.partition(".")[0] for name in loaded} & {
        "airflow",
        "lark",
        "networkx",
        "udgl",
        "hogar_provider",
    } == set()


@pytest.mark.parametrize(
    "module", ["earg", "earg.config", "earg.cli", "earg.extras", "earg.images"]
)
def test_light_modules_load_no_grpc(module: str) -> None:
    assert {name for name in loaded_by(module) if name.partition(".")[0] in ("grpc", "google")} == (
        set()
    )
