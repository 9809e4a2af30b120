"""``udgl check``: many files, formats for programs, strictness and colours."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.udgl.conftest import ROOT, Run
from tests.udgl.fixture_files import FIXTURES
from udgl.cli import main
from udgl.diagnostics import CODES

VALID, INVALID = FIXTURES / "valid", FIXTURES / "invalid"

WARNED = """\
meta
name Faces
version 1
operator Detector
image a/d:1
operator Fatigue
image a/f:1
operator Echo
image a/e:1, latency 5ms
flow
switch
Detector -> Fatigue when label == "drowsy", Echo when label == "awake"
"""
"""A graph with a warning (U131) and a note (U137)."""

MISSPELT = WARNED.replace("latency", "latncy")


@dataclass(frozen=True)
class Done:
    """What a run of ``udgl`` in this process gave back and wrote."""

    returncode: int
    stdout: str
    stderr: str


Here = Callable[..., Done]


@pytest.fixture
def udgl_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """Runs ``udgl ARGUMENTS`` in this process, in the folder ``cwd``."""

    def run(*arguments: str, cwd: Path | None = None) -> Done:
        if cwd is not None:
            monkeypatch.chdir(cwd)
        try:
            code = main(arguments)
        except SystemExit as error:
            code = int(error.code or 0)
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Graphs at several depths, and files that are none."""
    (tmp_path / "b" / "deeper").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    sentiment = (VALID / "sentiment.udgl").read_text(encoding="utf-8")
    for name in ("z.udgl", "b/deeper/a.udgl", ".hidden/h.udgl"):
        (tmp_path / name).write_text(sentiment, encoding="utf-8")
    (tmp_path / "b" / "warned.udgl").write_text(WARNED, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no graph", encoding="utf-8")
    return tmp_path


def test_a_folder_is_all_graphs_below_it_in_order(udgl_here: Here, folder: Path) -> None:
    done = udgl_here("check", ".", cwd=folder)
    assert done.returncode == 0
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "z.udgl",
        "b/warned.udgl",
        "b/deeper/a.udgl",
        "3 files",
    ]
    assert done.stdout.endswith("3 files: 3 ok (1 warning, 1 note)\n")


def test_warnings_and_notes_are_told_and_fail_only_where_that_is_asked_for(
    udgl_command: Run,
) -> None:
    data = WARNED.encode()
    done = udgl_command("check", "-", stdin=data)
    assert done.returncode == 0
    assert done.stdout.startswith(b"<stdin>: ok")
    assert b"U131 warning: " in done.stderr
    assert b"U137 note: " in done.stderr
    strict = udgl_command("check", "--strict", "-", stdin=data)
    assert strict.returncode == 1
    assert strict.stderr == done.stderr
    noted = WARNED.replace(", latency 5ms", "").encode()
    assert udgl_command("check", "--strict", "-", stdin=noted).returncode == 0


def test_quiet_tells_only_what_fails(udgl_here: Here, folder: Path) -> None:
    done = udgl_here("check", "--quiet", str(folder))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    strict = udgl_here("check", "-q", "--strict", str(folder))
    assert strict.returncode == 1
    assert strict.stdout == ""
    assert "U131" in strict.stderr
    assert "U137" not in strict.stderr


