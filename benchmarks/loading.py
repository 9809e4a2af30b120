"""Loading: 1,000 graphs as UDGL files, as hand-written Python DAGs and as YAML, in one run.

    .venv/bin/python benchmarks/loading.py [--files 1000] [--rounds 3] [--dag-factory PYTHON]

The tasks are the same in all of them: those of the five-operator graph ``dags/sentiment.udgl``,
under a name of its own in each file. The Python files and the YAML are generated from the DAG that
HOGAR builds of it. ``--dag-factory`` names the Python of an environment that has Airflow and
dag-factory; without it HOGAR is compared with Python alone.

Airflow's DagBag loads each folder in a process of its own that has loaded one such file before, so
that imports are not counted; the kinds take turns. Prints milliseconds of CPU time a DAG, which
what else the machine does moves less than time on the wall; it can only add, so the quickest round
counts.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GRAPH = ROOT / "dags" / "sentiment.udgl"
NAME = "SentiAnalyzer"

KINDS = {
    "python": "Python, written by hand",
    "bundle": "HOGAR, UdglDagBundle",
    "loader": "HOGAR, the two loader files",
    "yaml": "dag-factory",
}

SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    # The whole of a kind that has one Python file for all is loaded as one file.
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "0",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
    "PYTHONPATH": str(ROOT),
}
"""Airflow's settings for all kinds alike; nobody is told of the measurements."""

OF_THE_TASK = {"task_id", "dag", "task_group", "default_args"}
"""Arguments of a task that are written elsewhere."""


# --- the files ------------------------------------------------------------------------------------


def write(kind: str, folder: Path, count: int) -> None:
    """Write ``count`` graphs as files of one kind."""
    folder.mkdir()
    if kind in ("bundle", "loader"):
        text = GRAPH.read_text(encoding="utf-8")
        for number in range(count):
            (folder / f"g{number}.udgl").write_text(named(text, number), encoding="utf-8")
        if kind == "loader":
            for name in ("hogar_graphs.py", "hogar_errors.py"):
                (folder / name).write_text((ROOT / "dags" / name).read_text())
        return
    dag = built()
    text = as_python(dag) if kind == "python" else as_yaml(dag)
    suffix = "py" if kind == "python" else "yaml"
    for number in range(count):
        (folder / f"g{number}.{suffix}").write_text(named(text, number), encoding="utf-8")
    if kind == "yaml":
        (folder / "load.py").write_text(
            "from airflow.sdk import DAG\n"
            "from dagfactory import load_yaml_dags\n\n"
            f"load_yaml_dags(globals_dict=globals(), dags_folder={str(folder)!r})\n"
        )


def named(text: str, number: int) -> str:
    """The text of the graph that has this number."""
    return text.replace(NAME, f"Graph{number}")


def built() -> Any:
    """The DAG that HOGAR makes of the graph."""
    from hogar_provider.loader import BrokenFile, compile_file

    dag = compile_file(GRAPH, GRAPH.parent)
    if isinstance(dag, BrokenFile):
        raise SystemExit(dag.text)
    return dag


def arguments(task: Any) -> dict[str, Any]:
    """What a task was constructed with, as it was given."""
    given = dict(task._BaseOperator__init_kwargs)
    return {name: value for name, value in given.items() if name not in OF_THE_TASK}


def source(value: Any, imports: set[str]) -> str:
    """Python that makes the value; raises ValueError for what it does not know."""
    if isinstance(value, timedelta):
        imports.add("from datetime import timedelta")
        return f"timedelta(seconds={value.total_seconds()!r})"
    if type(value).__name__ in ("Asset", "Param"):
        imports.add(f"from airflow.sdk import {type(value).__name__}")
    if type(value).__name__ == "Asset":
        return f"Asset(name={value.name!r}, uri={value.uri!r}, group={value.group!r})"
    if type(value).__name__ == "Param":
        return f"Param({value.value!r}, description={value.description!r}, **{value.schema!r})"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(source(item, imports) for item in value) + "]"
    text = repr(value)
    try:
        known = ast.literal_eval(text) == value
    except (ValueError, SyntaxError):
        known = False
    if not known:
        raise ValueError(text)
    return text


