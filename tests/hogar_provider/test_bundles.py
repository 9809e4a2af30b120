"""A bundle of UDGL files as Airflow's processes use it: what it shows, and what it survives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.bundles.base import BaseDagBundle
from airflow.sdk.definitions.context import _AIRFLOW_PARSING_CONTEXT_DAG_ID

from hogar_provider import graph_tree
from hogar_provider.bundles import UdglDagBundle
from hogar_provider.exceptions import AirflowException
from tests.hogar_provider.folders import (
    BROKEN,
    LOADERS,
    ROOT,
    SENTIMENT,
    TWO_EXITS,
    chain,
    parse,
)


@pytest.fixture
def graphs(tmp_path: Path) -> Path:
    """The folder that the bundle wraps: no Python file in it."""
    folder = tmp_path / "graphs"
    folder.mkdir()
    return folder


@pytest.fixture
def bundle(graphs: Path, tmp_path: Path) -> Callable[..., UdglDagBundle]:
    """Another process's bundle of that folder, initialized."""

    def made(**kwargs: Any) -> UdglDagBundle:
        options = {"kwargs": {"path": str(graphs)}, "storage": str(tmp_path / "storage"), **kwargs}
        bundle = UdglDagBundle(name="graphs", **options)
        bundle.initialize()
        return bundle

    return made


