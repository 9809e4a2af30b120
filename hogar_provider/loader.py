"""What the two loader files in a dags folder call: every UDGL file below it becomes a DAG.

There are two because of how Airflow takes a file that reports an error: it hides every DAG of that
file. So :func:`load_graphs` gives the good graphs and never fails, and :func:`load_errors`, called
in a second file, gives nothing but one object that carries all the errors to Airflow's list of
import errors.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import DAG, get_parsing_context

from hogar_provider.dag_builder import GraphDag, build_dag
from hogar_provider.graph_files import find_graph_files, images_for

if TYPE_CHECKING:
    from udgl import UdglError

CODES: dict[str, str] = {
    "AIRFLOW101": "Airflow cannot run the graph, for the reason given.",
    "AIRFLOW102": "Two files hold graphs of one name.",
    "AIRFLOW103": "Two graphs would be deployed under one name.",
}
"""Code to the rule that it reports, for what is wrong with a file only in Airflow."""

MOST_ERROR_TEXT = 60_000
"""Bytes of error text handed to Airflow: its narrowest column (MySQL's) takes 65,535."""

LEAST_SHARE = 1_500
"""Bytes of error text that a file may always take: some errors with their lines and hints."""


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A UDGL file that gives no DAG. ``text`` says for a person what to change where."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a folder holds: a DAG for every good file and a text for every broken one."""

    dags: tuple[GraphDag, ...]
    broken: tuple[BrokenFile, ...]


class BrokenGraphs(Exception):  # noqa: N818
    """Some UDGL files of a folder are broken; the text holds every error of each."""


class ErrorCarrier(DAG):
    """A DAG that is never one: Airflow validates it and lists what that raises."""

    broken: BrokenGraphs

    def validate(self) -> NoReturn:
        """Raise the errors."""
        raise self.broken


def load_graphs(place: str | Path, namespace: MutableMapping[str, Any]) -> None:
    """Put a DAG into ``namespace`` for every good UDGL file of a folder and its subfolders.

    ``place`` is the folder, or a file in it: a loader file passes its ``__file__`` and its
    ``globals()``. Broken files are passed over. In the process of a task only that task's graph
    is compiled, and there :class:`BrokenGraphs` tells why it cannot be.
    """
    folder = _folder(place)
    wanted = get_parsing_context().dag_id
    loaded = compile_folder(folder) if wanted is None else compile_one(folder, wanted)
    for dag in loaded.dags:
        namespace[dag.dag_id] = dag
    if wanted is not None and loaded.broken and not loaded.dags:
        raise BrokenGraphs(describe_errors(loaded))


def load_errors(place: str | Path, namespace: MutableMapping[str, Any]) -> None:
    """Put one object into ``namespace`` that carries the errors of all broken UDGL files of a
    folder to Airflow's import errors; nothing where there are none. Arguments as above."""
    if get_parsing_context().dag_id is not None:
        return
    loaded = compile_folder(_folder(place))
    if not loaded.broken:
        return
    carrier = ErrorCarrier("hogar_errors", schedule=None, auto_register=False)
    carrier.broken = BrokenGraphs(describe_errors(loaded))
    namespace["hogar_errors"] = carrier


def compile_folder(folder: Path) -> Loaded:
    """Compile every UDGL file of a folder and its subfolders."""
    try:
        files = find_graph_files(folder)
    except (OSError, RuntimeError) as error:
        return Loaded((), (BrokenFile(folder, f"{folder}: cannot be searched: {error}"),))
    return compile_files(folder, files)


def compile_one(folder: Path, dag_id: str) -> Loaded:
    """Compile the graph called ``dag_id`` and no other: at most one DAG.

    Its file is the first that gives a graph of that name, as in :func:`compile_folder`. ``broken``
    holds the broken files that mention the name, should none give it.
    """
    files = find_graph_files(folder)
    name = dag_id.encode()
    candidates = [path for path in files if name in _read(path)]
    broken: list[BrokenFile] = []
    for path in candidates:
        compiled = compile_file(path, folder)
        if isinstance(compiled, BrokenFile):
            broken.append(compiled)
        elif compiled.dag_id == dag_id:
            return Loaded((compiled,), ())
    return Loaded((), tuple(broken))


def compile_files(folder: Path, files: Iterable[Path]) -> Loaded:
    """Compile files in this order. Of several that claim one name the first keeps it, and the
    others are broken: which graph runs must not depend on which file was read last."""
    dags: dict[str, GraphDag] = {}
    deployed: dict[str, GraphDag] = {}
    broken: list[BrokenFile] = []
    for path in files:
        compiled = compile_file(path, folder)
        if isinstance(compiled, BrokenFile):
            broken.append(compiled)
            continue
        other = dags.get(compiled.dag_id) or deployed.get(_deployed_as(compiled))
        if other is not None:
            broken.append(_claimed_twice(compiled, other))
            continue
        dags[compiled.dag_id] = compiled
        deployed[_deployed_as(compiled)] = compiled
    return Loaded(tuple(dags.values()), tuple(broken))


def compile_file(path: Path, folder: Path) -> GraphDag | BrokenFile:
    """The DAG of one file of ``folder``, or what is wrong with it. Raises nothing: whatever a file
    holds must not keep the others from loading."""
    import udgl

    text = ""
    try:
        graph = udgl.load(path)
        text = path.read_text(encoding="utf-8-sig")
        dag = build_dag(graph, path, text, images_for(path, folder))
        # Airflow runs both again, but a failure there hides all DAGs of the loader file.
        dag.validate()
        dag.check_cycle()
    except udgl.UdglError as error:
        return BrokenFile(path, _told(error, path, text))
    except OSError as error:
        return BrokenFile(path, f"{path}: cannot be read: {error.strerror or error}")
    except Exception as error:
        reason = str(error) or type(error).__name__
        return BrokenFile(path, f"{path}: AIRFLOW101 Airflow cannot run this graph: {reason}")
    return dag


def describe_errors(loaded: Loaded) -> str:
    """All errors of a folder in one text, each with its path, line, column and caret.

    A file with very many errors is cut short, so that the first ones of the others have room.
    """
    count, total = len(loaded.broken), len(loaded.broken) + len(loaded.dags)
    text = f"{count} of {total} UDGL files cannot be loaded; the others are not affected.\n"
    room = MOST_ERROR_TEXT - len(text)
    share = max(room // max(count, 1), LEAST_SHARE)
    for done, broken in enumerate(loaded.broken):
        part = f"\n{_shortened(broken.text.rstrip(), share)}\n"
        room -= len(part.encode())
        if room < 0:
            return f"{text}\n... and {count - done} more files.\n"
        text += part
    return text


def _shortened(text: str, most: int) -> str:
    """The first lines of ``text``, as many as fit into ``most`` bytes."""
    data = text.encode()
    if len(data) <= most:
        return text
    lines = data[:most].decode(errors="ignore").rpartition("\n")[0]
    return f"{lines}\n  ... 'udgl check' on this file shows the rest"


def _told(error: UdglError, path: Path, text: str) -> str:
    """The error's text. What a target found in the graph has not seen the file's lines."""
    from udgl.diagnostics import format_all

    return str(error) if error.text else format_all(error.diagnostics, str(path), text)


def _deployed_as(dag: GraphDag) -> str:
    from udgl.targets.earg import deployed_name

    return deployed_name(dag.graph)[0]


def _claimed_twice(dag: GraphDag, other: GraphDag) -> BrokenFile:
    from udgl.diagnostics import Diagnostic

    if dag.dag_id == other.dag_id:
        code, problem = "AIRFLOW102", f"graph name '{dag.dag_id}' is taken by {other.source}"
    else:
        code = "AIRFLOW103"
        problem = (
            f"graph '{dag.dag_id}' would be deployed as '{_deployed_as(dag)}', "
            f"as is graph '{other.dag_id}' of {other.source}"
        )
    found = Diagnostic(code, problem, dag.graph.span, "give one of the two another name")
    return BrokenFile(dag.source, found.format(str(dag.source), dag.text))


def _folder(place: str | Path) -> Path:
    path = Path(place).absolute()
    return path if path.is_dir() else path.parent


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
