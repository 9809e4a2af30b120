"""``udgl fmt``."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.udgl.conftest import Run
from udgl import cli
from udgl.formatter import format_text

UGLY = "meta\nname G\nversion 1\noperator A, image a\n# the end\n"
PRETTY = "meta\n  name G\n  version 1\n\noperator A\n  image a\n  # the end\n"


def test_files_and_folders_are_rewritten_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "graphs" / "deep"
    folder.mkdir(parents=True)
    hidden = tmp_path / "graphs" / ".git"
    hidden.mkdir()
    paths = [tmp_path / "one.udgl", folder / "two.udgl"]
    for path in (*paths, hidden / "no.udgl", folder / "other.txt"):
        path.write_text(UGLY, encoding="utf-8")
    (folder / "fine.udgl").write_text(PRETTY, encoding="utf-8")
    paths[0].chmod(0o640)
    assert cli.main(["fmt", str(tmp_path / "one.udgl"), str(tmp_path / "graphs")]) == 0
    assert capsys.readouterr().out == f"rewrote {paths[0]}\nrewrote {paths[1]}\n"
    assert [path.read_text(encoding="utf-8") for path in paths] == [PRETTY, PRETTY]
    assert stat.S_IMODE(paths[0].stat().st_mode) == 0o640
    assert (hidden / "no.udgl").read_text(encoding="utf-8") == UGLY
    assert (folder / "other.txt").read_text(encoding="utf-8") == UGLY
    assert sorted(path.name for path in folder.iterdir()) == ["fine.udgl", "other.txt", "two.udgl"]
    assert cli.main(["fmt", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.udgl").write_text(UGLY, encoding="utf-8")
    link = tmp_path / "link.udgl"
    link.symlink_to("real.udgl")
    assert cli.main(["fmt", str(link)]) == 0
    assert link.is_symlink()
    assert (tmp_path / "real.udgl").read_text(encoding="utf-8") == PRETTY


def test_check_and_diff_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.udgl"
    path.write_bytes(UGLY.rstrip("\n").encode())
    assert cli.main(["fmt", "--check", str(path)]) == 1
    assert f"would rewrite {path}" in capsys.readouterr().err
    assert cli.main(["fmt", "--diff", str(path)]) == 0
    shown = capsys.readouterr().out.split("\n")
    assert shown[:3] == [f"--- {path}", f"+++ {path}", "@@ -1,5 +1,7 @@"]
    assert {"-name G", "+  name G", "-# the end", "+  # the end"} <= set(shown)
    assert "\\ No newline at end of file" in shown
    assert cli.main(["fmt", "--check", "--diff", str(path)]) == 1
    assert path.read_bytes() == UGLY.rstrip("\n").encode()
    path.write_text(PRETTY, encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["fmt", "--check", "--diff", str(path)]) == 0
    assert capsys.readouterr() == ("", "")


def test_line_ends_and_a_byte_order_mark_are_a_change(tmp_path: Path) -> None:
    path = tmp_path / "a.udgl"
    for content in (PRETTY.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + PRETTY.encode()):
        path.write_bytes(content)
        assert cli.main(["fmt", "--check", str(path)]) == 1
        assert cli.main(["fmt", str(path)]) == 0
        assert path.read_bytes() == PRETTY.encode()


def test_a_file_with_syntax_errors_is_told_and_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, fine = tmp_path / "broken.udgl", tmp_path / "fine.udgl"
    broken.write_text("meta\nname G\nnmae x\nversion 1\n", encoding="utf-8")
    fine.write_text(UGLY, encoding="utf-8")
    assert cli.main(["fmt", str(broken), str(fine)]) == 1
    told = capsys.readouterr()
    assert f"{broken}:3:1: U011" in told.err
    assert told.out == f"rewrote {fine}\n"
    assert broken.read_text(encoding="utf-8").startswith("meta\nname G\nnmae")
    broken.write_bytes(b"\xff")
    assert cli.main(["fmt", str(broken)]) == 1
    assert "U001" in capsys.readouterr().err


def test_what_cannot_be_read_is_told_and_the_others_are_formatted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.udgl").write_text(UGLY, encoding="utf-8")
    missing = tmp_path / "none.udgl"
    names = [str(missing), str(tmp_path / "empty"), str(tmp_path / "a.udgl")]
    assert cli.main(["fmt", *names]) == 2
    told = capsys.readouterr()
    assert f"udgl: {missing}: No such file" in told.err
    assert "there is no .udgl file below this folder" in told.err
    assert told.out == f"rewrote {tmp_path / 'a.udgl'}\n"
    assert cli.main(["fmt", "-", "-"]) == 2


def test_standard_input_is_formatted_to_standard_output_as_utf8(udgl_command: Run) -> None:
    text = "# é\nmeta\nname G, version 1\nflow\ndistribute\nA -> B\n"
    wanted = format_text(text).encode("utf-8")
    # A terminal that knows ASCII alone changes nothing.
    done = udgl_command("fmt", "-", stdin=text.encode(), PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, wanted, b"")
    done = udgl_command("fmt", "--check", "-", stdin=text.encode())
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"would rewrite <stdin>\n"


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["fmt", "--help"])
    told = capsys.readouterr().out
    assert "udgl fmt --check --diff dags" in told
    assert all(len(line) <= 79 for line in told.split("\n"))
