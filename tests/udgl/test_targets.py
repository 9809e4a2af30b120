"""Targets that other packages add, ``udgl targets``, and ``udgl compile`` of many files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.udgl.conftest import ROOT, Run
from tests.udgl.fixture_files import FIXTURES
from udgl.cli import main
from udgl.targets import target, target_names

VALID, EARG = FIXTURES / "valid", FIXTURES / "earg"

NOMAD = """\
import sys
from udgl.diagnostics import Diagnostic, UdglError
from udgl.targets import Compilation, OutputFile

DESCRIPTION = "jobs of Nomad"
WRITES = "{name}/job.hcl"
CODES = {"NOMAD1": "There is no state."}


def compile_graph(graph):
    stateful = [one for one in graph.operators if one.stateful]
    if stateful:
        span = stateful[0].span_of("stateful")
        raise UdglError(graph.source, [Diagnostic("NOMAD1", "Nomad has no state", span)])
    if graph.name == "Web":
        raise RuntimeError("out of cheese")
    name = "../escaped" if graph.name == "Backwards" else f"{graph.name}/job.hcl"
    return Compilation((OutputFile(name, "job\\n"), OutputFile("README", "read\\n")))
"""

POINTS = """\
[udgl.targets]
nomad = nomad_target
broken = broken_target
missing = no_such_module_anywhere:thing
empty = empty_target
earg = nomad_target
"""


@pytest.fixture
def packages(tmp_path: Path) -> str:
    """A PYTHONPATH with two distributions that add targets, some of which are broken."""
    folder = tmp_path / "site"
    info = folder / "nomad_udgl-1.5.dist-info"
    other = folder / "rival-0.1.dist-info"
    for one in (info, other):
        one.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nomad-udgl\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(POINTS + "twice = nomad_target\n")
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 0.1\n")
    (other / "entry_points.txt").write_text("[udgl.targets]\ntwice = empty_target\n")
    (folder / "nomad_target.py").write_text(NOMAD)
    (folder / "broken_target.py").write_text("raise ValueError('no luck')\n")
    (folder / "empty_target.py").write_text("DESCRIPTION = 'x'\n")
    return f"{folder}:{ROOT}"


def test_another_package_adds_a_target(udgl_command: Run, packages: str, tmp_path: Path) -> None:
    file = str(VALID / "one_operator.udgl")
    done = udgl_command(
        "compile", "-t", "nomad", "-o", "out", file, cwd=tmp_path, PYTHONPATH=packages
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"out/Echo/job.hcl\nout/README\n"
    assert (tmp_path / "out" / "Echo" / "job.hcl").read_text() == "job\n"
    # A target's own errors are told as the language's are.
    names = ["simpledag.udgl", "exits_and_inputs.udgl", "flows_first.udgl", "one_operator.udgl"]
    done = udgl_command("compile", "-t", "nomad", "--check", *names, cwd=VALID, PYTHONPATH=packages)
    told = done.stderr.decode()
    assert done.returncode == 2
    assert "simpledag.udgl:11:22: NOMAD1" in told
    # What it raises is a sentence that says whose it is.
    assert (
        "udgl: exits_and_inputs.udgl: the target 'nomad' of nomad-udgl 1.5 failed: "
        "RuntimeError: out of cheese\n"
    ) in told
    assert "udgl: the target nomad would write outside of its folder: ../escaped\n" in told
    assert done.stdout == b"one_operator.udgl: ok, nomad writes Echo/job.hcl, README\n"
    assert "Traceback" not in told


def test_a_target_that_cannot_be_used_is_a_sentence(udgl_command: Run, packages: str) -> None:
    done = udgl_command("targets", PYTHONPATH=packages, COLUMNS="200")
    assert done.returncode == 2
    assert sorted(done.stderr.decode().splitlines()) == [
        "udgl: several installed packages add a target 'twice': rival 0.1, nomad-udgl 1.5; "
        "uninstall all but one",
        "udgl: the target 'broken' of nomad-udgl 1.5 cannot be loaded from broken_target: "
        "ValueError: no luck",
        "udgl: the target 'empty' of nomad-udgl 1.5 is none: empty_target has no CODES, "
        "compile_graph as the targets of udgl have",
        "udgl: the target 'missing' of nomad-udgl 1.5 cannot be loaded from "
        "no_such_module_anywhere:thing: ModuleNotFoundError: No module named "
        "'no_such_module_anywhere'",
    ]
    told = done.stdout.decode()
    assert "nomad" in told
    assert "jobs of Nomad; writes {name}/job.hcl (of nomad-udgl 1.5)" in told
    # Nobody takes the place of a target of this package.
    assert f"{target('earg').DESCRIPTION}; writes {{name}}-{{version}}.earg" in told


def test_a_broken_target_is_imported_only_when_it_is_asked_for(
    udgl_command: Run, packages: str
) -> None:
    file = str(EARG / "one_node.udgl")
    fine = udgl_command("compile", "-t", "earg", file, PYTHONPATH=packages)
    assert (fine.returncode, fine.stderr) == (0, b"")
    broken = udgl_command("compile", "-t", "broken", file, PYTHONPATH=packages)
    assert broken.returncode == 2
    assert broken.stderr.startswith(b"udgl: the target 'broken' of nomad-udgl 1.5 cannot be")


def test_the_table_of_targets_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets", "--format", "json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert tuple(rows) == target_names()
    for name in ("earg", "dot", "mermaid", "json"):
        assert rows[name]["description"] == target(name).DESCRIPTION
        assert rows[name]["writes"].startswith("{name}-{version}.")
        assert rows[name]["package"] is None
    assert set(rows["earg"]["codes"]) == set(target("earg").CODES)


def test_a_misspelt_target_is_asked_back(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["compile", "-t", "mermade", "x.udgl"])
    assert caught.value.code == 2
    assert "there is no target 'mermade'; did you mean 'mermaid'?" in capsys.readouterr().err


def test_many_graphs_are_compiled_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    folder = tmp_path / "graphs"
    folder.mkdir()
    for name in ("sentiment", "several_inputs", "several_exits", "simpledag"):
        (folder / f"{name}.udgl").write_bytes((EARG / f"{name}.udgl").read_bytes())
    assert main(["compile", "-t", "earg", "-o", str(out), str(folder)]) == 1
    told = capsys.readouterr()
    written = [str(out / "SentiAnalyzer-3.earg"), str(out / "simpledag-test.earg")]
    assert told.out.splitlines() == written
    assert sorted(map(str, out.iterdir())) == written
    # Those that EARG cannot express are told, and do not hide the others.
    assert "EARG101" in told.err
    assert "EARG103" in told.err


def test_graphs_that_would_replace_each_other_are_not_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.udgl").write_bytes((EARG / "sentiment.udgl").read_bytes())
    code = main(["compile", "-t", "earg", "-o", str(tmp_path / "out"), str(tmp_path)])
    told = capsys.readouterr()
    assert code == 2
    assert "b.udgl: not written: its SentiAnalyzer-3.earg would replace that of" in told.err
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_several_graphs_need_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["compile", "-t", "earg", str(EARG)])
    assert caught.value.code == 2
    assert "several graphs need a folder to write to: -o DIR" in capsys.readouterr().err


def test_check_compiles_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    files = [str(EARG / "hyphens.udgl"), str(EARG / "several_exits.udgl")]
    assert main(["compile", "-t", "earg", "--check", "-o", str(out), *files]) == 1
    told = capsys.readouterr()
    assert told.out == f"{files[0]}: ok, earg writes my_graph-1.0_rc_1.earg\n"
    assert "EARG103" in told.err
    assert not out.exists()
