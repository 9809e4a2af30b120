"""A real Airflow of a test's own: its folder, its database and its command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hogar_provider.folders import ROOT


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
            "PYTHONPATH": str(ROOT),
            **self.environment,
        }

    def start(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever that is."""
        return subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
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

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """What a command prints as JSON."""
        text = self.run(*arguments, "--output", "json")
        # Airflow may log a line before it.
        return list(json.loads(text[text.rindex("\n[") + 1 if "\n[" in text else 0 :]))

    def refused(self, *arguments: str) -> str:
        """What a command that fails says on its standard error."""
        done = self.start(*arguments)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr
