"""The UDGL files below a folder, and the images file that each belongs to."""

from __future__ import annotations

import logging
import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIX = ".udgl"
IMAGES_FILE = "images.yaml"
IGNORE_FILE = ".airflowignore"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of a tree as Airflow sees it.

    ``path`` is relative to the tree's root. ``graphs`` are the names of its UDGL files, ``others``
    those of everything else in it but subfolders that are searched as well. ``rules`` are the
    ignore rules that hold for its files, of Airflow's own class.
    """

    path: Path
    graphs: tuple[str, ...]
    others: tuple[str, ...]
    rules: tuple[Any, ...]


def find_graph_files(folder: Path) -> list[Path]:
    """Every UDGL file below ``folder`` that Airflow would look at if it were Python.

    ``.airflowignore`` files count and links are followed, as Airflow does it; hidden files and
    folders are left out. A folder that links lead to more than once is searched once. The order is
    the same on every machine: a folder's files by name, then its subfolders'. Raises OSError where
    ``folder`` itself cannot be read.
    """
    found = [folder / part.path / name for part in walk(folder) for name in part.graphs]
    return sorted(found, key=lambda path: order(path.relative_to(folder)))


def walk(folder: Path, but: Path | None = None) -> Iterator[Folder]:
    """``folder`` and every folder below it that is searched for graphs; ``but`` is left out.

    Folders come before what links lead to, so that of two ways to a folder the one without a link
    is taken, and a loop of links ends where it began.
    """
    rule = ignore_rule()
    root = os.fspath(folder)
    seen = {os.path.realpath(folder)}
    if but is not None:
        seen.add(os.path.realpath(but))
    folders: deque[tuple[str, list[Any]]] = deque([(root, [])])
    links: deque[tuple[str, list[Any]]] = deque()
    while folders or links:
        path, rules = folders.popleft() if folders else links.popleft()
        if path != root and not _first_time(path, seen):
            continue
        try:
            with os.scandir(path) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            if path == root:
                raise
            log.warning("Folder %s cannot be searched for graphs: %s", path, error.strerror)
            continue
        rules = [*rules, *_rules_of(path, root, entries, rule)]
        graphs, others = [], []
        for entry in entries:
            name = entry.name
            hidden = name.startswith(".")
            ignored = bool(rules) and rule.match(Path(entry.path), rules)
            if _is_folder(entry):
                if name == "__pycache__":
                    continue
                if not (hidden or ignored):
                    (links if entry.is_symlink() else folders).append((entry.path, rules))
                elif _first_time(entry.path, seen):
                    others.append(name)
            elif name.lower().endswith(SUFFIX):
                if not (hidden or ignored) and _is_file(entry):
                    graphs.append(name)
            else:
                others.append(name)
        relative = Path(os.path.relpath(path, root))
        yield Folder(relative, tuple(graphs), tuple(others), tuple(rules))


def images_for(graph_file: Path, folder: Path) -> str:
    """The path of the images file for ``graph_file``, relative to the graph file's folder.

    It is the nearest one from there up to ``folder``; beside the graph file where there is none.
    Relative, so that a DAG is the same DAG wherever its folder is checked out.
    """
    here = graph_file.parent
    for above in (here, *here.parents):
        if (above / IMAGES_FILE).is_file():
            return os.path.relpath(above / IMAGES_FILE, here)
        if above == folder:
            break
    return IMAGES_FILE


def order(path: Path) -> tuple[tuple[int, str], ...]:
    """The sort key of a relative path: of two files that claim one graph the first has it."""
    # Without the suffix "sentiment" comes before "sentiment copy": of two files that claim one
    # graph the copy is the one that is refused.
    return (*((1, part) for part in path.parts[:-1]), (0, path.stem), (0, path.suffix))


def ignore_rule() -> Any:
    """Airflow's class of rules in ``.airflowignore`` files, for the syntax it is set to."""
    from airflow.configuration import conf

    try:
        from airflow._shared.module_loading import file_discovery as discovery
    except ImportError:  # Airflow 3.1
        from airflow.utils import file as discovery  # type: ignore[no-redef]

    syntax = conf.get("core", "DAG_IGNORE_FILE_SYNTAX", fallback="glob") or "glob"
    if syntax not in ("glob", "regexp"):
        raise ValueError(f"Unsupported ignore_file_syntax: {syntax}")
    return getattr(discovery, "_GlobIgnoreRule" if syntax == "glob" else "_RegexpIgnoreRule")


def _rules_of(path: str, root: str, entries: list[os.DirEntry[str]], rule: Any) -> list[Any]:
    """The rules that the folder's own ignore file adds."""
    if not any(entry.name == IGNORE_FILE and _is_file(entry) for entry in entries):
        return []
    import warnings

    file = Path(path, IGNORE_FILE)
    text = file.read_text(encoding="utf-8", errors="replace")
    patterns = (re.sub(r"\s*#.*", "", line) for line in text.split("\n"))
    with warnings.catch_warnings():
        # Airflow's own use of a deprecated class is no warning about anybody's graphs.
        warnings.simplefilter("ignore")
        compiled = [rule.compile(pattern, Path(root), file) for pattern in patterns if pattern]
    return [found for found in compiled if found is not None]


def _first_time(path: str, seen: set[str]) -> bool:
    real = os.path.realpath(path)
    if real in seen:
        log.debug("Folder %s is searched under another path", path)
        return False
    seen.add(real)
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
