"""The language: graphs that are read, checked, compiled and formatted, beside PyYAML, in one run.

    .venv/bin/python benchmarks/language.py [--rounds 5] [--large 100000]

Each graph is written twice: as UDGL, and as YAML with the same names and values. HOGAR parses and
checks it (names, cycles, entries, ...); PyYAML's ``safe_load`` reads the YAML into dictionaries and
checks nothing; libyaml's loader, in C, is measured where PyYAML has it. Prints CPU time, which what
else the machine does moves less than time on the wall; it can only add, so the quickest round
counts. What starts a process is measured with the process's whole life.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import udgl  # noqa: E402
from udgl.targets import target  # noqa: E402

FILES = 1_000
MANY = 10_000

IMAGES = "registry.example/team/operator"


# --- the graphs -----------------------------------------------------------------------------------


def as_udgl(count: int, name: str = "G") -> str:
    """A chain of operators; ``count`` is their number."""
    lines = ["meta", f"  name {name}", "  version 1"]
    for i in range(count):
        lines += ["", f"operator op{i}", f"  version 1, image {IMAGES}{i}:v1"]
        lines.append("  batch 32, stateful No")
    lines += ["", "logical flow", "distribute"]
    lines += (f"  op{i} → op{i + 1}" for i in range(count - 1))
    return "\n".join(lines) + "\n"


def as_yaml(count: int, name: str = "G") -> str:
    """The same graph in YAML."""
    lines = ["meta:", f"  name: {name}", "  version: '1'", "operators:"]
    for i in range(count):
        lines += [f"  op{i}:", "    version: '1'", f"    image: {IMAGES}{i}:v1"]
        lines += ["    batch: 32", "    stateful: false"]
    lines += ["flow:", "  distribute:"]
    lines += (f"    - op{i}: [op{i + 1}]" for i in range(count - 1))
    return "\n".join(lines) + "\n"


# --- measuring ------------------------------------------------------------------------------------


def quickest(work: Callable[[], object], rounds: int, repeat: int = 1) -> float:
    """CPU milliseconds of the quickest round."""
    found = []
    for _ in range(rounds):
        begin = time.process_time()
        for _ in range(repeat):
            work()
        found.append((time.process_time() - begin) / repeat)
    return 1000 * min(found)


def process(*arguments: str) -> float:
    """CPU milliseconds of a Python with these arguments, from start to end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def started(rounds: int, *arguments: str) -> float:
    """The quickest of some processes."""
    process(*arguments)
    return min(process(*arguments) for _ in range(rounds))


LARGE = """
import resource, sys, time
import udgl
text = open(sys.argv[1], encoding="utf-8").read()
udgl.parse("meta name G, version 1\\noperator A, image a")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begin = time.process_time()
graph = udgl.parse(text)
took = time.process_time() - begin
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(took, (after - before) / 1024, len(text) / 1e6)
"""

EVERY_YAML = (
    "import sys, pathlib, yaml\n"
    "for path in sorted(pathlib.Path(sys.argv[1]).glob('*.yaml')):\n"
    "    yaml.safe_load(path.read_text())"
)


def row(what: str, ours: float, peer: float | None = None, goal: str = "") -> None:
    """One line of the table."""
    other = f"{peer:12,.2f} {peer / ours:8.1f}" if peer else f"{'':12} {'':8}"
    print(f"{what:<48} {ours:10,.2f} {other}  {goal}")


def main() -> None:
    """Measure and print; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=100_000, help="operators of the largest graph")
    options = parser.parse_args()
    rounds = options.rounds
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("lark", "PyYAML")]
    print(
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {', '.join(versions)}\n"
        f"CPU time, the quickest of {rounds} rounds\n"
    )
    print(f"{'ms':<48} {'HOGAR':>10} {'PyYAML':>12} {'ratio':>8}  goal")
    in_c = getattr(yaml, "CSafeLoader", None)
    earg = target("earg")

    text, other = (ROOT / "dags" / "sentiment.udgl").read_text(encoding="utf-8"), as_yaml(5)
    udgl.parse(text)
    small = quickest(lambda: udgl.parse(text), rounds, 200)
    loaded = quickest(lambda: yaml.safe_load(other), rounds, 50)
    row("5 operators: parse, check", small, loaded, "0.6")
    if in_c:
        fast = quickest(lambda: yaml.load(other, Loader=in_c), rounds, 200)
        row("    beside libyaml, in C", small, fast)
    row("5 operators: format", quickest(lambda: udgl.format_text(text), rounds, 200))

    text, other = as_udgl(MANY), as_yaml(MANY)
    few = max(1, rounds // 2)
    ours = quickest(lambda: udgl.parse(text), rounds)
    row(f"{MANY:,} operators: parse, check", ours, quickest(lambda: yaml.safe_load(other), few))
    if in_c:
        fast = quickest(lambda: yaml.load(other, Loader=in_c), few)
        row("    beside libyaml, in C", ours, fast)
    whole = quickest(lambda: earg.compile_graph(udgl.parse(text)), rounds)
    row(f"{MANY:,} operators: parse, check, compile", whole, None, "2,000")
    row(f"{MANY:,} operators: format", quickest(lambda: udgl.format_text(text), few))

    nothing = started(rounds, "-c", "pass")
    row("import", started(rounds, "-c", "import udgl") - nothing, None, "60")
    place = ROOT / "dags" / "sentiment.udgl"
    code = f"import udgl; udgl.load({str(place)!r})"
    row("import, and a first file of 5 operators", started(rounds, "-c", code) - nothing)

    with tempfile.TemporaryDirectory(prefix="language-") as folder:
        paths = [Path(folder, f"g{i}.udgl") for i in range(FILES)]
        for number, path in enumerate(paths):
            path.write_text(as_udgl(5, f"G{number}"), encoding="utf-8")
            path.with_suffix(".yaml").write_text(as_yaml(5, f"G{number}"), encoding="utf-8")
        ours = started(few, "-m", "udgl", "check", *map(str, paths))
        row(
            f"udgl check of {FILES:,} files, the whole process",
            ours,
            started(few, "-c", EVERY_YAML, folder),
            "3,000",
        )
        large = Path(folder, "large.udgl")
        large.write_text(as_udgl(options.large), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", LARGE, str(large)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    seconds, memory, size = map(float, done.stdout.split())
    row(f"{options.large:,} operators ({size:.1f} MB): parse, check", 1000 * seconds)
    print(f"    memory it adds: {memory:.0f} MB")


if __name__ == "__main__":
    main()
