"""The floors of the house: what the language may import, and when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "udgl"


def loaded_by(code: str) -> set[str]:
    """The modules that are loaded once ``code`` has run in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=ROOT,
    )
    return set(done.stdout.split())


def test_udgl_knows_neither_airflow_nor_grpc_and_of_earg_only_its_formats() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path.stem != "__main__"
    ]
    assert {"udgl.cli", "udgl.parser", "udgl.targets.earg"} <= set(modules)
    loaded = loaded_by(
        "import " + ", ".join(modules) + "\nudgl.load('tests/udgl/fixtures/valid/sentiment.udgl')"
    )
    assert "lark" in loaded
    assert {m.partition(".")[0] for m in loaded} & {
        "airflow",
        "grpc",
        "google",
        "hogar_provider",
    } == (set())
    formats = ("choosing", "condition", "config", "extras", "guards", "plain_yaml")
    assert {m for m in loaded if m.partition(".")[0] == "earg"} <= {
        "earg",
        *(f"earg.{name}" for name in formats),
    }


def test_a_graph_without_growth_is_compiled_with_the_config_alone() -> None:
    loaded = loaded_by(
        "import udgl\nfrom udgl.targets.earg import compile_graph\n"
        "compile_graph(udgl.load('tests/udgl/fixtures/valid/sentiment.udgl'))"
    )
    assert {m for m in loaded if m.partition(".")[0] == "earg"} == {"earg", "earg.config"}


def test_importing_udgl_loads_nothing_else() -> None:
    before = loaded_by("")
    loaded = loaded_by("import udgl, udgl.cli, udgl.parser") - before
    assert {m.partition(".")[0] for m in loaded} & {"lark", "networkx", "earg", "yaml"} == set()
    light = loaded_by("import udgl") - before
    assert {m for m in light if m.startswith("udgl")} == {"udgl"}
    assert {m.partition(".")[0] for m in light} - {*sys.stdlib_module_names} == {"udgl"}
    assert not light & {"dataclasses", "pathlib"}


def test_a_target_is_imported_only_when_it_is_used() -> None:
    loaded = loaded_by("from udgl.targets import target_names\ntarget_names()")
    assert {m for m in loaded if m.startswith(("earg", "udgl.targets."))} == set()


def test_the_checks_need_no_networkx() -> None:
    loaded = loaded_by("import udgl\nudgl.load('tests/udgl/fixtures/valid/sentiment.udgl')")
    assert "networkx" not in loaded


def test_every_public_name_can_be_had() -> None:
    import udgl

    for name in udgl.__all__:
        assert getattr(udgl, name).__name__ == name
        assert name in dir(udgl)