@pytest.fixture
def task_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What is parsed from now on is parsed in the process of a task of that DAG."""
    return lambda dag_id: monkeypatch.setenv(_AIRFLOW_PARSING_CONTEXT_DAG_ID, dag_id)


def held(folder: Path) -> list[str]:
    """The paths of the files below a folder, links followed."""
    found = []
    for path, _, files in os.walk(folder, followlinks=True):
        found += [Path(path, name).relative_to(folder).as_posix() for name in files]
    return sorted(name for name in found if "__pycache__" not in name)


class VersionedBundle(BaseDagBundle):
    """A bundle whose versions are the subfolders of a folder, as one of a repository has them."""

    supports_versioning = True

    def __init__(self, *, root: str, subdir: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = Path(root)
        self.subdir = subdir

    def get_current_version(self) -> str:
        return max(path.name for path in self.root.iterdir())

    @property
    def path(self) -> Path:
        return self.root / (self.version or self.get_current_version())

    def refresh(self) -> None:
        (self.root / "refreshed").touch()
        (self.root / "refreshed").unlink()

    def view_url_template(self) -> str:
        return "https://example.org/{subdir}/%7B/{version}"


# --- each graph by itself -------------------------------------------------------------------------


def test_every_graph_is_a_dag_with_a_file_of_its_own(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    shutil.copy(SENTIMENT, graphs)
    (graphs / "below").mkdir()
    (graphs / "below/two.udgl").write_text(chain("Two", "i:1", "i:2"))
    bag = parse(bundle().path)
    assert bag.import_errors == {}
    assert {dag.dag_id: dag.relative_fileloc for dag in bag.dags.values()} == {
        "SentiAnalyzer": "sentiment.udgl.py",
        "Two": "below/two.udgl.py",
    }


def test_the_code_tab_shows_the_graph(graphs: Path, bundle: Callable[..., UdglDagBundle]) -> None:
    shutil.copy(SENTIMENT, graphs)
    assert parse(bundle().path).dags["SentiAnalyzer"].fileloc == str(graphs / "sentiment.udgl")


def test_each_broken_file_has_an_import_error_of_its_own(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "good.udgl").write_text(chain("Good", "i:1"))
    (graphs / "broken.udgl").write_text(BROKEN)
    (graphs / "exits.udgl").write_text(TWO_EXITS)
    (graphs / "binary.udgl").write_bytes(bytes(range(256)))
    (graphs / "empty.udgl").touch()
    bag = parse(bundle().path)
    assert bag.dag_ids == ["Good"]
    assert sorted(bag.import_errors) == [
        f"{name}.udgl.py" for name in ("binary", "broken", "empty", "exits")
    ]


def test_an_import_error_shows_path_line_column_caret_and_hint(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "broken.udgl").write_text(BROKEN)
    text = parse(bundle().path).import_errors["broken.udgl.py"]
    assert (
        f'  File "{graphs}/broken.udgl", line 3\n'
        "    verzion 1\n"
        "    ^^^^^^^\n"
        f"SyntaxError: {graphs}/broken.udgl:3:1: U011 "
    ) in text
    assert "\n  hint: did you mean 'version'?" in text


def test_an_import_error_holds_all_that_is_wrong_with_the_file(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "g.udgl").write_text(BROKEN.replace("image", "imago"))
    text = parse(bundle().path).import_errors["g.udgl.py"]
    assert f"SyntaxError: {graphs}/g.udgl:3:1: U011" in text
    assert f"\n{graphs}/g.udgl:5:12: U011" in text
    assert "\n  version 1, imago test/upper:1\n             ^^^^^\n" in text


def test_without_tracebacks_the_caret_is_shown_still(
    graphs: Path, bundle: Callable[..., UdglDagBundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACKS", "False")
    (graphs / "g.udgl").write_text(BROKEN)
    text = parse(bundle().path).import_errors["g.udgl.py"]
    assert text.startswith(f"{graphs}/g.udgl:3:1: U011 ")
    assert "\n  verzion 1\n  ^^^^^^^\n" in text


def test_the_carets_stand_under_the_words_of_an_indented_or_a_very_long_line(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "indented.udgl").write_text(BROKEN.replace("verzion", "  \t verzion"))
    (graphs / "long.udgl").write_text(BROKEN.replace("verzion", "owner " + "o" * 9000 + ", x"))
    errors = parse(bundle().path).import_errors
    lines = errors["indented.udgl.py"].splitlines()
    place = next(i for i, line in enumerate(lines) if line.endswith("verzion 1"))
    assert lines[place].index("verzion") == lines[place + 1].index("^")
    assert lines[place + 1].count("^") == len("verzion")
    assert all(len(text) < 5000 for text in errors.values())


def test_an_import_error_fits_what_airflow_can_store(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "full.udgl").write_text("größer →\n" * 2000)
    (text,) = parse(bundle().path).import_errors.values()
    assert len(text.encode()) < 65_000


@pytest.mark.parametrize("meta", [f"tags {'t' * 101}", "schedule every full moon"])
def test_what_airflow_refuses_is_the_files_own_error(
    meta: str, graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "good.udgl").write_text(chain("Good", "i:1"))
    (graphs / "other.udgl").write_text(chain("Other", "i:1", meta=meta))
    bag = parse(bundle().path)
    assert bag.dag_ids == ["Good"]
    assert list(bag.import_errors) == ["other.udgl.py"]


# --- two files, one name --------------------------------------------------------------------------


def test_of_two_files_with_one_graph_name_the_first_has_it_and_the_error_names_both(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "a copy.udgl").write_text(chain("Same", "i:1", "i:2"))
    (graphs / "a.udgl").write_text(chain("Same", "i:1"))
    bag = parse(bundle().path)
    assert bag.dags["Same"].fileloc == str(graphs / "a.udgl")
    assert list(bag.import_errors) == ["a copy.udgl.py"]
    text = bag.import_errors["a copy.udgl.py"]
    assert f"{graphs}/a copy.udgl:2:6: AIRFLOW102 graph name 'Same' is taken by" in text
    assert f"{graphs}/a.udgl\n" in text
    assert "\n    name Same\n         ^^^^\n" in text


def test_two_graphs_that_would_be_deployed_as_one_are_refused(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "a.udgl").write_text(chain("my_graph", "i:1"))
    (graphs / "b.udgl").write_text(chain("my-graph", "i:1"))
    bag = parse(bundle().path)
    assert bag.dag_ids == ["my_graph"]
    assert "AIRFLOW103" in bag.import_errors["b.udgl.py"]


def test_a_broken_file_takes_no_name(graphs: Path, bundle: Callable[..., UdglDagBundle]) -> None:
    (graphs / "a.udgl").write_text(BROKEN)
    (graphs / "b.udgl").write_text(chain("Broken", "i:1"))
    bag = parse(bundle().path)
    assert bag.dags["Broken"].fileloc == str(graphs / "b.udgl")
    assert list(bag.import_errors) == ["a.udgl.py"]


def test_a_name_that_was_taken_since_the_refresh_stays_with_who_had_it(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "a.udgl").write_text(chain("Other", "i:1"))
    (graphs / "b.udgl").write_text(chain("Same", "i:1"))
    one = bundle()
    (graphs / "a.udgl").write_text(chain("Same", "i:1"))
    bag = parse(one.path)
    assert bag.dags["Same"].fileloc == str(graphs / "b.udgl")
    assert list(bag.import_errors) == ["a.udgl.py"]
    one.refresh()
    bag = parse(one.path)
    assert bag.dags["Same"].fileloc == str(graphs / "a.udgl")
    assert list(bag.import_errors) == ["b.udgl.py"]


def test_a_name_that_very_many_files_have_is_given_once(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    many = graph_tree.MOST_RIVALS + 5
    for number in range(many):
        (graphs / f"g{number:03}.udgl").write_text(chain("Same", "i:1"))
    one = bundle()
    bag = parse(one.path)
    assert bag.dags["Same"].fileloc == str(graphs / "g000.udgl")
    assert len(bag.import_errors) == many - 1
    assert all("g000.udgl" in text for text in bag.import_errors.values())


# --- in a task's process --------------------------------------------------------------------------


def test_a_tasks_process_compiles_its_own_graph_only(
    graphs: Path,
    bundle: Callable[..., UdglDagBundle],
    task_of: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hogar_provider import loader

    for number in range(5):
        (graphs / f"g{number}.udgl").write_text(chain(f"Graph{number % 4}", "i:1"))
    compiled: list[str] = []
    compile_file = loader.compile_file

    def recording(path: Path, *arguments: Any, **options: Any) -> object:
        compiled.append(path.name)
        return compile_file(path, *arguments, **options)

    monkeypatch.setattr(loader, "compile_file", recording)
    one = bundle()
    task_of("Graph0")
    bag = parse(one.path / "g4.udgl.py")
    assert bag.dag_ids == ["Graph0"]
    assert compiled == ["g4.udgl"]


def test_a_task_whose_graph_was_broken_or_deleted_since_says_so(
    graphs: Path, bundle: Callable[..., UdglDagBundle], task_of: Callable[[str], None]
) -> None:
    (graphs / "a.udgl").write_text(BROKEN)
    (graphs / "b.udgl").write_text(chain("B", "i:1"))
    one = bundle()
    (graphs / "b.udgl").unlink()
    task_of("B")
    errors = parse(one.path).import_errors
    assert "U011" in errors["a.udgl.py"]
    assert f"{graphs}/b.udgl: cannot be read: No such file" in errors["b.udgl.py"]


# --- what changes ---------------------------------------------------------------------------------


def test_an_edited_graph_is_read_anew_without_a_refresh(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "g.udgl").write_text(chain("G", "i:1"))
    one = bundle()
    assert parse(one.path).dag_ids == ["G"]
    (graphs / "g.udgl").write_text(chain("Renamed", "i:1"))
    bag = parse(one.path)
    assert bag.dag_ids == ["Renamed"]
    assert bag.import_errors == {}


def test_a_deleted_graph_is_no_error_and_goes_with_the_refresh(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "g.udgl").write_text(chain("G", "i:1"))
    (graphs / "h.udgl").write_text(chain("H", "i:1"))
    one = bundle()
    (graphs / "g.udgl").unlink()
    bag = parse(one.path)
    assert bag.dag_ids == ["H"]
    assert bag.import_errors == {}
    one.refresh()
    assert held(one.path) == ["h.udgl.py"]


def test_a_new_and_a_moved_graph_come_with_the_refresh(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "g.udgl").write_text(chain("G", "i:1"))
    one = bundle()
    (graphs / "below").mkdir()
    (graphs / "g.udgl").rename(graphs / "below/moved.udgl")
    (graphs / "new.udgl").write_text(chain("New", "i:1"))
    one.refresh()
    assert held(one.path) == ["below/moved.udgl.py", "new.udgl.py"]
    assert sorted(parse(one.path).dag_ids) == ["G", "New"]


def test_a_stub_is_as_old_as_its_graph(graphs: Path, bundle: Callable[..., UdglDagBundle]) -> None:
    # Airflow parses first what has changed last.
    (graphs / "g.udgl").write_text(chain("G", "i:1"))
    os.utime(graphs / "g.udgl", (1_700_000_000, 1_700_000_000))
    one = bundle()
    assert (one.path / "g.udgl.py").stat().st_mtime == 1_700_000_000
    os.utime(graphs / "g.udgl", (1_700_000_100, 1_700_000_100))
    one.refresh()
    assert (one.path / "g.udgl.py").stat().st_mtime == 1_700_000_100


def test_what_has_not_changed_is_not_written_again(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "g.udgl").write_text(chain("G", "i:1"))
    one = bundle()
    before = (one.path / "g.udgl.py").stat()
    one.refresh()
    other = bundle()
    assert other.path == one.path
    assert (other.path / "g.udgl.py").stat() == before


def test_a_folder_that_is_away_leaves_the_graphs_as_they_were(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "g.udgl").write_text(chain("G", "i:1"))
    one = bundle()
    graphs.rename(graphs.with_name("away"))
    with pytest.raises(AirflowException, match="does not exist"):
        one.refresh()
    assert held(one.path) == ["g.udgl.py"]


# --- a folder tree --------------------------------------------------------------------------------


def test_all_else_of_the_folder_is_there_too(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "package/inner").mkdir(parents=True)
    (graphs / "package/__init__.py").touch()
    (graphs / "package/inner/table.csv").write_text("1\n")
    (graphs / "package/__pycache__").mkdir()
    (graphs / ".hidden/deep").mkdir(parents=True)
    (graphs / ".hidden/deep/x").write_text("x")
    (graphs / "plain.py").write_text(
        "from pathlib import Path\n"
        "from airflow.sdk import DAG\n"
        "text = Path(__file__).parent.joinpath('package/inner/table.csv').read_text()\n"
        "dag = DAG('plain', schedule=None, description=text.strip())\n"
    )
    (graphs / "package/g.udgl").write_text(chain("G", "i:1"))
    one = bundle()
    assert held(one.path) == [
        ".hidden/deep/x",
        "package/__init__.py",
        "package/g.udgl.py",
        "package/inner/table.csv",
        "plain.py",
    ]
    bag = parse(one.path)
    assert sorted(bag.dag_ids) == ["G", "plain"]
    assert bag.dags["plain"].description == "1"
    assert held(graphs / "package/__pycache__") == []


def test_the_loader_files_add_nothing_where_a_bundle_does_their_work(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    for file in (*LOADERS, SENTIMENT):
        shutil.copy(file, graphs)
    (graphs / "broken.udgl").write_text(BROKEN)
    bag = parse(bundle().path)
    assert {dag.dag_id: dag.relative_fileloc for dag in bag.dags.values()} == {
        "SentiAnalyzer": "sentiment.udgl.py"
    }
    assert list(bag.import_errors) == ["broken.udgl.py"]


def test_odd_names_are_names(graphs: Path, bundle: Callable[..., UdglDagBundle]) -> None:
    names = [
        "größe →.udgl",
        "a b'c\".udgl",
        "UPPER.UDGL",
        "-.udgl",
        "class.udgl",
        "1.2.udgl",
        "new\nline.udgl",
        "back\\slash.udgl",
        "{brace}.udgl",
        "x" * 250 + ".udgl",
        "ü" * 125 + ".udgl",
    ]
    for number, name in enumerate(names):
        (graphs / name).write_text(chain(f"G{number}", "i:1"))
    one = bundle()
    bag = parse(one.path)
    assert sorted(bag.dag_ids) == sorted(f"G{number}" for number in range(len(names)))
    assert bag.import_errors == {}
    assert bag.dags["G0"].relative_fileloc == "größe →.udgl.py"
    assert {Path(dag.fileloc).name for dag in bag.dags.values()} == set(names)


def test_a_name_that_airflow_cannot_store_is_an_error_of_its_own(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    Path(os.fsdecode(os.fsencode(graphs) + b"/bad\xff.udgl")).write_text(chain("Bad", "i:1"))
    (graphs / "good.udgl").write_text(chain("Good", "i:1"))
    bag = parse(bundle().path)
    assert bag.dag_ids == ["Good"]
    ((name, text),) = bag.import_errors.items()
    assert name == "bad\\xff.udgl.py"
    assert "bad\\udcff.udgl: AIRFLOW104" in text
    text.encode()


def test_hidden_graphs_are_left_out(graphs: Path, bundle: Callable[..., UdglDagBundle]) -> None:
    (graphs / ".g.udgl").write_text(chain("G", "i:1"))
    (graphs / ".git").mkdir()
    (graphs / ".git/h.udgl").write_text(chain("H", "i:1"))
    assert parse(bundle().path).dags == {}


def test_a_python_file_called_like_a_stub_stays(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "g.udgl").write_text(chain("G", "i:1"))
    (graphs / "g.py").write_text("from airflow.sdk import DAG\ndag = DAG('theirs')\n")
    (graphs / "g.udgl.py").write_text("from airflow.sdk import DAG\ndag = DAG('odd')\n")
    assert sorted(parse(bundle().path).dag_ids) == ["G", "odd", "theirs"]


def test_loops_of_links_end_and_hide_nothing(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "a").mkdir()
    (graphs / "a/g.udgl").write_text(chain("G", "i:1"))
    (graphs / "a/up").symlink_to("..")
    (graphs / "a/back").symlink_to(graphs / "a")
    (graphs / "again").symlink_to("a")
    (graphs / "itself.udgl").symlink_to("itself.udgl")
    bag = parse(bundle().path)
    assert bag.dag_ids == ["G"]
    assert bag.import_errors == {}


def test_a_folder_of_links_as_kubernetes_mounts_it(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "..2024_01_01").mkdir()
    (graphs / "..2024_01_01/g.udgl").write_text(chain("G", "i:1"))
    (graphs / "..data").symlink_to("..2024_01_01")
    (graphs / "g.udgl").symlink_to("..data/g.udgl")
    bag = parse(bundle().path)
    assert bag.dag_ids == ["G"]
    assert bag.dags["G"].fileloc == str(graphs / "g.udgl")


def test_links_to_folders_elsewhere_are_followed(
    graphs: Path, bundle: Callable[..., UdglDagBundle], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/g.udgl").write_text(chain("G", "i:1"))
    (graphs / "linked").symlink_to(tmp_path / "elsewhere")
    assert parse(bundle().path).dags["G"].relative_fileloc == "linked/g.udgl.py"


def test_what_airflow_ignores_is_ignored(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    for name in ("a", "drafts/b", "c/d", "c/e"):
        (graphs / name).parent.mkdir(exist_ok=True)
        (graphs / f"{name}.udgl").write_text(chain(name.replace("/", "_"), "i:1"))
    (graphs / "c/e.py").write_text("from airflow.sdk import DAG\ndag = DAG('theirs')\n")
    (graphs / ".airflowignore").write_text("drafts/\n")
    (graphs / "c/.airflowignore").write_text("e.*\n")
    assert sorted(parse(bundle().path).dag_ids) == ["a", "c_d"]


def test_a_pattern_against_python_files_is_none_against_graphs(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "a").mkdir()
    for name in ("a/x", "y", "[z] #1"):
        (graphs / f"{name}.udgl").write_text(chain(f"G{len(name)}", "i:1"))
    (graphs / "a/helper.py").write_text("raise RuntimeError('airflow dag')\n")
    (graphs / ".airflowignore").write_text("*.py")
    bag = parse(bundle().path)
    assert sorted(bag.dag_ids) == ["G1", "G3", "G6"]
    assert bag.import_errors == {}


def test_a_folder_that_cannot_be_written_to_will_do(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "below").mkdir()
    (graphs / "below/g.udgl").write_text(chain("G", "i:1"))
    (graphs / "plain.py").write_text("from airflow.sdk import DAG\ndag = DAG('plain')\n")
    before = held(graphs)
    for folder in (graphs / "below", graphs):
        folder.chmod(0o555)
    try:
        bag = parse(bundle().path)
        assert sorted(bag.dag_ids) == ["G", "plain"]
        # The user who tests may be root, whom no permission holds back.
        assert held(graphs) == before
        assert not list(graphs.rglob("__pycache__"))
    finally:
        for folder in (graphs, graphs / "below"):
            folder.chmod(0o755)


def test_images_start_at_the_graphs_own_folder(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "a/b").mkdir(parents=True)
    (graphs / "images.yaml").touch()
    (graphs / "a/b/g.udgl").write_text(chain("G", "i:1"))
    dag = parse(bundle().path).dags["G"]
    task = dag.get_task("deploy.A")
    assert Path(dag.folder, task.images).resolve() == graphs / "images.yaml"  # type: ignore[attr-defined]


# --- storage --------------------------------------------------------------------------------------


def test_storage_is_in_airflows_home_unless_configured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import airflow.configuration

    monkeypatch.setattr(airflow.configuration, "AIRFLOW_HOME", str(tmp_path))
    assert UdglDagBundle(name="g").path == tmp_path / "udgl_bundles/g/latest"
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "there"))
    assert UdglDagBundle(name="g").path == tmp_path / "there/_udgl/g/latest"


def test_storage_inside_the_wrapped_folder_is_no_part_of_it(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    (graphs / "g.udgl").write_text(chain("G", "i:1"))
    one = bundle(storage=str(graphs / "generated"))
    one.refresh()
    assert held(one.path) == ["g.udgl.py"]


def test_a_bundle_that_is_up_to_date_needs_no_writing(
    graphs: Path, bundle: Callable[..., UdglDagBundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A task that runs as another user may read the storage and no more.
    (graphs / "g.udgl").write_text(chain("G", "i:1"))
    bundle()

    def refused(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(graph_tree, "_locked", refused)
    assert parse(bundle().path).dag_ids == ["G"]


def test_what_a_killed_process_left_is_cleared_away(
    graphs: Path, bundle: Callable[..., UdglDagBundle], tmp_path: Path
) -> None:
    store = tmp_path / "storage/graphs"
    (store / "new/files").mkdir(parents=True)
    (store / "new/files/half").touch()
    (store / "latest.new").symlink_to("nowhere")
    (graphs / "g.udgl").write_text(chain("G", "i:1"))
    assert held(bundle().path) == ["g.udgl.py"]
    assert not (store / "new").exists()


def test_old_states_are_kept_for_their_readers_and_then_removed(
    graphs: Path,
    bundle: Callable[..., UdglDagBundle],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = bundle()
    for number in range(3):
        (graphs / f"g{number}.udgl").write_text(chain(f"G{number}", "i:1"))
        one.refresh()
    store = tmp_path / "storage/graphs"
    assert len([path for path in store.iterdir() if (path / "source").exists()]) == 4
    monkeypatch.setattr(graph_tree, "KEEP", -1.0)
    (graphs / "g0.udgl").unlink()
    one.refresh()
    assert [path.name for path in store.iterdir() if (path / "source").exists()] == [
        one.path.resolve().parent.name
    ]


def test_readers_always_see_a_whole_folder(
    graphs: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    for number in range(20):
        (graphs / f"g{number}.udgl").write_text(chain(f"G{number}", "i:1"))
    one = bundle()
    missing: list[str] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            if len(held(one.path)) != 20:
                missing.append("files")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(30):
            os.utime(graphs / "g0.udgl", (number, number))
            one.refresh()
    finally:
        ended.set()
        reader.join()
    assert missing == []


@pytest.mark.slow
def test_many_processes_at_once_show_one_state(
    graphs: Path, tmp_path: Path, bundle: Callable[..., UdglDagBundle]
) -> None:
    for number in range(50):
        (graphs / f"g{number}.udgl").write_text(chain(f"G{number}", "i:1"))
    code = f"""
