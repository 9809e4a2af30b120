"""A real Airflow of a test's own: its folder, its database and its command line."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hogar_provider.folders import ROOT, TAKES_COMMANDS


def program(arguments: Sequence[str]) -> list[str]:
    """The module that does this command of Airflow's, and its arguments."""
    if arguments[0] == "hogar" and not TAKES_COMMANDS:
        return ["hogar_provider", *arguments[1:]]
    return ["airflow", *arguments]


@dataclass(frozen=True)
class AirflowCommand:
    """Airflow's command line in the folder ``home``, with settings of ``environment`` on top."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def dags(self) -> Path:
        return self.home / "dags"

    @property
    def earg(self) -> Path:
        return self.home / "earg"

    def variables(self) -> dict[str, str]:
        """The environment of every process of this Airflow."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "_AIRFLOW"))}
        # Without byte code every start would take twice as long.
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        return {
            **kept,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "EARG_HOME": str(self.earg),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            **self.environment,
        }

    def start(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever that is."""
        return subprocess.run(
            [sys.executable, "-m", *program(arguments)],
            env=self.variables(),
            cwd=self.home,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    def run(self, *arguments: str) -> str:
        """What a command that succeeds prints on its standard output."""
        done = self.start(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def each(self, *commands: str) -> list[tuple[int, str, str]]:
        """Exit code, standard output and standard error of several commands, run one after the
        other in one process."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.hogar_provider.several_commands"],
            env=self.variables(),
            cwd=self.home,
            input=json.dumps([shlex.split(command) for command in commands]),
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [tuple(one) for one in json.loads(done.stdout.splitlines()[-1])]

    def rows(self, *commands: str) -> list[list[dict[str, Any]]]:
        """What each of several commands prints as JSON."""
        found = []
        for code, out, err in self.each(*(f"{command} --output json" for command in commands)):
            assert code == 0, out + err
            found.append(json.loads(out))
        return found

    def refusals(self, *commands: str) -> list[str]:
        """What each of several commands that fail says on its standard error."""
        found = self.each(*commands)
        for code, out, err in found:
            assert code == 1, out + err
            assert "Traceback" not in err
        return [err for _, _, err in found]
