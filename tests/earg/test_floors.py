"""The floors of the house: who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = sorted(
    f"earg.{path.stem}"
    for path in (Path(__file__).parents[2] / "earg").glob("*.py")
    if path.stem != "__init__"
)
TRAINING = ("earg.training.runner", "earg.training.store", "earg.training.fingerprint")


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_earg_knows_neither_airflow_nor_udgl() -> None:
    loaded = loaded_by(", ".join((*MODULES, *TRAINING)))
    assert "earg.proxy" in loaded
    assert {name.partition(".")[0] for name in loaded} & {
        "airflow",
        "lark",
        "networkx",
        "udgl",
        "hogar_provider",
    } == set()


@pytest.mark.parametrize(
    "module",
    ["earg", "earg.config", "earg.cli", "earg.extras", "earg.images", "earg.training"],
)
def test_light_modules_load_no_grpc(module: str) -> None:
    assert {name for name in loaded_by(module) if name.partition(".")[0] in ("grpc", "google")} == (
        set()
    )


# --- what nobody in the runtime may do ------------------------------------------------------

EARG = Path(__file__).parents[2] / "earg"
SOURCES = sorted(path for path in EARG.glob("**/*.py") if "protos" not in path.parts)

DOORS = {
    "insecure_channel": {"channel.py", "client.py"},
    "secure_channel": {"channel.py"},
    "add_insecure_port": {"channel.py", "agent.py"},
    "add_secure_port": {"channel.py"},
    "server": {"channel.py", "agent.py"},
    "create_server": {"gate.py"},
    "start_server": set(),
    "create_connection": {"lane.py", "http_client.py"},
    "open_connection": set(),
    "connect_accepted_socket": {"gate.py"},
}
"""Who opens what: everybody else asks them, so that nobody forgets who may speak. The agent and
its client speak on a socket in a folder that is closed to others."""

LIBRARIES = {"server": ("grpc", "aio"), "start_server": ("asyncio",)}
"""Names that are common: whose they are is looked at."""

UNSAFE_MODULES = {
    *("pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"),
    *("dbm", "code", "codeop", "runpy"),
}
UNSAFE_CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all"),
    *("yaml.full_load_all", "os.system", "os.popen", "numpy.load", "np.load", "torch.load"),
}


def called(tree: ast.AST) -> list[tuple[str, int]]:
    """The dotted names that are called, with their lines; of longer chains the last two names."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                found.append((node.func.id, node.lineno))
            elif isinstance(node.func, ast.Attribute):
                owner = node.func.value
                last = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "?")
                found.append((f"{last}.{node.func.attr}", node.lineno))
    return found


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def wrongs(source: str, file: str) -> list[str]:
    """What ``source`` does that it may not."""
    tree = ast.parse(source)
    found = [f"imports {name}" for name in sorted(imported(tree) & UNSAFE_MODULES)]
    for name, line in called(tree):
        owner, _, last = name.rpartition(".")
        if name in UNSAFE_CALLS:
            found.append(f"line {line} calls {name}")
        if last in LIBRARIES and owner not in LIBRARIES[last]:
            continue
        if file not in DOORS.get(last, {file}) and owner != "self":
            found.append(f"line {line} calls {name}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nobody_opens_a_door_of_its_own_or_runs_what_it_reads(path: Path) -> None:
    assert wrongs(path.read_text(encoding="utf-8"), path.name) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "x = eval('1')",
        "import yaml\nyaml.load(x, yaml.Loader)",
        "import grpc\ngrpc.aio.insecure_channel('x')",
        "server.add_insecure_port('x')",
        "import grpc\ngrpc.server(None)",
        "import grpc\ngrpc.aio.server()",
        "async def f(loop):\n    await loop.create_server(x, 'ip', 1)",
        "async def f():\n    await asyncio.start_server(x, 'ip', 1)",
    ],
)
def test_the_floor_would_notice(source: str) -> None:
    assert len(wrongs(source, "new.py")) == 1


SHOWS_A_TIME = {
    # An event's time is for people; events are ordered as they came.
    ("agent_calls.py", "time.time"),
    # CLOCK_BOOTTIME, which nobody sets.
    ("lease.py", "time.clock_gettime"),
    ("start_mark.py", "time.clock_gettime"),
    # A trace's times are for people and for OpenTelemetry.
    ("recording.py", "time.time"),
    ("trails.py", "time.time"),
    # The seconds of a chart are shown by when they were; a jump leaves a gap in it.
    ("node_history.py", "time.time"),
    ("sampling.py", "time.time"),
    # When an epoch ended, and when a model was trained; numbers tell which is newer.
    ("context.py", "time.time"),
    ("store.py", "time.time"),
    # A printed event in the reader's time zone.
    ("events.py", "datetime.fromtimestamp"),
    ("traces.py", "datetime.fromtimestamp"),
    # The plain protocol's timestamp, which nothing of ours reads.
    ("sender.py", "GetCurrentTime"),
}
"""The only uses of the wall clock: where a person is shown a time."""

WALL_CLOCK = {
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime", "strftime", "clock_gettime"},
    "datetime": {"now", "utcnow", "today", "fromtimestamp", "utcfromtimestamp"},
    "date": {"today", "fromtimestamp"},
}


def wall_clock_uses(path: Path) -> set[tuple[str, str]]:
    """Each place that reads the wall clock, by what it calls, however it was imported."""
    found = set()
    names: dict[str, str] = {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.asname or one.name: one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: one.name for one in node.names}
            if node.module == "time":
                found |= {
                    (path.name, f"time.{one.name}")
                    for one in node.names
                    if one.name in WALL_CLOCK["time"]
                }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value.attr if isinstance(node.value, ast.Attribute) else ""
        if isinstance(node.value, ast.Name):
            owner = names.get(node.value.id, "")
        if node.attr in WALL_CLOCK.get(owner, ()):
            found.add((path.name, f"{owner}.{node.attr}"))
        if node.attr in ("GetCurrentTime", "st_mtime", "st_ctime", "st_atime", "create_time"):
            found.add((path.name, node.attr))
    return found


def test_a_jump_of_the_clock_changes_nothing_but_the_times_that_are_shown() -> None:
    """Every span is measured with a clock that only goes forward (time.monotonic)."""
    assert len(SOURCES) > 30
    assert set().union(*(wall_clock_uses(path) for path in SOURCES)) == SHOWS_A_TIME


@pytest.mark.parametrize(
    "text",
    [
        "import time\nstarted = time.time()\n",
        "import time as t\nstarted = t.time_ns()\n",
        "from time import time\nstarted = time()\n",
        "import datetime\nstarted = datetime.datetime.now()\n",
        "from datetime import datetime as d\nstarted = d.now()\n",
        "import os\nage = os.stat('x').st_mtime\n",
    ],
)
def test_a_span_by_the_wall_clock_is_found(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spans.py"
    path.write_text(text)
    assert len(wall_clock_uses(path)) == 1
    path.write_text("import time\nstarted = time.monotonic()\n")
    assert wall_clock_uses(path) == set()
