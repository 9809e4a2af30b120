"""``udgl decompile``: EARG's files back to graphs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import udgl
from earg.choosing import Case, Share, Split, Switch
from earg.condition import parse_condition
from earg.config import Edge, NodeSpec, StaticConfig, write_static
from earg.extras import Extras, NodeExtras, write_extras
from tests.udgl.fixture_files import FIXTURES
from udgl.cli import main
from udgl.constructs import CONSTRUCTS, Construct
from udgl.difference import difference

EARG = FIXTURES / "earg"


def decompiled(capsys: pytest.CaptureFixture[str], *arguments: str) -> udgl.ServingGraph:
    assert main(["decompile", "-t", "earg", *arguments]) == 0
    return udgl.parse(capsys.readouterr().out)


@pytest.mark.parametrize(
    "name", ["entry_last", "hyphens", "joins_in_a_row", "one_node", "sentiment", "simpledag"]
)
def test_a_compiled_graph_comes_back(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = EARG / f"{name}.udgl"
    graph = udgl.load(source)
    assert main(["compile", "-t", "earg", "-o", str(tmp_path), str(source)]) == 0
    (written,) = tmp_path.iterdir()
    capsys.readouterr()
    again = decompiled(capsys, str(written))
    changed = difference(graph, again)
    # EARG has no '-' in names and versions of graphs.
    assert not changed.changed
    assert not changed.topology
    if name == "hyphens":
        assert (again.name, again.version) == ("my_graph", "1.0_rc_1")
    else:
        assert not changed
    if name in ("sentiment", "simpledag"):
        assert again == graph


@pytest.mark.skipif(
    not (EARG / "growth.extras.yaml").exists(), reason="EARG's target writes no extras"
)
def test_a_compiled_graph_comes_back_with_its_extras_and_images(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = EARG / "growth.udgl"
    assert main(["compile", "-t", "earg", "-o", str(tmp_path), str(source)]) == 0
    capsys.readouterr()
    (config,) = tmp_path.glob("*.earg")
    beside = [
        part
        for kind in ("extras", "images")
        for part in (f"--{kind}", str(config.with_suffix(f".{kind}.yaml")))
    ]
    changed = difference(udgl.load(source), decompiled(capsys, *beside, str(config)))
    assert not changed.topology
    assert not changed.changed


@pytest.mark.parametrize("construct", CONSTRUCTS, ids=lambda construct: construct.name)
def test_every_construct_that_earg_has_a_place_for_comes_back(
    construct: Construct, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = tmp_path / "graph.udgl"
    source.write_text(construct.example)
    status = main(["compile", "-t", "earg", "-o", str(tmp_path), str(source)])
    told = capsys.readouterr().err
    # What cannot be compiled, or has no place in EARG's files, is told.
    assert status == 0 or "EARG101" in told or "EARG103" in told or "EARG102" in told
    if status or "EARG109" in told:
        return
    (config,) = tmp_path.glob("*.earg")
    beside = [
        part
        for kind in ("extras", "images")
        if (file := config.with_suffix(f".{kind}.yaml")).exists()
        for part in (f"--{kind}", str(file))
    ]
    again = decompiled(capsys, *beside, str(config))
    if construct.name == "backup":
        # One is what a stateful node has anyhow.
        again = replace(again, operators=tuple(_with_backup(one) for one in again.operators))
    assert not difference(udgl.load(source), again).changed
    assert construct.uses(again)


def _with_backup(operator: udgl.Operator) -> udgl.Operator:
    return replace(operator, backup=1) if operator.stateful else operator


def test_what_is_decompiled_compiles_to_the_same_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = (EARG / "sentiment.earg").read_text()
    (tmp_path / "SentiAnalyzer-3.earg").write_text(text)
    out = tmp_path / "new" / "sentiment.udgl"
    assert main(["decompile", "-o", str(out), str(tmp_path / "SentiAnalyzer-3.earg")]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert main(["compile", "-t", "earg", str(out)]) == 0
    assert capsys.readouterr().out == text


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A folder with a config of every kind of flow, its extras, and an images file."""
    names = ("Detector", "Fatigue", "Echo", "Stable", "Canary")
    config = StaticConfig(
        tuple(
            NodeSpec(
                name, "1", f"f/{name.lower()}:1", name == "Fatigue", -64 if name == "Echo" else 8
            )
            for name in names
        ),
        dist=(Edge((1,), (2, 3)), Edge((3,), (4, 5))),
    )
    extras = Extras(
        nodes=((3, NodeExtras(replicas=2, wait=0.005, latency=0.05, timeout=2.0)),),
        switches=(
            Switch(
                1,
                (
                    Case(2, parse_condition('label == "drowsy" and score >= 0.5')),
                    Case(2, parse_condition('label == "asleep"')),
                    Case(3),
                ),
            ),
        ),
        splits=(Split(3, (Share(4, 90), Share(5, 10))),),
    )
    (tmp_path / "Faces-2.earg").write_text(write_static(config, choices=True))
    (tmp_path / "extras.json").write_text(write_extras(extras, config))
    (tmp_path / "images.yaml").write_text(
        "f/echo:1: {entrypoint: 'models.echo:Echo', env: {LANG: de}}\n"
    )
    return tmp_path


