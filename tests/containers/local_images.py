"""The image ``hogar/node`` made of this machine's own parts, where no registry is to be had.

What ``docker/Dockerfile`` takes from a base image and an installer comes from here instead: the
interpreter that runs the tests, the shared libraries that it and its packages load, a shell, and
the distributions that the ``node`` extra asks for, beside this checkout's ``earg``.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = "/opt/python"
SITE = f"{PYTHON}/lib/python{sysconfig.get_python_version()}/site-packages"
LEFT_OUT = ("test", "idlelib", "tkinter", "ensurepip", "lib2to3", "site-packages")
"""Of the standard library. What is compiled already stays: containers are started often."""
COMMANDS = ("/bin/sh", "/bin/cp")
BUILDING_COMMANDS = ("/bin/mkdir", "/bin/chown")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
GLIBC = ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libm.so.6")
BUILDING_LIBRARIES = (*GLIBC, "libstdc++.so.6", "libgcc_s.so.1")
"""What wheels take for given, beside what the interpreter itself loads."""

LIBRARY_FOLDERS = ("/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu")
DEBIAN_WHEELS = Path("/usr/share/python-wheels")
"""Where Debian's ``ensurepip`` has pip from; others carry it."""


def write_node_image(path: Path, more: dict[str, str]) -> None:
    """Write the root file system of ``hogar/node`` as a tarball, with further text files."""
    with tarfile.open(path, "w") as tar:
        libraries: set[str] = set()
        _add_interpreter(tar, libraries)
        for name in _closure(_node_requirements()):
            _add_distribution(tar, distribution(name), libraries)
        _add_tree(tar, ROOT / "earg", f"{SITE}/earg", libraries)
        for command in COMMANDS:
            _add_file(tar, Path(command), command, libraries)
        _add_libraries(tar, libraries)
        _add_text(tar, "etc/passwd", "root:x:0:0::/:/bin/sh\nearg:x:10001:10001::/:/bin/sh\n")
        _add_text(tar, "etc/group", "root:x:0:\nearg:x:10001:\n")
        _add_text(tar, f"{PYTHON}/bin/earg", _EARG, mode=0o755)
        _add_rest(tar)
        for name, text in more.items():
            _add_text(tar, name, text)


def write_python_image(path: Path, certificates: Path | None) -> None:
    """Write what stands for ``python:3.12-slim`` as a tarball: this machine's interpreter, what
    ``docker/Dockerfile`` uses beside it, and the authorities that pip is to trust."""
    with tarfile.open(path, "w") as tar:
        libraries: set[str] = set()
        left_out = tuple(name for name in LEFT_OUT if name != "ensurepip")
        _add_interpreter(tar, libraries, left_out)
        _add_link(tar, f"{PYTHON}/bin/python3", "python")
        for wheel in sorted(DEBIAN_WHEELS.glob("*.whl")):
            _add_file(tar, wheel, str(wheel), libraries)
        for command in (*COMMANDS, *BUILDING_COMMANDS):
            _add_file(tar, Path(command), command, libraries)
        for name in BUILDING_LIBRARIES:
            _add_machines(name, libraries)
        if certificates is not None:
            _add_file(tar, certificates, CERTIFICATES, libraries)
        _add_libraries(tar, libraries)
        _add_text(tar, "etc/passwd", "root:x:0:0::/:/bin/sh\n")
        _add_text(tar, "etc/group", "root:x:0:\n")
        _add_rest(tar)


_EARG = f"""#!{PYTHON}/bin/python
import sys
from earg.cli import main
sys.exit(main())
"""


def _add_interpreter(
    tar: tarfile.TarFile, libraries: set[str], left_out: tuple[str, ...] = LEFT_OUT
) -> None:
    _add_file(tar, Path(os.path.realpath(sys.executable)), f"{PYTHON}/bin/python", libraries)
    _add_tree(tar, Path(sysconfig.get_path("stdlib")), str(Path(SITE).parent), libraries, left_out)
    shared = sysconfig.get_config_var("LDLIBRARY") or ""
    if ".so" in shared:
        found = Path(sysconfig.get_config_var("LIBDIR")) / shared
        if found.exists():
            libraries.add(str(found))
    for name in ("libnss_dns.so.2", "libnss_files.so.2"):
        _add_machines(name, libraries)


def _add_machines(name: str, libraries: set[str]) -> None:
    for folder in LIBRARY_FOLDERS:
        if Path(folder, name).exists():
            libraries.add(f"{folder}/{name}")


def _node_requirements() -> list[str]:
    """What the ``node`` extra asks for."""
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    part = re.search(r"^node =\n((?:    .+\n)+)", text, re.MULTILINE)
    assert part is not None
    base = re.search(r"^install_requires =\n((?:    .+\n)+)", text, re.MULTILINE)
    assert base is not None
    lines = [*part[1].splitlines(), *(one for one in base[1].splitlines() if "YAML" in one)]
    return [re.split(r"[<>=~!;\[ ]", line.strip())[0] for line in lines]


def _closure(names: list[str]) -> list[str]:
    """These distributions and all that they need, without their extras."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            one = distribution(name)
        except PackageNotFoundError:
            continue
        found[name] = None
        needed = (text for text in one.requires or () if "extra ==" not in text)
        waiting.extend(re.split(r"[<>=~!;\[ (]", text)[0] for text in needed)
    return sorted(found)


def _add_distribution(tar: tarfile.TarFile, one: Distribution, libraries: set[str]) -> None:
    for file in one.files or ():
        path = Path(str(file.locate()))
        if ".." in file.parts or not path.is_file():
            continue
        _add_file(tar, path, f"{SITE}/{file}", libraries)


def _add_tree(
    tar: tarfile.TarFile,
    folder: Path,
    target: str,
    libraries: set[str],
    left_out: tuple[str, ...] = LEFT_OUT,
) -> None:
    for base, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if one not in left_out and "config-" not in one]
        inside = Path(base).relative_to(folder)
        for name in files:
            _add_file(tar, Path(base, name), f"{target}/{inside / name}", libraries)


def _add_file(tar: tarfile.TarFile, path: Path, target: str, libraries: set[str]) -> None:
    path = path.resolve()
    if path.suffix not in (".py", ".pyc"):
        libraries.update(_needed(path))
    tar.add(path, target.lstrip("/"), recursive=False)


def _needed(path: Path) -> Iterator[str]:
    """The shared libraries that a program or extension loads."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return
    ldd = shutil.which("ldd") or "ldd"
    said = subprocess.run([ldd, str(path)], capture_output=True, text=True, check=False).stdout
    for line in said.splitlines():
        match = re.search(r"(/\S+) \(0x", line)
        if match is not None:
            yield match[1]


def _add_text(tar: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    data = text.encode()
    info = tarfile.TarInfo(name.lstrip("/"))
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def _add_libraries(tar: tarfile.TarFile, libraries: set[str]) -> None:
    for library in sorted(libraries):
        usual = library.startswith(("/lib", "/usr/lib"))
        target = library if usual else f"{PYTHON}/lib/{Path(library).name}"
        tar.add(os.path.realpath(library), target.lstrip("/"))


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    link = tarfile.TarInfo(name.lstrip("/"))
    link.type, link.linkname = tarfile.SYMTYPE, target
    tar.addfile(link)


def _add_rest(tar: tarfile.TarFile) -> None:
    _add_text(tar, "etc/nsswitch.conf", "hosts: files dns\n")
    folder = tarfile.TarInfo("tmp")
    folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
    tar.addfile(folder)