def as_python(dag: Any) -> str:
    """The DAG as a person would write it in Python."""
    imports = {"from airflow.sdk import DAG, TaskGroup"}

    def keywords(values: dict[str, Any], where: str) -> str:
        written = []
        for name, value in values.items():
            try:
                written.append(f"{name}={source(value, imports)}")
            except ValueError as error:
                # Less for Python to do: the comparison is the harder for HOGAR.
                print(f"left out of the Python DAGs: {where}'s {name}, {error}", file=sys.stderr)
        return ", ".join(written)

    config = next((found for t in dag.tasks if (found := arguments(t).get("config"))), "")
    lines = [f"CONFIG = {config!r}", f"with DAG({dag.dag_id!r}, {keywords(head(dag), 'DAG')}):"]
    variables: dict[str, str] = {}
    tasks = list(dag.tasks)
    for group in sorted({task.task_group.group_id for task in tasks}, key=str):
        members = [task for task in tasks if task.task_group.group_id == group]
        indent = "    "
        if group:
            tooltip = members[0].task_group.tooltip
            lines.append(f"    with TaskGroup({group!r}, tooltip={tooltip!r}):")
            indent += "    "
        for task in members:
            variables[task.task_id] = f"task_{len(variables)}"
            kind = type(task)
            imports.add(f"from {kind.__module__} import {kind.__name__}")
            values = keywords(
                {k: v for k, v in arguments(task).items() if k != "config"}, task.task_id
            )
            shared = ", config=CONFIG" if "config" in arguments(task) else ""
            made = f"{kind.__name__}(task_id={task.label!r}, {values}{shared})"
            lines.append(f"{indent}{variables[task.task_id]} = {made}")
    for task in tasks:
        below = ", ".join(variables[name] for name in sorted(task.downstream_task_ids))
        if below:
            lines.append(f"    {variables[task.task_id]} >> [{below}]")
    return "\n".join([*sorted(imports), *lines]) + "\n"


def head(dag: Any) -> dict[str, Any]:
    """The DAG's own arguments."""
    values = {
        "description": dag.description,
        "schedule": None,
        "catchup": False,
        "max_active_runs": dag.max_active_runs,
        "tags": sorted(dag.tags),
        "doc_md": dag.doc_md,
        "is_paused_upon_creation": dag.is_paused_upon_creation,
    }
    params = {name: dag.params.get_param(name) for name in dag.params}
    return values if not params else {**values, **_params(params)}


def _params(params: dict[str, Any]) -> dict[str, Any]:
    class Params(dict[str, Any]):
        def __repr__(self) -> str:
            return repr(dict(self))

    return {"params": Params({name: param.value for name, param in params.items()})}


def as_yaml(dag: Any) -> str:
    """The DAG for dag-factory. Groups are left out: it cannot have one task name in two."""
    import yaml

    tasks = []
    for task in dag.tasks:
        values = {}
        for name, value in arguments(task).items():
            try:
                source(value, set())
            except ValueError:
                continue
            if name != "outlets" and not isinstance(value, timedelta):
                values[name] = list(value) if isinstance(value, tuple) else value
        kind = type(task)
        tasks.append(
            {
                "task_id": task.task_id,
                "operator": f"{kind.__module__}.{kind.__name__}",
                **values,
                "dependencies": sorted(task.upstream_task_ids),
            }
        )
    values = {**head(dag), "default_args": {"start_date": "2024-01-01"}, "tasks": tasks}
    values = {name: dict(v) if isinstance(v, dict) else v for name, v in values.items()}
    return str(yaml.safe_dump({dag.dag_id: values}, sort_keys=False, allow_unicode=True))


