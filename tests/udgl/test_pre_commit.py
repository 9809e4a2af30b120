"""The hooks that pre-commit finds in this repository."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.udgl.conftest import ROOT, Run
from tests.udgl.fixture_files import FIXTURES
from udgl.commands import COMMANDS


@pytest.fixture(scope="module")
def hooks() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    listed = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    return {hook["id"]: hook for hook in listed}


def test_both_hooks_are_there_for_graphs_alone(hooks: dict[str, Any]) -> None:
    assert set(hooks) == {"udgl-check", "udgl-fmt"}
    for hook in hooks.values():
        # What pre-commit requires of a hook.
        assert {"id", "name", "entry", "language"} <= set(hook)
        assert hook["language"] == "python"
        assert re.search(hook["files"], "dags/a.udgl")
        assert not re.search(hook["files"], "dags/a.udgl.txt")
        program, command, *_ = shlex.split(hook["entry"])
        assert program == "udgl"
        assert command in COMMANDS or command == "fmt"


def test_the_check_fails_for_a_wrong_graph_and_is_silent_else(
    hooks: dict[str, Any], udgl_command: Run, tmp_path: Path
) -> None:
    _, *arguments = shlex.split(hooks["udgl-check"]["entry"])
    fine = [str(path) for path in sorted((FIXTURES / "valid").glob("*.udgl"))]
    done = udgl_command(*arguments, *fine, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = udgl_command(*arguments, *fine, str(FIXTURES / "invalid/ring.udgl"), cwd=tmp_path)
    assert done.returncode == 1
    assert b"ring.udgl:14:5: U116" in done.stderr


def test_the_formatter_leaves_what_is_formatted(
    hooks: dict[str, Any], udgl_command: Run, tmp_path: Path
) -> None:
    if "fmt" not in COMMANDS:
        pytest.skip("there is no udgl fmt")
    _, *arguments = shlex.split(hooks["udgl-fmt"]["entry"])
    file = tmp_path / "a.udgl"
    file.write_bytes((FIXTURES / "valid/sentiment.udgl").read_bytes())
    udgl_command(*arguments, str(file))
    formatted = file.read_bytes()
    assert udgl_command(*arguments, str(file)).returncode == 0
    assert file.read_bytes() == formatted
