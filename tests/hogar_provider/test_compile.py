"""What a graph compiles to for other platforms: published by its DAG, and offered by the API."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

import udgl
from hogar_provider.assets import compiled_asset
from hogar_provider.compiled import CompiledError, compile_text, publish
from hogar_provider.dag_builder import GraphDag, build_dag
from hogar_provider.exceptions import AirflowFailException, AirflowSkipException
from hogar_provider.operators.compile import CompileGraphOperator
from hogar_provider.plugins.api.declared import read_declared
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.routes import targets as route
from tests.hogar_provider.folders import chain, stored

SOURCE = Path("/dags/g.udgl")
TEXT = chain("My-Graph", "a:1", "b:1", meta="platform kserve, triton")
SWITCH = (
    "meta\nname G\nversion 1\nplatform kserve, seldon\noperator A\nimage a:1\noperator B\n"
    "image b:1\noperator C\nimage c:1\nflow\nswitch\nA -> B when x == 1, C otherwise\n"
)


def build(text: str) -> GraphDag:
    return build_dag(udgl.parse(text), SOURCE, text)


def task(text: str = TEXT, **changed: Any) -> CompileGraphOperator:
    """The task, its templates rendered as a run without params does."""
    found = build(text).get_task("compile")
    assert isinstance(found, CompileGraphOperator)
    found.targets, found.dry = list(udgl.parse(text).platforms), "False"
    for name, value in changed.items():
        setattr(found, name, value)
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__HOGAR__COMPILED_FOLDER", str(tmp_path / "out"))
    return tmp_path / "out"


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("meta", ["", "platform earg"])
def test_a_graph_that_names_no_platform_has_no_task_that_compiles(meta: str) -> None:
    dag = build(chain("G", "a:1", meta=meta))
    assert not dag.has_task("compile")
    assert "platforms" not in dag.params


def test_the_task_stands_beside_the_deploys_and_a_run_can_name_other_platforms() -> None:
    dag = build(TEXT)
    found = dag.get_task("compile")
    assert not found.upstream_task_ids
    assert not found.downstream_task_ids
    assert dag.params.dump()["platforms"] == ["kserve", "triton"]
    assert found.outlets == [compiled_asset("My_Graph")]
    # The text is the task's, and not stored once more with the DAG.
    kept = next(t["__var"] for t in stored(dag)["tasks"] if t["__var"]["task_id"] == "compile")
    assert "image a:1" not in str(kept)


def test_the_files_are_written_and_told(folder: Path) -> None:
    asset = compiled_asset("My_Graph")
    from airflow.sdk.execution_time.context import OutletEventAccessors

    events = OutletEventAccessors()
    result = task().execute({"outlet_events": events})  # type: ignore[typeddict-unknown-key]
    here = folder / "My_Graph" / "1"
    assert result["folder"] == str(here)
    for name in ("kserve", "triton"):
        told = result["targets"][name]
        expected = compile_text(TEXT, "g.udgl", name)
        assert told["digest"] == expected.digest
        assert Path(told["path"]) == here / name
        assert files_below(here / name) == set(told["files"])
        for file in expected.files:
            assert (here / name / file.name).read_text() == file.text
    assert events[asset].extra["digests"]["kserve"] == result["targets"]["kserve"]["digest"]
    assert files_below(here) == {
        f"{name}/{file}" for name, told in result["targets"].items() for file in told["files"]
    }


def test_a_second_run_leaves_nothing_of_the_first(folder: Path) -> None:
    here = folder / "My_Graph" / "1" / "triton"
    (here / "Old").mkdir(parents=True)
    (here / "Old" / "config.pbtxt").write_text("old")
    first = task().execute({})
    assert task().execute({}) == first
    assert not (here / "Old").exists()
    assert {path.name for path in here.parent.iterdir()} == {"kserve", "triton"}


def test_a_platform_that_cannot_express_the_graph_fails_the_task_alone(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AirflowFailException, match=r"^seldon cannot express graph G"):
        task(SWITCH).execute({})
    assert files_below(folder) == {"G/1/kserve/G-1.kserve.yaml"}


@pytest.mark.parametrize("targets", [["nope"], '["../x"]'])
def test_a_target_that_is_none_is_refused(targets: object, folder: Path) -> None:
    with pytest.raises(AirflowFailException, match="There is no target"):
        task(targets=targets).execute({})
    assert not folder.exists()


def test_a_dry_run_writes_nothing_and_updates_no_asset(folder: Path) -> None:
    for changed in ({"dry": "True"}, {"targets": "[]"}):
        with pytest.raises(AirflowSkipException):
            task(**changed).execute({})
    assert not folder.exists()


def test_what_cannot_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    found = compile_text(TEXT, "g.udgl", "kserve")
    publish(found, tmp_path / "kserve")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        publish(found, tmp_path / "file" / "kserve")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "kserve"}


def test_what_is_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hogar_provider.compiled.MOST_BYTES", 100)
    with pytest.raises(CompiledError, match="use udgl compile"):
        compile_text(TEXT, "g.udgl", "kserve")


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"My-Graph": TEXT, "G": SWITCH, "Plain": "import airflow\n"}
    monkeypatch.setattr(
        route, "find_declared", lambda dag_id: read_declared(dag_id, texts[dag_id], {}, "")
    )


@pytest.mark.usefixtures("declared")
def test_the_api_offers_every_target_and_says_which_the_graph_names() -> None:
    found = {one.name: one for one in route._targets("My-Graph").targets}
    assert {name for name, one in found.items() if one.declared} == {"kserve", "triton"}
    assert all(one.description for one in found.values())


@pytest.mark.usefixtures("declared")
def test_the_api_gives_files_and_what_is_not_expressed() -> None:
    view = route._view("My-Graph", "triton")
    data, name = route._archive("My-Graph", "triton")
    assert name == "My_Graph-1.triton.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as read:
        assert {one: read.read(one).decode() for one in read.namelist()} == {
            file.name: file.text for file in view.files
        }
    assert route._archive("My-Graph", "triton")[0] == data
    refused = route._view("G", "seldon")
    assert refused.files == []
    (finding,) = (one for one in refused.findings if one.severity == "error")
    assert (finding.code, finding.line) == ("SELDON101", 13)


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize(
    ("dag_id", "name", "status", "code"),
    [
        ("G", "seldon", 409, "not_expressed"),
        ("G", "nope", 404, "no_such_target"),
        ("Plain", "kserve", 409, "not_udgl"),
    ],
)
def test_the_api_says_why_there_is_no_archive(
    dag_id: str, name: str, status: int, code: str
) -> None:
    with pytest.raises(ApiError) as raised:
        route._archive(dag_id, name)
    assert (raised.value.status, raised.value.code) == (status, code)