def test_a_folder_without_graphs_is_told(udgl_here: Here, tmp_path: Path) -> None:
    done = udgl_here("check", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"udgl: {tmp_path}: there is no .udgl file below this folder\n"


def test_standard_input_can_be_given_once(udgl_here: Here) -> None:
    done = udgl_here("check", "-", "-")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: udgl check")


def test_json_tells_all_files_and_counts(udgl_here: Here, folder: Path) -> None:
    (folder / "wrong.udgl").write_text(MISSPELT, encoding="utf-8")
    done = udgl_here("check", "--format", "json", ".", "missing.udgl", cwd=folder)
    assert (done.returncode, done.stderr) == (2, "")
    told = json.loads(done.stdout)
    assert [file["file"] for file in told["files"]] == [
        "wrong.udgl",
        "z.udgl",
        "b/warned.udgl",
        "b/deeper/a.udgl",
        "missing.udgl",
    ]
    wrong, fine, *_, missing = told["files"]
    assert wrong["graph"] is None
    assert wrong["diagnostics"][0] == {
        "code": "U011",
        "severity": "error",
        "message": "unknown factor 'latncy'",
        "hint": "did you mean 'latency'?",
        "line": 9,
        "column": 14,
        "end_column": 20,
    }
    assert fine == {
        "file": "z.udgl",
        "problem": None,
        "graph": {"name": "SentiAnalyzer", "version": "3", "operators": 5},
        "diagnostics": [],
    }
    assert missing["problem"] == "No such file or directory"
    assert told["summary"] == {
        "files": 5,
        "unreadable": 1,
        "errors": 1,
        "warnings": 2,
        "notes": 2,
    }


TEXT = {"type": "string", "minLength": 1}
MESSAGE = {"type": "object", "required": ["text"], "properties": {"text": TEXT}}
ADDRESS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "uri": {"type": "string", "pattern": "^[!#-;=?-Z_a-z~%\\[\\]]+$"},
        "uriBaseId": TEXT,
    },
}
REGION = {
    "type": "object",
    "additionalProperties": False,
    "required": ["startLine"],
    "properties": {
        **{
            name: {"type": "integer", "minimum": 1}
            for name in ("startLine", "startColumn", "endLine", "endColumn")
        },
        "snippet": MESSAGE,
    },
}
LOCATIONS = {
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "physicalLocation": {
                "type": "object",
                "additionalProperties": False,
                "required": ["artifactLocation"],
                "properties": {"artifactLocation": ADDRESS, "region": REGION},
            }
        },
    },
}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
FIX = {
    "type": "object",
    "additionalProperties": False,
    "required": ["artifactChanges"],
    "properties": {
        "description": MESSAGE,
        "artifactChanges": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["artifactLocation", "replacements"],
                "properties": {
                    "artifactLocation": ADDRESS,
                    "replacements": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["deletedRegion"],
                            "properties": {"deletedRegion": REGION, "insertedContent": MESSAGE},
                        },
                    },
                },
            },
        },
    },
}
RUN = {
    "type": "object",
    "additionalProperties": False,
    "required": ["tool", "results"],
    "properties": {
        "tool": {
            "type": "object",
            "additionalProperties": False,
            "required": ["driver"],
            "properties": {
                "driver": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["name"],
                    "properties": {
                        "name": TEXT,
                        "version": TEXT,
                        "rules": {
                            "type": "array",
                            "uniqueItems": True,
                            "items": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["id"],
                                "properties": {"id": TEXT, "shortDescription": MESSAGE},
                            },
                        },
                    },
                }
            },
        },
        "invocations": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["executionSuccessful"],
                "properties": {
                    "executionSuccessful": {"type": "boolean"},
                    "toolExecutionNotifications": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["message"],
                            "properties": {
                                "message": MESSAGE,
                                "level": LEVEL,
                                "locations": LOCATIONS,
                            },
                        },
                    },
                },
            },
        },
        "originalUriBaseIds": {"type": "object", "additionalProperties": ADDRESS},
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["message"],
                "properties": {
                    "ruleId": TEXT,
                    "ruleIndex": {"type": "integer", "minimum": 0},
                    "level": LEVEL,
                    "message": MESSAGE,
                    "locations": LOCATIONS,
                    "fixes": {"type": "array", "uniqueItems": True, "items": FIX},
                },
            },
        },
    },
}
SARIF = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string", "pattern": "sarif-schema-2\\.1\\.0\\.json$"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": RUN},
    },
}
"""What the public schema of SARIF 2.1.0 requires of the objects that are written here, and no
property beyond those; a schema of its own, as the public one is not on this machine."""