# --- measuring ------------------------------------------------------------------------------------


def load(kind: str, folder: Path, storage: Path) -> int:
    """Load a folder as Airflow does; returns how many DAGs there are."""
    from airflow.dag_processing.dagbag import DagBag

    if kind == "bundle":
        from hogar_provider.bundles import UdglDagBundle

        bundle = UdglDagBundle(name="b", kwargs={"path": str(folder)}, storage=str(storage))
        bundle.initialize()
        folder = bundle.path
    bag = DagBag(folder, bundle_path=folder)
    if bag.import_errors:
        raise SystemExit(str(bag.import_errors))
    return len(bag.dags)


def child(kind: str, warm: Path, folder: Path) -> None:
    """Print the CPU seconds that loading ``folder`` takes."""
    load(kind, warm, warm.with_name("warm-storage"))
    begin, wall = time.process_time(), time.perf_counter()
    count = load(kind, folder, folder.with_name("storage"))
    took = time.process_time() - begin, time.perf_counter() - wall
    print(json.dumps({"dags": count, "cpu": took[0], "wall": took[1]}))


def measure(kind: str, python: str, count: int) -> tuple[float, float]:
    """Milliseconds of CPU, and on the wall, a DAG; in a new process over new files."""
    with tempfile.TemporaryDirectory(prefix="loading-") as place:
        warm, folder = Path(place, "warm"), Path(place, "dags")
        write(kind, warm, 1)
        write(kind, folder, count)
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
        done = subprocess.run(
            [python, __file__, "--child", kind, str(warm), str(folder)],
            env={**kept, **SETTINGS, "AIRFLOW_HOME": str(Path(place, "airflow"))},
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{KINDS[kind]}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        found = json.loads(done.stdout.strip().splitlines()[-1])
    if found["dags"] != count:
        raise SystemExit(f"{KINDS[kind]}: {found['dags']} DAGs instead of {count}\n{done.stderr}")
    return 1000 * found["cpu"] / count, 1000 * found["wall"] / count


def version_in(python: str, name: str) -> str:
    """The version of a distribution in another environment."""
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    """Measure and print; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dag-factory", metavar="PYTHON", help="of an environment that has it")
    options = parser.parse_args()
    os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="loading-airflow-"))

    python_of = dict.fromkeys(KINDS, sys.executable)
    if options.dag_factory:
        python_of["yaml"] = options.dag_factory
    else:
        del python_of["yaml"]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("apache-airflow", "lark")]
    if options.dag_factory:
        versions += [
            f"dag-factory {version_in(options.dag_factory, 'dag-factory')} "
            f"(on apache-airflow {version_in(options.dag_factory, 'apache-airflow')})"
        ]
    print(
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {', '.join(versions)}\n"
        f"{options.files} files of {len(built().tasks)} tasks, {options.rounds} rounds\n"
    )
    figures: dict[str, list[tuple[float, float]]] = {kind: [] for kind in python_of}
    for _ in range(options.rounds):
        for kind, python in python_of.items():
            figures[kind].append(measure(kind, python, options.files))
    quickest: dict[str, float] = {}
    for kind, found in figures.items():
        cpu, wall = (min(column) for column in zip(*found, strict=True))
        quickest[kind] = cpu
        every = ", ".join(f"{each:.2f}" for each, _ in found)
        print(f"{KINDS[kind]:<28} {cpu:6.2f} ms CPU a DAG ({every}), {wall:6.2f} ms on the wall")
    print()
    ratio: Callable[[str, str], float] = lambda a, b: quickest[a] / quickest[b]  # noqa: E731
    for kind in ("bundle", "loader"):
        print(f"{KINDS[kind]} / {KINDS['python']}: {ratio(kind, 'python'):.2f}")
        if "yaml" in quickest:
            print(f"{KINDS['yaml']} / {KINDS[kind]}: {ratio('yaml', kind):.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
