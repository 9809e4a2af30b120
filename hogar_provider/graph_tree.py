"""A folder as Airflow needs it: each UDGL file has a Python file, all else is linked to.

Airflow looks for Python files only. So a folder of graphs gets a twin in which a short generated
file, a stub, stands for each graph: ``sentiment.udgl.py`` for ``sentiment.udgl``.

A twin never changes once it is complete. What differs is built beside it, and then one rename of
one link shows it: whoever reads sees all of the one or all of the other. Which twin is the right
one is always told from the folder itself; nothing is remembered that could be wrong.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hogar_provider.graph_files import IGNORE_FILE, Folder, ignore_rule, order, walk

KEEP = 600.0
"""Seconds that a twin which is shown no more is kept, for those who are reading it."""

MOST_RIVALS = 20
"""A stub names at most so many files that may hold a graph of the same name."""

LONGEST_NAME = 255
"""Bytes of a file name on common file systems."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Made:
    """A file of the twin that is written: its text, and its time of change in nanoseconds."""

    text: str
    changed: int


Plan = dict[str, Made | str | None]
"""What a twin holds: a path, relative to its root, to a file, the target of a link, or None for a
folder. A folder comes before what is in it."""


def show(folder: Path, link: Path) -> None:
    """Let ``link`` lead to a twin of ``folder`` as it is now.

    Any number of processes may do so at once. Where nothing has changed nothing is written, so
    that a process which may only read can do it too. Raises OSError where ``folder`` cannot be
    read, or the twin not be written.
    """
    store = link.parent
    if link.is_symlink() and _shows(link, _digest(plan(folder, store))):
        return
    store.mkdir(parents=True, exist_ok=True)
    with _locked(store / "lock"):
        # Planned again: another process may have shown a newer state while this one waited.
        wanted = plan(folder, store)
        digest = _digest(wanted)
        if _shows(link, digest):
            return
        twin = store / digest
        if not twin.is_dir():
            _build(wanted, folder, twin)
        _lead(link, twin)
        _clean(store)


def link_of(store: Path, version: str | None) -> Path:
    """Where the twin of a version is shown; None is what there is now."""
    return store / (f"version-{quote(version, safe='')}" if version else "latest")


def plan(folder: Path, store: Path | None = None) -> Plan:
    """What the twin of ``folder`` has to hold. A ``store`` below it is left out."""
    found = sorted(walk(folder, but=store), key=lambda part: part.path.parts)
    stubs = _stubs(folder, found)
    rule = ignore_rule()
    below: defaultdict[Path, set[str]] = defaultdict(set)
    for part in found:
        below[part.path.parent].add(part.path.name)
    made: Plan = {}
    for part in found:
        if part.path.parts:
            made[str(part.path)] = None
        here = folder / part.path
        taken = {*part.others, *below[part.path]}
        shown: list[str] = []
        for name in part.graphs:
            stub = stub_name(name, taken)
            taken.add(stub)
            if part.rules and rule.match(here / stub, list(part.rules)):
                shown.append(stub)
            made[str(part.path / stub)] = stubs[here / name]
        for name in part.others:
            made[str(part.path / name)] = str(here / name)
        if shown:
            made[str(part.path / IGNORE_FILE)] = _show_too(here / IGNORE_FILE, shown)
    return made


def stub_name(name: str, taken: set[str]) -> str:
    """The name of the stub of the file called ``name`` in a folder where others are ``taken``."""
    text = os.fsencode(name).decode(errors="backslashreplace").replace("\n", "\\n")
    stub = f"{text}.py"
    number = 1
    while stub in taken or len(stub.encode()) > LONGEST_NAME:
        tail = f"~{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}-{number}.py"
        stub = text.encode()[: LONGEST_NAME - len(tail)].decode(errors="ignore") + tail
        number += 1
    return stub