def test_extras_and_images_say_the_rest(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = decompiled(
        capsys,
        "--extras",
        str(faces / "extras.json"),
        "--images",
        str(faces / "images.yaml"),
        str(faces / "Faces-2.earg"),
    )
    expected = udgl.parse(
        """\
meta
name Faces
version 2
operator Detector
image f/detector:1, batch 8
operator Fatigue
image f/fatigue:1, batch 8, stateful Yes
operator Echo
image f/echo:1, entrypoint models.echo:Echo, env LANG=de
batch dynamic 64, wait 5ms, latency 50ms, timeout 2s, replicas 2
operator Stable
image f/stable:1, batch 8
operator Canary
image f/canary:1, batch 8
flow
switch
Detector -> Fatigue when label == "drowsy" and score >= 0.5, Fatigue when label == "asleep"
Detector -> Echo otherwise
split
Echo -> Stable 90%, Canary 10%
"""
    )
    assert graph == expected


def test_a_choosing_graph_without_its_extras_is_told(
    faces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["decompile", str(faces / "Faces-2.earg")]) == 1
    told = capsys.readouterr().err
    assert "Faces-2.earg:8:1: no EARG config: EARG answers from one sink" in told
    assert "hint: a graph that chooses needs its extras too: --extras EXTRAS" in told


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("2\n", 1, "X-1.earg:2:1: no EARG config: "),
        ("1\n0\n1st,1,image,false,1\n", 1, "U014"),
        (None, 2, "No such file or directory"),
    ],
)
def test_what_is_no_graph_is_told(
    text: str | None, code: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "X-1.earg"
    if text is not None:
        file.write_text(text)
    assert main(["decompile", str(file)]) == code
    written = capsys.readouterr()
    assert written.out == ""
    assert told in written.err


def test_broken_extras_are_told(faces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (faces / "extras.json").write_text("nodes: {Ecco: {replicas: 2}}")
    code = main(["decompile", "--extras", str(faces / "extras.json"), str(faces / "Faces-2.earg")])
    assert code == 1
    assert "extras.json: nodes: the graph has no operator called 'Ecco'" in capsys.readouterr().err


def test_name_and_version_are_asked_for_where_the_file_does_not_say_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "one.earg"
    file.write_bytes((EARG / "one_node.earg").read_bytes())
    with pytest.raises(SystemExit) as caught:
        main(["decompile", str(file)])
    assert caught.value.code == 2
    assert "say --name and --version" in capsys.readouterr().err
    graph = decompiled(capsys, "--name", "Other", "--version", "9", str(file))
    assert (graph.name, graph.version) == ("Other", "9")
