"""A host of the tests: starts processes as a daemon of containers does, and starts them anew.

``python -m tests.earg.process_host FOLDER`` runs what the ``*.json`` files of the folder say, as
processes of its own group, until they are taken away: whoever kills the group kills the host.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

INTERVAL = 0.05

RESTART_PAUSE = 0.5
"""Seconds before a process that has ended is started again."""


def main(folder: Path) -> None:
    """Run what there is to run, for ever."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    again_at: dict[str, float] = {}
    for left in folder.glob("*.pid"):
        left.unlink()
    (folder / "alive").write_text(str(os.getpid()))
    while True:
        wanted = {path.stem: path for path in folder.glob("*.json")}
        for name in [name for name in running if name not in wanted]:
            process = running.pop(name)
            process.terminate()
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            (folder / f"{name}.pid").unlink(missing_ok=True)
        for name, path in wanted.items():
            process = running.get(name)
            if process is not None:
                code = process.poll()
                if code is None:
                    continue
                if name not in again_at:
                    (folder / f"{name}.pid").write_text(f"0 {code}")
                    again_at[name] = time.monotonic() + RESTART_PAUSE
                if time.monotonic() < again_at[name]:
                    continue
                del again_at[name]
            try:
                order = json.loads(path.read_text())
            except FileNotFoundError:
                continue
            with (folder / f"{name}.log").open("ab") as log:
                running[name] = process = subprocess.Popen(
                    order["command"],
                    env=os.environ | order["environment"],
                    stdout=log,
                    stderr=log,
                )
            (folder / f"{name}.pid").write_text(f"{process.pid} 0")
        time.sleep(INTERVAL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