@pytest.fixture
def sarif(udgl_here: Here, folder: Path) -> dict[str, Any]:
    """What is written for graphs with an error, a warning, a note, and for a missing one."""
    (folder / "two words.udgl").write_text(MISSPELT, encoding="utf-8")
    done = udgl_here("check", "--format", "sarif", ".", "missing.udgl", cwd=folder)
    assert (done.returncode, done.stderr) == (2, "")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_sarif_has_the_form_that_its_schema_requires(sarif: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft7Validator(SARIF).validate(sarif)


def test_sarif_says_rule_level_place_and_fix_of_each_finding(
    sarif: dict[str, Any], folder: Path
) -> None:
    (run,) = sarif["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(CODES)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    wrong = next(result for result in run["results"] if result["ruleId"] == "U011")
    place = wrong["locations"][0]["physicalLocation"]
    assert wrong["level"] == "error"
    assert place["artifactLocation"] == {"uri": "two%20words.udgl", "uriBaseId": "ROOT"}
    assert run["originalUriBaseIds"]["ROOT"]["uri"] == folder.as_uri() + "/"
    assert place["region"]["snippet"] == {"text": "latncy"}
    (replacement,) = wrong["fixes"][0]["artifactChanges"][0]["replacements"]
    lines = MISSPELT.splitlines()
    region = replacement["deletedRegion"]
    line = lines[region["startLine"] - 1]
    lines[region["startLine"] - 1] = (
        line[: region["startColumn"] - 1]
        + replacement["insertedContent"]["text"]
        + line[region["endColumn"] - 1 :]
    )
    assert lines == WARNED.splitlines()
    assert {result["level"] for result in run["results"]} == {"error", "warning", "note"}
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "missing.udgl" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_sarif_of_files_without_findings_has_no_result(udgl_here: Here) -> None:
    done = udgl_here("check", "--format", "sarif", str(VALID))
    assert done.returncode == 0
    (run,) = json.loads(done.stdout)["runs"]
    assert run["results"] == []
    assert run["invocations"] == [{"executionSuccessful": True}]


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What ``udgl`` writes to a terminal that both its outputs are."""
    leader, follower = pty.openpty()
    try:
        clean = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
        process = subprocess.Popen(
            [sys.executable, "-m", "udgl", *arguments],
            stdout=follower,
            stderr=follower,
            stdin=subprocess.DEVNULL,
            env={**clean, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment},
        )
        os.close(follower)
        told = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            told += part
        process.wait(timeout=60)
    finally:
        os.close(leader)
    return told.decode()


def test_a_terminal_gets_colours_and_a_pipe_none(udgl_command: Run) -> None:
    file = str(INVALID / "misspelt_words.udgl")
    told = on_a_terminal("check", file)
    assert "\x1b[1;31mU011\x1b[0m" in told
    assert "\x1b[1;31m^^" in told
    assert "\x1b[32mhint:\x1b[0m" in told
    plain = udgl_command("check", file).stderr.decode()
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", told).replace("\r\n", "\n") == plain


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ([], {"NO_COLOR": "1"}),
        ([], {"TERM": "dumb"}),
        (["--color", "never"], {}),
    ],
)
def test_colours_can_be_refused(arguments: list[str], environment: dict[str, str]) -> None:
    told = on_a_terminal("check", *arguments, str(INVALID / "ring.udgl"), **environment)
    assert "U116" in told
    assert "\x1b" not in told


def test_colours_can_be_had_in_a_pipe(udgl_command: Run) -> None:
    done = udgl_command("check", "--color", "always", "-", stdin=WARNED.encode(), NO_COLOR="1")
    assert b"\x1b[1;33mU131 warning:\x1b[0m" in done.stderr
    assert b"\x1b[1;36mU137 note:\x1b[0m" in done.stderr
    assert b"\x1b[32mok\x1b[0m" in done.stdout
