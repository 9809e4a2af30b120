"""The floors of the house: what the language may import, and when."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from udgl.targets import target_names

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
        # The language server needs pygls, which is loaded with it alone.
        if path.stem != "__main__" and path != PACKAGE / "editor" / "server.py"
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


def test_a_command_loads_no_other() -> None:
    loaded = loaded_by("from udgl.cli import main\nmain(['targets'])")
    commands = {m.removeprefix("udgl.commands.") for m in loaded if m.startswith("udgl.commands.")}
    assert commands == {"streams", "targets"}
    assert "udgl.drawing.svg" not in loaded


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of modules with lark, networkx and PyYAML, and with nothing else that is no part of
    Python: what installing without any extra has."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name in ("lark", "networkx", "yaml", "_yaml"):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            (folder / name).symlink_to(Path(spec.origin).parent)
    for name in ("udgl", "earg"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def test_all_commands_work_where_nothing_but_the_language_is_installed(
    bare: Path, tmp_path: Path
) -> None:
    sentiment = str(ROOT / "tests/udgl/fixtures/valid/sentiment.udgl")
    out = tmp_path / "out"
    config = str(out / "SentiAnalyzer-3.earg")
    runs = [
        ["check", "--strict", sentiment],
        *(["check", "--format", form, sentiment] for form in ("json", "sarif")),
        ["targets"],
        *(["compile", "-t", name, "-o", str(out), sentiment] for name in target_names()),
        ["decompile", config],
        ["diff", sentiment, sentiment],
        *(["draw", "--format", form, sentiment] for form in ("text", "svg", "dot", "mermaid")),
    ]
    code = (
        "import sys\n"
        "from udgl.cli import main\n"
        f"for arguments in {runs!r}:\n"
        "    assert main(arguments) == 0, arguments\n"
        "import udgl\n"
        f"assert len(udgl.load({sentiment!r}).to_networkx()) == 5\n"
        "print('\\n'.join(sys.modules))\n"
    )
    done = subprocess.run(
        # -S: without the environment's own packages.
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(bare), "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"lark", "udgl"} <= loaded
    assert loaded & {"grpc", "airflow", "google", "hogar_provider", "numpy"} == set()


def test_every_public_name_can_be_had() -> None:
    import udgl

    for name in udgl.__all__:
        assert getattr(udgl, name).__name__ == name
        assert name in dir(udgl)
