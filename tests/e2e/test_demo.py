"""The demo, whole: real Airflow, real nodes, a real WAV."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "scripts" / "demo.py"
SUBREAPER = Path(__file__).with_name("subreaper.py")
OPERATORS = ("Trancriber", "Tokenizer", "Senti-Analyzer", "Sub-Analyzer", "Conclusion")


class Demo:
    """A demo that runs in a folder of its own; ``lines`` is what it has printed so far."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self._report = folder / "left.txt"
        self._report.unlink(missing_ok=True)
        self._line = threading.Condition()
        command = [sys.executable, str(DEMO), "--folder", str(folder), "--port", "0", *options]
        self._process = subprocess.Popen(
            [sys.executable, str(SUBREAPER), str(self._report), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                with self._line:
                    self.lines.append(line.rstrip("\n"))
                    self._line.notify_all()
        with self._line:
            self._line.notify_all()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, matches: Callable[[str], bool], seconds: float) -> None:
        """Wait for a line; fails with everything printed so far where none comes."""
        with self._line:
            done = self._line.wait_for(
                lambda: any(map(matches, self.lines)) or not self._reader.is_alive(), seconds
            )
        assert done, f"no such line within {seconds} s:\n{self.text}"
        assert any(map(matches, self.lines)), f"the demo ended early:\n{self.text}"

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        os.kill(self._process.pid, signal.SIGINT)

    def end(self, seconds: float) -> int:
        """The exit code."""
        code = self._process.wait(seconds)
        self._reader.join(5)
        return code

    def left(self) -> str:
        """The processes that it has not ended."""
        return self._report.read_text()

    def kill(self) -> None:
        """End it, whatever state it is in."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(90)
            except subprocess.TimeoutExpired:
                for child in psutil.Process(self._process.pid).children(recursive=True):
                    child.kill()
                self._process.kill()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all demos here: each finds what the one before it left."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Demo]]:
    """Starts demos and ends them all."""
    demos: list[Demo] = []

    def start_demo(*options: str) -> Demo:
        demos.append(Demo(folder, *options))
        return demos[-1]

    yield start_demo
    for demo in demos:
        demo.kill()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_spoken_sentence_is_answered_by_the_graph_that_airflow_deployed(
    start: Callable[..., Demo], folder: Path
) -> None:
    reply_file = folder / "reply.json"
    demo = start("--exit", "--reply", str(reply_file))
    code = demo.end(800)
    assert code == 0, demo.text

    reply = json.loads(reply_file.read_text())
    said = "i love this wonderful library it makes my work a great pleasure"
    assert len(set(said.split()) - set(reply["transcript"].split())) <= 1, reply
    assert reply["sentiment"]["label"] == "positive"
    assert reply["sentiment"]["score"] > 0
    assert reply["sentiment"]["utterances"] == 1
    assert reply["subject"] == "library"
    assert "positive" in reply["conclusion"]

    tasks = {line.split()[0] for line in demo.lines if " success" in line}
    wanted = {f"{step}.{name}" for step in ("deploy", "probe") for name in OPERATORS}
    assert tasks == wanted | {"wire", "serve"}
    assert "$ airflow dags trigger SentiAnalyzer" in demo.text
    assert "user admin, password " in demo.text
    assert reply["transcript"] in demo.text
    assert demo.left() == ""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_digits_are_trained_epoch_by_epoch_and_then_read(
    start: Callable[..., Demo], folder: Path
) -> None:
    pytest.importorskip("sklearn")
    reply_file = folder / "digit.json"
    demo = start("--training", "--exit", "--reply", str(reply_file))
    assert demo.end(800) == 0, demo.text
    assert json.loads(reply_file.read_text())["digit"] == 7
    epochs = [line for line in demo.lines if line.startswith("  epoch ")]
    assert len(epochs) == 10, demo.text
    accuracy = [float(line.partition("accuracy ")[2].partition(";")[0]) for line in epochs]
    assert accuracy[0] < 0.85 < 0.94 < accuracy[-1]
    assert [line.rpartition("batch ")[2] for line in epochs] == ["32"] * 7 + ["48"] * 3
    assert demo.left() == ""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_interrupted_demo_leaves_no_process(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.wait_for(lambda line: line.lstrip().startswith("deploy.") and "running" in line, 400)
    other = start()
    assert other.end(30) == 1
    assert "a demo runs here already" in other.text
    assert "http://127.0.0.1:" in other.text
    demo.interrupt()
    assert demo.end(120) == 130, demo.text
    assert demo.left() == ""