import sys, time
from pathlib import Path
from hogar_provider.graph_tree import show
folder, link = Path({str(graphs)!r}), Path({str(tmp_path / "storage/graphs/latest")!r})
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    (folder / "g0.udgl").touch()
    show(folder, link)
    assert len(list(link.iterdir())) == 50
"""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "PYTHONPATH": str(ROOT),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        while "ready" not in process.stdout.readline():
            pass
    for process in processes:
        process.communicate("go\n", timeout=120)
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert len(parse(bundle().path).dag_ids) == 50


# --- versions, and other bundles ------------------------------------------------------------------


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """A repository of two versions, which differ in the graph's name."""
    root = tmp_path / "repository"
    for version in ("v1", "v2"):
        (root / version).mkdir(parents=True)
        (root / version / "g.udgl").write_text(chain(f"G{version}", "i:1"))
    return root


def versioned(root: Path, tmp_path: Path, version: str | None = None) -> UdglDagBundle:
    return UdglDagBundle(
        name="graphs",
        version=version,
        bundle=f"{__name__}.VersionedBundle",
        kwargs={"root": str(root), "subdir": "sub{x}"},
        storage=str(tmp_path / "storage"),
    )


def test_a_version_is_that_of_the_wrapped_bundle(versions: Path, tmp_path: Path) -> None:
    bundle = versioned(versions, tmp_path)
    assert bundle.supports_versioning
    bundle.initialize()
    assert bundle.get_current_version() == "v2"
    assert parse(bundle.path).dag_ids == ["Gv2"]
    old = versioned(versions, tmp_path, "v1")
    old.initialize()
    assert parse(old.path).dag_ids == ["Gv1"]
    assert parse(bundle.path).dag_ids == ["Gv2"]


