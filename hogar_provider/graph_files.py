"""The UDGL files below a folder, and the images file that each belongs to."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

SUFFIX = ".udgl"
IMAGES_FILE = "images.yaml"


def find_graph_files(folder: Path) -> list[Path]:
    """Every UDGL file below ``folder`` that Airflow would look at if it were Python.

    ``.airflowignore`` files count and links are followed, as Airflow does it; hidden files and
    folders are left out. The order is the same on every machine: a folder's files by name, then
    its subfolders'. Raises RuntimeError for a loop of links.
    """
    found = (Path(path) for path in _walk(folder) if path.lower().endswith(SUFFIX))
    shown = (p for p in found if not _hidden(p.relative_to(folder)) and p.is_file())
    return sorted(shown, key=lambda path: _order(path.relative_to(folder)))


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


def _walk(folder: Path) -> list[str]:
    from airflow.configuration import conf

    try:
        from airflow._shared.module_loading.file_discovery import find_path_from_directory
    except ImportError:  # Airflow 3.1
        from airflow.utils.file import find_path_from_directory

    syntax = conf.get("core", "DAG_IGNORE_FILE_SYNTAX", fallback="glob")
    with warnings.catch_warnings():
        # Airflow's own use of a deprecated class is no warning about anybody's graphs.
        warnings.simplefilter("ignore")
        return list(find_path_from_directory(folder, ".airflowignore", syntax))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _order(path: Path) -> tuple[tuple[int, str], ...]:
    # Without the suffix "sentiment" comes before "sentiment copy": of two files that claim one
    # graph the copy is the one that is refused.
    return (*((1, part) for part in path.parts[:-1]), (0, path.stem), (0, path.suffix))
