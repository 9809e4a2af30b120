"""A dags folder as Airflow's dag processor reads it: good graphs load, broken ones are seen."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from airflow.sdk.definitions.context import _AIRFLOW_PARSING_CONTEXT_DAG_ID

from hogar_provider.loader import (
    BrokenFile,
    BrokenGraphs,
    check_file,
    check_folder,
    compile_file,
    compile_files,
    compile_folder,
    describe_errors,
    load_graphs,
)
from tests.hogar_provider.folders import BROKEN, ROOT, SENTIMENT, TWO_EXITS, chain, parse, stored


@pytest.fixture
def task_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What is parsed from now on is parsed in the process of a task of that DAG."""
    # Airflow's own context manager leaves the variable set where it was not set before.
    return lambda dag_id: monkeypatch.setenv(_AIRFLOW_PARSING_CONTEXT_DAG_ID, dag_id)


def test_a_loader_file_is_three_lines(dags: Path) -> None:
    for loader in dags.glob("*.py"):
        assert len([line for line in loader.read_text().splitlines() if line.strip()]) == 3


def test_every_graph_of_the_folder_becomes_a_dag(dags: Path) -> None:
    shutil.copy(SENTIMENT, dags)
    (dags / "below").mkdir()
    (dags / "below/two.udgl").write_text(chain("Two", "i:1", "i:2"))
    bag = parse(dags)
    assert sorted(bag.dag_ids) == ["SentiAnalyzer", "Two"]
    assert bag.import_errors == {}
    assert {dag.relative_fileloc for dag in bag.dags.values()} == {"hogar_graphs.py"}


def test_the_code_tab_shows_the_graph(dags: Path) -> None:
    shutil.copy(SENTIMENT, dags)
    assert parse(dags).dags["SentiAnalyzer"].fileloc == str(dags / "sentiment.udgl")


def test_an_empty_folder_gives_nothing(dags: Path) -> None:
    bag = parse(dags)
    assert bag.dags == {}
    assert bag.import_errors == {}


def test_a_broken_file_does_not_hide_the_others(dags: Path) -> None:
    shutil.copy(SENTIMENT, dags)
    (dags / "broken.udgl").write_text(BROKEN)
    bag = parse(dags)
    assert bag.dag_ids == ["SentiAnalyzer"]
    # Airflow hides all DAGs of a file that it lists here.
    assert list(bag.import_errors) == ["hogar_errors.py"]


def test_a_broken_file_is_shown_with_line_column_and_caret(dags: Path) -> None:
    (dags / "below").mkdir()
    (dags / "below/broken.udgl").write_text(BROKEN)
    text = parse(dags).import_errors["hogar_errors.py"]
    place, source, caret, *_ = text[text.index(str(dags)) :].splitlines()
    assert place.startswith(f"{dags}/below/broken.udgl:3:1: U011 ")
    assert source == "  verzion 1"
    assert caret == "  ^^^^^^^"


def test_all_broken_files_are_shown(dags: Path) -> None:
    (dags / "good.udgl").write_text(chain("Good", "i:1"))
    (dags / "broken.udgl").write_text(BROKEN)
    (dags / "exits.udgl").write_text(TWO_EXITS)
    (dags / "binary.udgl").write_bytes(bytes(range(256)))
    (dags / "empty.udgl").touch()
    text = parse(dags).import_errors["hogar_errors.py"]
    assert "4 of 5 UDGL files" in text
    for name in ("broken", "exits", "binary", "empty"):
        assert f"{dags}/{name}.udgl" in text
    assert "good.udgl" not in text


def test_a_graph_that_earg_cannot_express_is_shown_where_it_says_so(
    dags: Path, task_of: Callable[[str], None]
) -> None:
    (dags / "exits.udgl").write_text(TWO_EXITS)
    text = parse(dags).import_errors["hogar_errors.py"]
    line = TWO_EXITS.splitlines().index("operator C") + 1
    assert f"{dags}/exits.udgl:{line}:10: EARG103" in text
    assert "\n  operator C\n           ^\n" in text
    assert "hint: join them" in text


def test_a_file_whose_path_airflow_cannot_store_is_shown(dags: Path) -> None:
    Path(os.fsdecode(os.fsencode(dags) + b"/bad\xff.udgl")).write_text(chain("Bad", "i:1"))
    (dags / "good.udgl").write_text(chain("Good", "i:1"))
    bag = parse(dags)
    assert bag.dag_ids == ["Good"]
    text = bag.import_errors["hogar_errors.py"]
    assert "bad\\udcff.udgl: AIRFLOW104" in text
    text.encode()


def test_a_graph_that_airflow_cannot_schedule_is_shown(dags: Path) -> None:
    (dags / "good.udgl").write_text(chain("Good", "i:1"))
    (dags / "when.udgl").write_text(chain("When", "i:1", meta="schedule every full moon"))
    bag = parse(dags)
    assert bag.dag_ids == ["Good"]
    assert f"{dags}/when.udgl: AIRFLOW101" in bag.import_errors["hogar_errors.py"]