def test_the_newest_version_comes_with_the_refresh(versions: Path, tmp_path: Path) -> None:
    bundle = versioned(versions, tmp_path)
    bundle.initialize()
    shutil.copytree(versions / "v1", versions / "v3")
    bundle.refresh()
    assert bundle.get_current_version() == "v3"
    assert parse(bundle.path).dag_ids == ["Gv1"]


def test_what_is_generated_for_a_version_goes_with_it(versions: Path, tmp_path: Path) -> None:
    odd = "feature/ü 1"
    shutil.copytree(versions / "v1", versions / odd)
    old = versioned(versions, tmp_path, odd)
    old.initialize()
    assert held(old.path) == ["g.udgl.py"]
    assert old.path.parent == tmp_path / "storage/graphs"
    shutil.rmtree(versions / "feature")
    versioned(versions, tmp_path, "v2").initialize()
    assert not old.path.is_symlink()


def test_a_url_is_that_of_the_wrapped_bundle(versions: Path, tmp_path: Path) -> None:
    template = versioned(versions, tmp_path).view_url_template()
    assert template is not None
    # Airflow knows the version alone.
    assert template.format(version="v7") == "https://example.org/sub{x}/%7B/v7"
    assert UdglDagBundle(name="plain").view_url_template() is None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no.such.Bundle", "cannot find the bundle 'no.such.Bundle'"),
        ("Bundle", "cannot find the bundle 'Bundle'"),
        ("pathlib.Path", "is no DAG bundle class"),
        ("hogar_provider.bundles.UdglDagBundle", "cannot wrap"),
    ],
)
def test_a_bundle_that_is_none_is_told_of(path: str, message: str) -> None:
    with pytest.raises(AirflowException, match=message):
        UdglDagBundle(name="g", bundle=path)