def _stubs(folder: Path, found: list[Folder]) -> dict[Path, Made]:
    """The stub of every graph, by the graph's path."""
    from hogar_provider.loader import name_keys, read_bounded

    files = [folder / part.path / name for part in found for name in part.graphs]
    files.sort(key=lambda path: order(path.relative_to(folder)))
    names: dict[Path, frozenset[str]] = {}
    changed: dict[Path, int] = {}
    holders: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        try:
            data, changed[path] = read_bounded(path), path.stat().st_mtime_ns
        except OSError:  # Gone meanwhile, or not to be read: its stub says so.
            data, changed[path] = b"", 0
        names[path] = name_keys(data)
        for name in names[path]:
            holders[name].append(path)
    place = {path: number for number, path in enumerate(files)}
    stubs: dict[Path, Made] = {}
    for path in files:
        rivals: list[Path] | None = None
        if all(len(holders[name]) <= MOST_RIVALS for name in names[path]):
            others = {other for name in names[path] for other in holders[name]}
            before = (other for other in others if place[other] < place[path])
            rivals = sorted(before, key=place.__getitem__)
        text = _stub(path, folder, sorted(names[path]), rivals)
        stubs[path] = Made(text, changed[path])
    return stubs


def _stub(file: Path, folder: Path, names: list[str], rivals: list[Path] | None) -> str:
    told = None if rivals is None else [str(rival) for rival in rivals]
    return f'''"""The Airflow DAG of a UDGL file. Generated; edit the UDGL file instead."""

from hogar_provider.loader import load_graph_file

load_graph_file(
    globals(),
    file={str(file)!a},
    folder={str(folder)!a},
    names={names!a},
    rivals={told!a},
)
'''


def _show_too(ignore: Path, stubs: list[str]) -> Made:
    """An ignore file that says what ``ignore`` does, but does not hide the stubs."""
    from airflow.configuration import conf

    try:
        text = ignore.read_text(encoding="utf-8", errors="replace")
        changed = ignore.stat().st_mtime_ns
    except FileNotFoundError:
        text, changed = "", 0
    if conf.get("core", "DAG_IGNORE_FILE_SYNTAX", fallback="glob") == "regexp":
        log.warning(
            "A pattern for %s would hide the Python files generated for its graphs (%s): "
            "name the files it is meant for more closely",
            ignore,
            ", ".join(stubs),
        )
        return Made(text, changed)
    # A "#" would start a comment, and "?" stands for any one character.
    lines = "".join(
        "!/" + "".join("?" if c in "#*?[]\\! " else c for c in stub) + "\n" for stub in stubs
    )
    return Made(f"{text}\n{lines}", changed)


def _digest(wanted: Plan) -> str:
    digest = hashlib.sha256()
    for path, what in wanted.items():
        digest.update(f"{path!a}: {what!a}\n".encode())
    return digest.hexdigest()[:32]


def _shows(link: Path, digest: str) -> bool:
    try:
        target = link.readlink()
    except OSError:
        return False
    return target.parent.name == digest and link.is_dir()


def _build(wanted: Plan, folder: Path, twin: Path) -> None:
    """Make the twin, whole or not at all."""
    beside = twin.parent / "new"
    shutil.rmtree(beside, ignore_errors=True)  # Of a process that was killed meanwhile
    files = beside / "files"
    files.mkdir(parents=True)
    try:
        (beside / "source").write_bytes(os.fsencode(folder))
        for path, what in wanted.items():
            place = files / path
            if what is None:
                place.mkdir()
            elif isinstance(what, str):
                place.symlink_to(what)
            else:
                place.write_text(what.text, encoding="utf-8")
                os.utime(place, ns=(what.changed, what.changed))
        beside.rename(twin)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _lead(link: Path, twin: Path) -> None:
    """Let ``link`` lead to ``twin``, in one step."""
    before = link.resolve().parent if link.is_symlink() else None
    new = link.with_name(f"{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(Path(twin.name, "files"))
    new.replace(link)
    if before is not None and before != twin:
        with contextlib.suppress(OSError):
            os.utime(before / "source")  # Since when it is shown no more


def _clean(store: Path) -> None:
    """Remove twins that nobody reads any more, and those of versions that Airflow has removed."""
    shown = set()
    for link in store.iterdir():
        if not link.is_symlink():
            continue
        twin = link.resolve().parent
        with contextlib.suppress(OSError):
            folder = Path(os.fsdecode((twin / "source").read_bytes()))
            if link.name.startswith("version-") and not folder.is_dir():
                link.unlink(missing_ok=True)
                continue
        shown.add(twin.name)
    for twin in store.iterdir():
        if twin.is_symlink() or not twin.is_dir() or twin.name in shown:
            continue
        with contextlib.suppress(OSError):
            source = twin / "source"
            if time.time() - source.stat().st_mtime > KEEP:
                shutil.rmtree(twin, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Be the only one who changes what is beside ``path``."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