@pytest.mark.parametrize("meta", [f"tags {'t' * 101}", f"schedule {'* ' * 4}99"])
def test_what_airflow_refuses_hides_no_other_graph(meta: str, dags: Path) -> None:
    (dags / "good.udgl").write_text(chain("Good", "i:1"))
    (dags / "other.udgl").write_text(chain("Other", "i:1", meta=meta))
    bag = parse(dags)
    assert bag.dag_ids == ["Good"]
    assert list(bag.import_errors) == ["hogar_errors.py"]


def test_a_name_too_long_for_airflow_is_shown(dags: Path) -> None:
    (dags / "good.udgl").write_text(chain("Good", "i:1"))
    (dags / "long.udgl").write_text(chain("L" * 300, "i:1"))
    bag = parse(dags)
    assert bag.dag_ids == ["Good"]
    assert "long.udgl: AIRFLOW101" in bag.import_errors["hogar_errors.py"]


def test_a_file_that_cannot_be_read_is_told_of(dags: Path) -> None:
    # As when it is deleted between the search and the reading.
    loaded = compile_files(dags, [dags / "gone.udgl"])
    assert loaded.broken[0].text == f"{dags}/gone.udgl: cannot be read: No such file or directory"


def test_of_two_files_with_one_graph_name_the_error_names_both(dags: Path) -> None:
    (dags / "a.udgl").write_text(chain("Same", "i:1"))
    (dags / "a copy.udgl").write_text(chain("Same", "i:1", "i:2"))
    bag = parse(dags)
    assert bag.dag_ids == ["Same"]
    assert bag.dags["Same"].fileloc == str(dags / "a.udgl")
    text = bag.import_errors["hogar_errors.py"]
    assert f"{dags}/a copy.udgl:2:6: AIRFLOW102 graph name 'Same' is taken by {dags}/a.udgl" in text
    assert "\n  name Same\n       ^^^^\n" in text


def test_two_graphs_that_would_be_deployed_as_one_are_refused(dags: Path) -> None:
    (dags / "a.udgl").write_text(chain("my_graph", "i:1"))
    (dags / "b.udgl").write_text(chain("my-graph", "i:1"))
    bag = parse(dags)
    assert bag.dag_ids == ["my_graph"]
    text = bag.import_errors["hogar_errors.py"]
    assert f"{dags}/b.udgl:2:6: AIRFLOW103" in text
    assert f"graph 'my_graph' of {dags}/a.udgl" in text


def test_the_errors_go_when_the_file_is_mended(dags: Path) -> None:
    (dags / "g.udgl").write_text(BROKEN)
    assert parse(dags).import_errors
    (dags / "g.udgl").write_text(BROKEN.replace("verzion", "version"))
    bag = parse(dags)
    assert bag.import_errors == {}
    assert bag.dag_ids == ["Broken"]


@pytest.mark.parametrize(
    "text",
    [
        SENTIMENT.read_text(encoding="utf-8"),
        chain("G" * 90, "i:1", "i:2", meta=f"tags {'t' * 90}, {'u' * 90}, u, U, ü"),
        chain("G", "i:1").replace("operator A", "operator " + "O" * 90),
        chain("G" * 251, "i:1"),
        chain("G", "i:1").replace("operator A", "operator " + "O" * 250),
        chain("G", "i:1", meta=f"tags {'t' * 101}"),
        chain("G", "i:1", meta="schedule @daily"),
        chain("G", "i:1", meta="schedule every full moon"),
        chain("G", "i:1", meta="owner \x01 é\ndescription " + "d" * 70_000),
        chain("G", *["i:1"] * 26),
        TWO_EXITS,
        BROKEN,
    ],
)
def test_the_errors_file_finds_broken_just_what_gives_no_dag(text: str, tmp_path: Path) -> None:
    path = tmp_path / "g.udgl"
    path.write_text(text)
    compiled, checked = compile_file(path, tmp_path), check_file(path, tmp_path)
    assert getattr(compiled, "diagnostics", None) == getattr(checked, "diagnostics", None)
    assert isinstance(compiled, BrokenFile) == isinstance(checked, BrokenFile)
    if not isinstance(compiled, BrokenFile):
        assert stored(compiled)["dag_id"] == checked.graph.name  # type: ignore[union-attr]


def test_very_many_broken_files_fit_what_airflow_can_store(dags: Path) -> None:
    for number in range(1000):
        (dags / f"broken{number}.udgl").write_text("größer →\n")
    text = describe_errors(*reversed(check_folder(dags)))
    assert len(text.encode()) < 65_000
    shown = len(set(re.findall(r"broken\d+\.udgl", text)))
    assert shown > 50
    assert text.endswith(f"... and {1000 - shown} more files.\n")


