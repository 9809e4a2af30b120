"""The wheel: what is in it, and that it works where nothing of the checkout is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.hogar_provider.airflows import AirflowCommand
from tests.hogar_provider.folders import MODELS, ROOT, SENTIMENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CONFIG = "2\n1\nA,1,test/upper:1,false,1\nB,1,test/backwards:1,false,1\ndist[1->2]\n"


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """What a command prints; it sees neither the checkout nor this environment's packages."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what git knows: the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    names = run("git", "ls-files", "-z", folder=ROOT).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps"),
        *("--wheel-dir", folder, source),
        folder=folder,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_three_packages_whole_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        points = next(name for name in names if name.endswith("entry_points.txt"))
        entry_points = archive.read(points).decode()
    tracked = run("git", "ls-files", "udgl", "earg", "hogar_provider", folder=ROOT).split()
    there = {name for name in tracked if (ROOT / name).is_file()}
    written = {
        f"earg/protos/{path.stem}_pb2{end}"
        for path in (ROOT / "earg/protos").glob("*.proto")
        for end in (".py", ".pyi", "_grpc.py")
    }
    # The front end's sources are built into one module; its __init__.py, if any, is Python.
    front_end = {name for name in there if name.startswith("hogar_provider/plugins/www/")}
    sources = {name for name in front_end if not name.endswith(".py")}
    built = {"hogar_provider/plugins/www/dist/hogar.js"}
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == (there - sources) | written | built
    for group in ("apache_airflow_provider", "airflow.plugins", "console_scripts"):
        assert f"[{group}]" in entry_points


def test_in_an_empty_environment_the_language_works_without_any_extra(
    wheel: Path, tmp_path: Path
) -> None:
    programs = environment(tmp_path, str(wheel))
    said = run(programs / "udgl", "check", SENTIMENT, folder=tmp_path)
    assert "ok, graph SentiAnalyzer version 3, 5 operators" in said
    assert "no difference" in run(programs / "udgl", "diff", SENTIMENT, SENTIMENT, folder=tmp_path)
    run(programs / "earg", "--help", folder=tmp_path)
    run(programs / "python", "-m", "pip", "check", folder=tmp_path)


def test_in_an_empty_environment_the_extra_node_runs_a_graph(wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path, f"{wheel}[node]")
    run(programs / "python", "-m", "pip", "check", folder=tmp_path)
    (tmp_path / "small-1.earg").write_text(CONFIG)
    home = str(tmp_path / "home")
    try:
        run(
            *(programs / "earg", "up", "small-1.earg", "--images", MODELS / "images.yaml"),
            folder=tmp_path,
            EARG_HOME=home,
        )
        reply = run(
            *(programs / "earg", "send", "small", "--text", "hogar"),
            folder=tmp_path,
            EARG_HOME=home,
        )
        assert reply == "RAGOH\n"
    finally:
        run(programs / "earg", "agent", "stop", folder=tmp_path, EARG_HOME=home)


def test_in_an_empty_environment_the_other_extras_can_be_had_together(
    wheel: Path, tmp_path: Path
) -> None:
    # Resolved and not installed: Airflow alone is some hundred packages.
    venv.create(tmp_path / "environment", with_pip=True)
    run(
        *(tmp_path / "environment/bin/python", "-m", "pip", "--disable-pip-version-check"),
        *("install", "--dry-run", "--quiet", f"{wheel}[airflow,demo,node,otel]"),
        folder=tmp_path,
    )


def environment(folder: Path, requirement: str) -> Path:
    """Make an environment that holds only this; the folder of its programs."""
    venv.create(folder / "environment", with_pip=True)
    programs = folder / "environment/bin"
    run(
        *(programs / "python", "-m", "pip", "--disable-pip-version-check", "install"),
        requirement,
        folder=folder,
    )
    return programs


def test_airflow_shows_all_that_the_installed_wheel_declares(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    run(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps"),
        *("--target", installed, wheel),
        folder=tmp_path,
    )
    path = os.pathsep.join(filter(None, (str(installed), os.environ.get("PYTHONPATH"))))
    airflow = AirflowCommand(tmp_path)
    code = (
        "import hogar_provider, json, sys; from airflow.cli.cli_parser import get_parser\n"
        "print(hogar_provider.__file__)\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    args = get_parser().parse_args(arguments); args.func(args)\n"
    )
    commands = [
        ["providers", "list", "--output", "plain"],
        ["providers", "get", "airflow-provider-hogar", "--full", "--output", "json"],
        ["providers", "hooks", "--output", "plain"],
        ["providers", "behaviours", "--output", "plain"],
        ["providers", "widgets", "--output", "plain"],
        ["config", "get-value", "hogar", "drain_timeout"],
        ["config", "list", "--section", "hogar", "--include-descriptions"],
    ]
    shown = run(
        *(sys.executable, "-c", code, json.dumps(commands)),
        folder=tmp_path,
        **(airflow.variables() | {"PYTHONPATH": path}),
    )
    assert shown.startswith(str(installed))
    for part in (
        "airflow-provider-hogar",
        "hogar_provider.hooks.earg.EargHook",
        "hogar_provider.cli.definition.get_hogar_cli_commands",
        "extra__earg__home",
        "drain_timeout",
        "Seconds that a graph may take to answer",
    ):
        assert part in shown, part
