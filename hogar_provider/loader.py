"""What a dags folder's Python files call to make DAGs of UDGL files.

The two loader files of a plain dags folder call :func:`load_graphs` and :func:`load_errors`. There
are two because of how Airflow takes a file that reports an error: it hides every DAG of that file.
So :func:`load_graphs` gives the good graphs and never fails, and :func:`load_errors`, called in a
second file, gives nothing but one object that carries all the errors to Airflow's list of import
errors.

In a :class:`~hogar_provider.bundles.UdglDagBundle` every graph has a Python file of its own, which
calls :func:`load_graph_file`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from airflow.sdk import DAG, get_parsing_context

from hogar_provider.dag_builder import GraphDag, build_dag
from hogar_provider.graph_files import find_graph_files, images_for, order

if TYPE_CHECKING:
    from udgl import Diagnostic, ServingGraph, UdglError

CODES: dict[str, str] = {
    "AIRFLOW101": "Airflow cannot run the graph, for the reason given.",
    "AIRFLOW102": "Two files hold graphs of one name.",
    "AIRFLOW103": "Two graphs would be deployed under one name.",
    "AIRFLOW104": "A file's path is not UTF-8, which Airflow cannot store.",
}
"""Code to the rule that it reports, for what is wrong with a file only in Airflow."""

MOST_ERROR_TEXT = 60_000
"""Bytes of error text handed to Airflow: its narrowest column (MySQL's) takes 65,535."""

LEAST_SHARE = 1_500
"""Bytes of error text that a file may always take: some errors with their lines and hints."""

_NAME = re.compile(rb"name[^\w\r\n]+([A-Za-z][\w.-]*)")


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A UDGL file that gives no DAG. ``text`` says for a person what to change where.

    ``diagnostics`` are what is wrong in ``source``, the file's text, where that is the reason.
    """

    path: Path
    text: str
    diagnostics: tuple[Diagnostic, ...] = field(default=(), repr=False)
    source: str = field(default="", repr=False)


class Claim(Protocol):
    """A graph that is good, the file it is from and what the file says."""

    graph: ServingGraph
    source: Path
    text: str


@dataclass(slots=True)
class GoodFile:
    """A UDGL file that a DAG can be built from."""

    graph: ServingGraph
    source: Path
    text: str


Good = TypeVar("Good", bound=Claim)


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
        raise BrokenGraphs(describe_errors(loaded.broken, len(loaded.broken)))


def load_errors(place: str | Path, namespace: MutableMapping[str, Any]) -> None:
    """Put one object into ``namespace`` that carries the errors of all broken UDGL files of a
    folder to Airflow's import errors; nothing where there are none. Arguments as above."""
    if get_parsing_context().dag_id is not None:
        return
    total, broken = check_folder(_folder(place))
    if not broken:
        return
    carrier = ErrorCarrier("hogar_errors", schedule=None, auto_register=False)
    carrier.broken = BrokenGraphs(describe_errors(broken, total))
    namespace["hogar_errors"] = carrier


def load_graph_file(
    namespace: MutableMapping[str, Any],
    *,
    file: str,
    folder: str,
    names: Collection[str] = (),
    rivals: Collection[str] | None = None,
) -> None:
    """Put the DAG of one UDGL file into ``namespace``; a stub of a bundle calls it.

    ``folder`` is the root of the graphs. ``names`` are the keys (:func:`name_key`) of all names
    that the file may have given its graph when the bundle was refreshed, and ``rivals`` the files
    before it that mentioned one of them; None for too many to tell.

    Raises SyntaxError, which Airflow shows with the file, the line and a caret, for a broken file,
    and for one whose graph's name is taken: the first file by path has it (:func:`order`). A file
    that took a name only after the last refresh has to wait for the next one, so that two never
    give one DAG at once. A file that is gone gives nothing, as a Python file that is gone does.
    """
    path, root = Path(file), Path(folder)
    wanted = get_parsing_context().dag_id
    compiled = compile_file(path, root, alone=True)
    if isinstance(compiled, BrokenFile):
        if wanted is None and not os.path.lexists(path):
            return
        raise as_syntax_error(compiled)
    if wanted is None:
        other = _first_rival(compiled, root, names, rivals)
        if other is not None:
            raise as_syntax_error(_claimed_twice(compiled, other))
    namespace[compiled.dag_id] = compiled


def warm_up() -> None:
    """Load what every parse of a graph needs: the grammar, and what compiles a graph."""
    from udgl.parser import parse
    from udgl.targets.earg import to_static

    to_static(parse("meta\nname A\nversion 1\noperator A\nimage a:1\n"))


def name_key(name: str) -> str:
    """What two names have in common that may be one DAG, or be deployed as one graph."""
    return re.sub(r"[\W_]", "", name).casefold()


def name_keys(data: bytes) -> frozenset[str]:
    """The keys of all names that a file with this content may give its graph."""
    found = _NAME.findall(data)
    return frozenset(name_key(name.decode("ascii")) for name in found)


def read_bounded(path: Path) -> bytes:
    """A file's content, as far as it may be a graph; a file that is longer is none."""
    from udgl.parser import LARGEST_TEXT

    with path.open("rb") as file:
        return file.read(LARGEST_TEXT + 1)


def compile_folder(folder: Path) -> Loaded:
    """Compile every UDGL file of a folder and its subfolders."""
    found = _found(folder)
    if isinstance(found, BrokenFile):
        return Loaded((), (found,))
    return compile_files(folder, found)


def check_folder(folder: Path) -> tuple[int, tuple[BrokenFile, ...]]:
    """How many UDGL files a folder and its subfolders hold, and those that
    :func:`compile_folder` finds broken."""
    found = _found(folder)
    if isinstance(found, BrokenFile):
        return 1, (found,)
    _, broken = _sorted_out(found, lambda path: check_file(path, folder))
    return len(found), tuple(broken)


def _found(folder: Path) -> list[Path] | BrokenFile:
    try:
        return find_graph_files(folder)
    except OSError as error:
        reason = error.strerror or error
        return BrokenFile(folder, f"{folder}: cannot be searched: {reason}")


def compile_one(folder: Path, dag_id: str) -> Loaded:
    """Compile the graph called ``dag_id`` and no other: at most one DAG.

    Its file is the first that gives a graph of that name, as in :func:`compile_folder`. ``broken``
    holds the broken files that mention the name, should none give it.
    """
    files = find_graph_files(folder)
    name = dag_id.encode(errors="surrogateescape")
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
    dags, broken = _sorted_out(files, lambda path: compile_file(path, folder))
    return Loaded(tuple(dags), tuple(broken))


def _sorted_out(
    files: Iterable[Path], look: Callable[[Path], Good | BrokenFile]
) -> tuple[list[Good], list[BrokenFile]]:
    good: list[Good] = []
    broken: list[BrokenFile] = []
    names: dict[str, Good] = {}
    deployed: dict[str, Good] = {}
    for path in files:
        found = look(path)
        if isinstance(found, BrokenFile):
            broken.append(found)
            continue
        other = names.get(found.graph.name) or deployed.get(_deployed_as(found))
        if other is not None:
            broken.append(_claimed_twice(found, other))
            continue
        names[found.graph.name] = deployed[_deployed_as(found)] = found
        good.append(found)
    return good, broken


def compile_file(path: Path, folder: Path, *, alone: bool = False) -> GraphDag | BrokenFile:
    """The DAG of one file of ``folder``, or what is wrong with it. Raises nothing: whatever a file
    holds must not keep the others from loading. A file that shares its Python file with no other
    is ``alone``."""

    def build(graph: ServingGraph, text: str) -> GraphDag:
        dag = build_dag(graph, path, text, images_for(path, folder))
        if not alone:
            # Airflow runs both again, but a failure there hides all DAGs of the loader file.
            dag.validate()
            dag.check_cycle()
        return dag

    return _read_and(build, path)


def check_file(path: Path, folder: Path) -> GoodFile | BrokenFile:
    """What is wrong with one file of ``folder``, as :func:`compile_file` says it; the DAG, which
    takes most of the time, is built only if there is something in it that Airflow could refuse."""
    from udgl.targets.earg import to_static

    def check(graph: ServingGraph, text: str) -> GoodFile:
        if _is_plain(graph):
            to_static(graph)
        else:
            dag = build_dag(graph, path, text, images_for(path, folder))
            dag.validate()
            dag.check_cycle()
        return GoodFile(graph, path, text)

    return _read_and(check, path)


def _is_plain(graph: ServingGraph) -> bool:
    """Whether Airflow takes the DAG for certain: it limits tags to 100 characters and ids to 250,
    and a schedule has a form of its own. Only names and tags are of the user's making."""
    texts = (graph.name, *graph.tags, *(operator.name for operator in graph.operators))
    return graph.schedule is None and all(len(text) <= 90 for text in texts)


Made = TypeVar("Made")


def _read_and(make: Callable[[ServingGraph, str], Made], path: Path) -> Made | BrokenFile:
    """What ``make`` makes of the graph in a file and the file's text, or what is wrong with it."""
    from udgl.diagnostics import UdglError, normalise
    from udgl.parser import parse, read

    name, text = str(path), ""
    try:
        name.encode()
        text = read(path)
        graph = parse(text, name)
        text = normalise(text)
        return make(graph, text)
    except UdglError as error:
        source = error.text or text
        return BrokenFile(path, _told(error, path, source), error.diagnostics, source)
    except UnicodeEncodeError:
        name = name.encode(errors="backslashreplace").decode()
        return BrokenFile(path, f"{name}: AIRFLOW104 the path is not UTF-8: rename the file")
    except OSError as error:
        return BrokenFile(path, f"{path}: cannot be read: {error.strerror or error}")
    except Exception as error:
        reason = str(error) or type(error).__name__
        return BrokenFile(path, f"{path}: AIRFLOW101 Airflow cannot run this graph: {reason}")


def as_syntax_error(broken: BrokenFile) -> SyntaxError:
    """The errors of a file as Python's own, which Airflow prints with file, line and caret.

    Its message is the first error with its place and hint, then all the others as ``udgl check``
    prints them.
    """
    from airflow.configuration import conf

    path = str(broken.path).encode(errors="backslashreplace").decode()
    first = broken.diagnostics[0] if broken.diagnostics else None
    excerpt: list[str] = []
    if first is not None and first.span is not None:
        excerpt = first.format(path, broken.source).split("\n")[1:3]
    # Without tracebacks Airflow shows the message alone: the caret has to be in it.
    caret_in_message = not conf.getboolean("core", "dagbag_import_error_tracebacks", fallback=True)
    if first is None or first.span is None or len(excerpt) < 2 or caret_in_message:
        return SyntaxError(_shortened(broken.text, MOST_ERROR_TEXT))
    line, carets = excerpt
    begin = len(carets) - len(carets.lstrip()) - 1
    message = "\n".join([first.format(path), *_rest(broken, path)])
    place = (path, first.span.line, begin, line[2:], first.span.line, len(carets) - 1)
    return SyntaxError(_shortened(message, MOST_ERROR_TEXT), place)


def _rest(broken: BrokenFile, path: str) -> list[str]:
    from udgl.diagnostics import format_all

    others = broken.diagnostics[1:]
    if not others:
        return []
    count = f"... and {len(others)} more error{'s' if len(others) > 1 else ''}:"
    return ["", count, "", format_all(others, path, broken.source)]


def describe_errors(files: Sequence[BrokenFile], total: int) -> str:
    """All errors of a folder of ``total`` files in one text, each with its path, line, column and
    caret.

    A file with very many errors is cut short, so that the first ones of the others have room.
    """
    count = len(files)
    text = f"{count} of {total} UDGL files cannot be loaded; the others are not affected.\n"
    room = MOST_ERROR_TEXT - len(text)
    share = max(room // max(count, 1), LEAST_SHARE)
    for done, broken in enumerate(files):
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


def _first_rival(
    dag: GraphDag, folder: Path, names: Collection[str], rivals: Collection[str] | None
) -> Claim | None:
    """The graph that has the name of ``dag``, if another has it."""
    if rivals is not None and name_key(dag.dag_id) in names:
        candidates = [Path(rival) for rival in rivals]
    else:
        # Only a look at all files can tell: the name is new since the refresh, or very common.
        key = name_key(dag.dag_id)
        files = [path for path in find_graph_files(folder) if key in name_keys(_read(path))]
        place = order(dag.source.relative_to(folder))
        before = rivals is None
        candidates = [
            path
            for path in files
            if path != dag.source and not (before and order(path.relative_to(folder)) > place)
        ]
    for path in candidates:
        other = check_file(path, folder)
        if isinstance(other, BrokenFile):
            continue
        if other.graph.name == dag.graph.name or _deployed_as(other) == _deployed_as(dag):
            return other
    return None


def _deployed_as(claim: Claim) -> str:
    from udgl.targets.earg import deployed_name

    return deployed_name(claim.graph)[0]


def _claimed_twice(claim: Claim, other: Claim) -> BrokenFile:
    from udgl.diagnostics import Diagnostic

    name = claim.graph.name
    if name == other.graph.name:
        code, problem = "AIRFLOW102", f"graph name '{name}' is taken by {other.source}"
    else:
        code = "AIRFLOW103"
        problem = (
            f"graph '{name}' would be deployed as '{_deployed_as(claim)}', "
            f"as is graph '{other.graph.name}' of {other.source}"
        )
    found = Diagnostic(code, problem, claim.graph.span, "give one of the two another name")
    text = found.format(str(claim.source), claim.text)
    return BrokenFile(claim.source, text, (found,), claim.text)


def _folder(place: str | Path) -> Path:
    path = Path(place).absolute()
    return path if path.is_dir() else path.parent


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path)
    except OSError:
        return b""