def test_airflow_makes_the_bundle_from_one_line_of_configuration(
    graphs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    from airflow.dag_processing.bundles.manager import DagBundlesManager

    line = [{"name": "g", "classpath": "hogar_provider.bundles.UdglDagBundle", "kwargs": {}}]
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(line))
    bundle = DagBundlesManager().get_bundle("g")
    assert isinstance(bundle, UdglDagBundle)
    assert not bundle.supports_versioning
    from airflow import settings

    assert bundle.wrapped.path == Path(settings.DAGS_FOLDER)


# --- speed ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_thousand_graphs_load(graphs: Path, bundle: Callable[..., UdglDagBundle]) -> None:
    for number in range(1000):
        name = f"{number % 10}/g{number}.udgl"
        (graphs / name).parent.mkdir(exist_ok=True)
        (graphs / name).write_text(chain(f"G{number}", *["i:1"] * 5))
    (graphs / "broken.udgl").write_text(BROKEN)
    one = bundle()
    bag = parse(one.path)
    assert len(bag.dags) == 1000
    assert list(bag.import_errors) == ["broken.udgl.py"]
    began = time.process_time()
    bundle()
    # Every task's process does this; it takes 0.1 s or so.
    assert time.process_time() - began < 2


@pytest.mark.slow
def test_asking_for_a_bundle_imports_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys
import airflow.dag_processing.bundles.manager
before = set(sys.modules)
from hogar_provider.bundles import UdglDagBundle
UdglDagBundle(name="g").path
tops = {name.split(".")[0] for name in set(sys.modules) - before}
print(sorted(tops & {"lark", "grpc", "google", "yaml", "earg", "udgl"}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow"), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
