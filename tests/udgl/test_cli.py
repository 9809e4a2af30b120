"""The udgl command, in processes of its own."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.udgl.conftest import ROOT, Run
from tests.udgl.fixture_files import FIXTURES
from udgl.cli import main
from udgl.commands import COMMANDS
from udgl.commands import command as command_of

VALID, INVALID, EARG = FIXTURES / "valid", FIXTURES / "invalid", FIXTURES / "earg"


def test_check_says_that_a_file_is_fine(udgl_command: Run) -> None:
    done = udgl_command("check", "sentiment.udgl", "one_operator.udgl", cwd=VALID)
    assert done.returncode == 0
    assert done.stdout.decode() == (
        "sentiment.udgl: ok, graph SentiAnalyzer version 3, 5 operators\n"
        "one_operator.udgl: ok, graph Echo version 1, 1 operator\n"
        "2 files: 2 ok\n"
    )
    assert done.stderr == b""


def test_check_tells_every_error_on_standard_error(udgl_command: Run) -> None:
    done = udgl_command("check", "all_at_once.udgl", cwd=INVALID)
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr == (INVALID / "all_at_once.txt").read_bytes()


def test_a_broken_file_does_not_hide_the_others(udgl_command: Run) -> None:
    names = ["empty.udgl", "../valid/simpledag.udgl", "no_image.udgl"]
    done = udgl_command("check", *names, cwd=INVALID)
    assert done.returncode == 1
    assert done.stdout.startswith(b"../valid/simpledag.udgl: ok")
    assert b"empty.udgl:1:1: U101" in done.stderr
    assert b"no_image.udgl:4:10: U108" in done.stderr


@pytest.mark.parametrize("kind", ["missing file", "folder without graphs"])
def test_an_unreadable_file_is_told_and_the_others_are_checked(
    udgl_command: Run, tmp_path: Path, kind: str
) -> None:
    name = "missing.udgl" if kind == "missing file" else str(tmp_path)
    done = udgl_command("check", name, "sentiment.udgl", "../invalid/empty.udgl", cwd=VALID)
    assert done.returncode == 2
    assert done.stdout.startswith(b"sentiment.udgl: ok")
    assert done.stderr.decode().startswith(f"udgl: {name}: ")
    assert b"U101" in done.stderr
    assert b"Traceback" not in done.stderr


def test_standard_input_is_a_file(udgl_command: Run) -> None:
    data = (EARG / "sentiment.udgl").read_bytes()
    assert udgl_command("check", "-", stdin=data).stdout.startswith(b"<stdin>: ok")
    compiled = udgl_command("compile", "-t", "earg", "-", stdin=data)
    assert compiled.stdout == (EARG / "sentiment.earg").read_bytes()
    broken = udgl_command("check", "-", stdin=b"\xff")
    assert broken.returncode == 1
    assert broken.stderr.startswith(b"<stdin>:1:1: U001")


def test_compile_writes_to_standard_output(udgl_command: Run) -> None:
    done = udgl_command("compile", "-t", "earg", "sentiment.udgl", cwd=EARG)
    assert done.returncode == 0
    assert done.stdout == (EARG / "sentiment.earg").read_bytes()
    assert done.stderr == b""


def test_compile_makes_the_folder_and_puts_one_file_there(
    udgl_command: Run, tmp_path: Path
) -> None:
    for _ in range(2):
        done = udgl_command(
            "compile",
            "--target",
            "earg",
            "-o",
            "new/folder",
            str(EARG / "hyphens.udgl"),
            cwd=tmp_path,
        )
        assert done.returncode == 0
        assert done.stdout == b"new/folder/my_graph-1.0_rc_1.earg\n"
        assert b"EARG104 warning" in done.stderr
    (file,) = (tmp_path / "new" / "folder").iterdir()
    assert file.read_bytes() == (EARG / "hyphens.earg").read_bytes()


@pytest.mark.parametrize("folder", [INVALID, EARG])
def test_compile_writes_nothing_for_a_graph_with_errors(
    udgl_command: Run, tmp_path: Path, folder: Path
) -> None:
    name = "several_sources" if folder == INVALID else "several_inputs"
    done = udgl_command(
        "compile", "-t", "earg", "-o", str(tmp_path / "out"), f"{name}.udgl", cwd=folder
    )
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr == (folder / f"{name}.txt").read_bytes()
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_told(udgl_command: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = udgl_command(
        "compile", "-t", "earg", "-o", str(tmp_path / "file"), str(EARG / "one_node.udgl")
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"udgl: {tmp_path / 'file'}: ".encode())
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["check"],
        ["compile", "x.udgl"],
        ["compile", "-t", "nowhere", "x.udgl"],
        ["compile", "-t", "earg"],
        ["invent"],
    ],
)
def test_wrong_usage_is_told_with_the_right_one(udgl_command: Run, arguments: list[str]) -> None:
    done = udgl_command(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(b"usage: udgl")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_no_manual(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.startswith(f"usage: udgl {command} ")
    words = " ".join(told.out.lower().split())
    for part in ("standard output", "standard error", "exit codes: 0", f"examples: udgl {command}"):
        assert part in words, part
    assert max(map(len, told.out.splitlines())) <= 80


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: udgl ")
    for name, summary in COMMANDS.items():
        assert re.search(rf"^ +{name}\s+{re.escape(summary[:20])}", told, re.MULTILINE)
    assert "exit codes:" in told
    assert "examples:" in told


def test_every_example_of_the_help_can_be_parsed() -> None:
    """Those that use files need them; what they are called with has to be right."""
    seen = 0
    for name in COMMANDS:
        module = command_of(name)
        for line in module.EPILOG.partition("examples:\n")[2].splitlines():
            call = re.split(r" {3,}| [|<>] ", line.strip().rpartition("| udgl ")[2])[0]
            arguments = shlex.split(call.removeprefix("udgl "))
            if arguments[:1] == [name]:
                parser = argparse.ArgumentParser()
                module.configure(parser)
                parser.parse_args(arguments[1:])
                seen += 1
    assert seen >= 3 * len(COMMANDS) - 2


def test_a_misspelt_command_is_asked_back(capsys: pytest.CaptureFixture[str]) -> None:
    for word, told in (("chekc", "did you mean 'check'?"), ("invent", "there are check, compile")):
        with pytest.raises(SystemExit) as caught:
            main([word, "x.udgl"])
        assert caught.value.code == 2
        assert f"there is no command '{word}'; {told}" in capsys.readouterr().err


def test_the_version_is_told(udgl_command: Run) -> None:
    done = udgl_command("--version")
    assert done.returncode == 0
    assert done.stdout.startswith(b"udgl ")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    # More output than a pipe holds, to a reader that is gone before it starts.
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "udgl", "check", *[str(VALID / "one_operator.udgl")] * 2000],
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    finally:
        os.close(write)
    assert done.stderr == b""
    assert done.returncode == 0


def test_a_terminal_without_arrows_gets_the_messages_all_the_same(udgl_command: Run) -> None:
    done = udgl_command(
        "check", "ring.udgl", cwd=INVALID, PYTHONUTF8="0", PYTHONIOENCODING="ascii", LC_ALL="C"
    )
    assert done.returncode == 1
    assert b"U116 a cycle: 'A' \\u2192 'B'" in done.stderr