def test_a_file_full_of_errors_leaves_room_for_those_of_the_others(dags: Path) -> None:
    (dags / "full.udgl").write_text("nonsense\n" * 2000)
    (dags / "late.udgl").write_text(BROKEN)
    text = describe_errors(*reversed(check_folder(dags)))
    assert len(text.encode()) < 65_000
    assert "\n  ... 'udgl check' on this file shows the rest\n" in text
    assert f"{dags}/late.udgl:3:1: U011" in text


@pytest.mark.slow
def test_a_thousand_graphs_load_within_airflows_limit(dags: Path) -> None:
    for number in range(1000):
        (dags / f"g{number}.udgl").write_text(chain(f"G{number}", *["i:1"] * 5))
    (dags / "broken.udgl").write_text(BROKEN)
    bag = parse(dags)
    # A file that takes longer than [core] dagbag_import_timeout gives nothing.
    assert len(bag.dags) == 1000
    assert list(bag.import_errors) == ["hogar_errors.py"]
    assert "1 of 1001 UDGL files" in bag.import_errors["hogar_errors.py"]


def test_a_loop_of_links_hides_no_graph(dags: Path) -> None:
    (dags / "a").mkdir()
    (dags / "a/g.udgl").write_text(chain("Good", "i:1"))
    (dags / "a/back").symlink_to(dags / "a")
    loaded = compile_folder(dags)
    assert [dag.dag_id for dag in loaded.dags] == ["Good"]
    assert loaded.broken == ()


def test_a_folder_that_cannot_be_searched_is_told_of(tmp_path: Path) -> None:
    (broken,) = compile_folder(tmp_path / "gone").broken
    assert broken.text == f"{tmp_path}/gone: cannot be searched: No such file or directory"


@pytest.mark.parametrize("loader", ["hogar_graphs.py", "hogar_errors.py"])
def test_airflows_search_takes_the_loader_for_a_dag_file(loader: str, dags: Path) -> None:
    from airflow.utils.file import might_contain_dag

    assert might_contain_dag(str(dags / loader), safe_mode=True)


def test_a_tasks_process_compiles_its_own_graph_only(
    dags: Path, task_of: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hogar_provider import loader

    for number in range(5):
        (dags / f"g{number}.udgl").write_text(chain(f"Graph{number}", "i:1"))
    (dags / "broken.udgl").write_text(BROKEN)
    compiled: list[str] = []
    compile_file = loader.compile_file

    def recording(path: Path, folder: Path) -> object:
        compiled.append(path.name)
        return compile_file(path, folder)

    monkeypatch.setattr(loader, "compile_file", recording)
    task_of("Graph3")
    bag = parse(dags)
    assert bag.dag_ids == ["Graph3"]
    assert bag.import_errors == {}
    assert compiled == ["g3.udgl"]


def test_a_tasks_process_takes_the_same_of_two_files_as_the_dag_processor(
    dags: Path, task_of: Callable[[str], None]
) -> None:
    (dags / "a copy.udgl").write_text(chain("Same", "i:1"))
    (dags / "a.udgl").write_text(chain("Same", "i:1"))
    (dags / "0.udgl").write_text(chain("Other", "i:1") + "# Same\n")
    everything: dict[str, object] = {}
    load_graphs(dags, everything)
    one: dict[str, object] = {}
    task_of("Same")
    load_graphs(dags, one)
    assert one["Same"].source == everything["Same"].source == dags / "a.udgl"  # type: ignore[attr-defined]
    assert list(one) == ["Same"]


def test_a_task_whose_graph_was_broken_since_says_so(
    dags: Path, task_of: Callable[[str], None]
) -> None:
    (dags / "g.udgl").write_text(BROKEN)
    task_of("Broken")
    with pytest.raises(BrokenGraphs, match=r"g\.udgl:3:1: U011"):
        load_graphs(dags, {})


def test_a_task_of_somebody_elses_dag_is_not_disturbed(
    dags: Path, task_of: Callable[[str], None]
) -> None:
    (dags / "g.udgl").write_text(BROKEN)
    namespace: dict[str, object] = {}
    task_of("theirs")
    load_graphs(dags, namespace)
    assert namespace == {}


@pytest.mark.slow
def test_parsing_imports_nothing_heavy(dags: Path, tmp_path: Path) -> None:
    (dags / "g.udgl").write_text(chain("G", "i:1", "i:2"))
    (dags / "broken.udgl").write_text(BROKEN)
    code = f"""
import sys
from hogar_provider.loader import load_errors, load_graphs
found = {{}}
load_graphs({str(dags)!r}, found)
load_errors({str(dags)!r}, found)
assert sorted(found) == ["G", "hogar_errors"], found
tops = {{"grpc", "google", "flask", "flask_appbuilder", "networkx", "wtforms"}}
print(sorted(
    name for name in sys.modules
    if name.split(".")[0] in tops or name.split(".")[0] == "earg"
))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow"), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().splitlines()[-1] == "['earg', 'earg.config']"
