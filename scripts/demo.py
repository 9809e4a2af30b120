#!/usr/bin/env python3
"""The demo: starts Airflow, triggers the DAG of a graph and sends the graph a request.

Run it with ``make demo`` (sentiment.udgl, a spoken sentence) or ``make demo-training``
(digits.udgl, whose classifier is trained first, and an image); both set up the virtual environment
before. It owns every process it
starts: none is left when it ends, be it by Ctrl-C, by a signal or by a failure. Airflow's files
are in ``.airflow``, those of the runtime's agent in ``.demo``; both are kept, so a second start
is quick.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from examples import DIGITS, SENTIMENT, Example
from processes import (
    Session,
    ToolError,
    boot_id,
    earg_processes,
    end,
    our_processes,
    run_tool,
    session_processes,
    start_time,
)
from rest import Api, http
from standalone import (
    BIN,
    ROOT,
    USER,
    Folders,
    child_environment,
    choose_ports,
    start_airflow,
    write_config,
)
from words import say, shown, silence, tail

START_TIMEOUT = 300.0
"""Seconds until Airflow is healthy. The very first start takes 40 to 60 s on two cores."""

DAG_TIMEOUT = 120.0
"""Seconds until the DAG has been parsed."""

RUN_TIMEOUT = 600.0
"""Seconds that the run of the DAG may take."""

REPLY_TIMEOUT = 120.0
"""Seconds that the graph may take to answer."""

END_STATES = {"success", "failed", "upstream_failed", "skipped", "removed"}


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and what to do."""


class Stopped(BaseException):
    """Somebody asked the demo to stop."""


def main() -> int:
    """Run the demo. Exit code 0, 1 for a failure, 130 for a stop before the reply."""
    options = _options()
    folders = Folders(options.folder / ".airflow", options.folder / ".demo")
    on_signals(_stop)
    try:
        with _only_one(folders) as lock:
            return _run(options, folders, lock)
    except (DemoError, ToolError, OSError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr, flush=True)
        return 1
    except Stopped:
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--training",
        dest="example",
        action="store_const",
        const=DIGITS,
        default=SENTIMENT,
        help="the graph whose classifier is trained before it serves",
    )
    parser.add_argument("--exit", action="store_true", help="stop after the reply")
    parser.add_argument(
        "--folder",
        type=lambda text: Path(text).resolve(),
        default=ROOT,
        help="where .airflow and .demo are kept (default: the checkout)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8080,
        help="of the web UI; another if taken, any if 0 (default: 8080)",
    )
    parser.add_argument("--reply", type=Path, help="also write the reply to this file, as JSON")
    return parser.parse_args()


def on_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Do this when somebody asks the demo to stop. (A handler is not inherited by a child that
    executes another program, as an ignored signal would be.)"""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    on_signals(_go_on)  # Once is enough: a second Ctrl-C must not break off the ending.
    raise Stopped(number)


def _go_on(number: int, frame: FrameType | None) -> None:
    """The demo is ending already."""


@contextlib.contextmanager
def stop_later() -> Iterator[None]:
    """Let what must be done as a whole be done before a stop takes effect."""
    asked: list[int] = []
    on_signals(lambda number, frame: asked.append(number))
    try:
        yield
    finally:
        on_signals(_stop)
    if asked:
        _stop(asked[0], None)


def _run(options: argparse.Namespace, folders: Folders, lock: Lock) -> int:
    began = time.monotonic()
    environment = child_environment(folders)
    _clean_up_after_interrupted(folders, lock.found, environment)
    ports = choose_ports(options.port)
    example: Example = options.example
    password = write_config(folders, ports)
    api = Api(f"http://127.0.0.1:{ports['api']}", USER, password)
    served = False
    try:
        say(f"Starting Airflow (its log: {shown(folders.log)})")
        with stop_later():
            standalone = start_airflow(folders, environment)
            lock.write(standalone.pid, api.url)
        wait_until_healthy(api, standalone, folders)
        say(f"Airflow is healthy at {api.url}")
        wait_until_parsed(api, example, standalone, folders)
        end_unfinished_runs(api, example.dag)
        run_id = trigger(example.dag, environment)
        follow(api, example, run_id, standalone, folders)
        url = frontend_url(example.dag, environment)
        say(f"Sending {shown(example.sample)} to {url}")
        reply = send(url, example)
        if options.reply:
            options.reply.write_text(json.dumps(reply, ensure_ascii=False, indent=2) + "\n")
        try:
            print_reply(example.told(reply))
        except (KeyError, TypeError):
            raise DemoError(f"the graph's reply is not what its models give: {reply}") from None
        served = True
        print_next_steps(api, example, password, url, folders, time.monotonic() - began)
        if not options.exit:
            say("Running. Press Ctrl-C to stop everything.")
            while standalone.poll() is None:
                time.sleep(0.5)
            raise DemoError(f"Airflow has ended by itself; see {shown(folders.log)}")
    except Stopped:
        if not served:
            raise
    finally:
        on_signals(_go_on)
        stop_everything(folders, lock.session, environment)
    return 0


# --- one demo at a time -------------------------------------------------------------------------


class Lock:
    """The lock file of a demo that runs: its pid, the session of its Airflow, the web UI's URL."""

    def __init__(self, file: Any, found: dict[str, Any]) -> None:
        self._file = file
        self.found = found
        self.session: Session | None = None

    def write(self, leader: int, url: str) -> None:
        """Note the session whose leader has just been started."""
        self.session = Session(leader, start_time(leader) or 0, boot_id())
        self._file.seek(0)
        self._file.truncate()
        json.dump({"pid": os.getpid(), "url": url, **self.session.as_json()}, self._file)
        self._file.flush()

    def clear(self) -> None:
        """Note that nothing runs any more."""
        self._file.seek(0)
        self._file.truncate()
        self._file.flush()


@contextlib.contextmanager
def _only_one(folders: Folders) -> Iterator[Lock]:
    for folder in (folders.airflow, folders.demo):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folders.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = _read_lock(file)
            raise DemoError(
                f"a demo runs here already (pid {found.get('pid', 'unknown')}). "
                f"Its web UI is at {found.get('url') or 'an address it has yet to choose'}; "
                "stop it with Ctrl-C in its terminal, then start again."
            ) from None
        lock = Lock(file, _read_lock(file))
        file.seek(0)
        file.truncate()
        # The session that was found stays noted until its processes are gone.
        json.dump({**lock.found, "url": None, "pid": os.getpid()}, file)
        file.flush()
        yield lock
        lock.clear()


def _read_lock(file: Any) -> dict[str, Any]:
    file.seek(0)
    try:
        found = json.loads(file.read() or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


# --- Airflow ------------------------------------------------------------------------------------


def wait_for(
    what: str,
    check: Callable[[], Any],
    seconds: float,
    standalone: subprocess.Popen[bytes],
    folders: Folders,
    why_not: Callable[[], str] = lambda: "",
) -> Any:
    """The first true value of ``check``; OSError means not yet. Says every few seconds what it
    waits for, and raises :class:`DemoError` when Airflow ends or the time is up."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError):
            found = check()
            if found:
                return found
        now = time.monotonic()
        if standalone.poll() is not None:
            raise DemoError(f"Airflow has ended by itself.\n{tail(folders.log)}")
        if now - began > seconds:
            raise DemoError(
                f"waited {seconds:.0f} s for {what}. {why_not()}\n{tail(folders.log)}".strip()
            )
        if silence() >= 5:
            say(f"  waiting for {what} ({now - began:.0f} s)")
        time.sleep(0.3)


def wait_until_healthy(api: Api, standalone: subprocess.Popen[bytes], folders: Folders) -> None:
    """Wait for all four parts of Airflow."""

    def healthy() -> bool:
        parts = api.health()
        names = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return all((parts.get(name) or {}).get("status") == "healthy" for name in names)

    wait_for("Airflow", healthy, START_TIMEOUT, standalone, folders)


def wait_until_parsed(
    api: Api, example: Example, standalone: subprocess.Popen[bytes], folders: Folders
) -> None:
    """Wait until this Airflow, and not an earlier one, has parsed the graph file."""
    started = folders.config.stat().st_mtime

    def parsed() -> bool:
        found = api.get(f"dags/{example.dag}")
        return not found["is_stale"] and seconds_of(found["last_parsed_time"]) >= started

    def import_errors() -> str:
        with contextlib.suppress(OSError):
            found = api.get("importErrors")["import_errors"]
            return "\n".join(f"{e['filename']}:\n{e['stack_trace']}" for e in found)
        return ""

    what = f"the DAG {example.dag} of {example.file}"
    wait_for(what, parsed, DAG_TIMEOUT, standalone, folders, import_errors)
    if api.get(f"dags/{example.dag}")["is_paused"]:
        api.patch(f"dags/{example.dag}", {"is_paused": False})
    say(f"{example.file} is the DAG {example.dag}")


def seconds_of(text: str | None) -> float:
    """An ISO 8601 time with a zone as seconds since 1970; 0 for none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def end_unfinished_runs(api: Api, dag: str) -> None:
    """End what a demo that was interrupted left unfinished, so that it does not start again."""
    found = api.get(f"dags/{dag}/dagRuns?state=running&state=queued&limit=100")
    for run in found["dag_runs"]:
        api.patch(f"dags/{dag}/dagRuns/{run['dag_run_id']}", {"state": "failed"})
        say(f"Ended the unfinished run {run['dag_run_id']} of an earlier demo")


def trigger(dag: str, environment: dict[str, str]) -> str:
    """Trigger the DAG as a person would; returns the id of the run."""
    run_id = f"demo__{time.strftime('%Y-%m-%dT%H-%M-%S')}"
    command = ["airflow", "dags", "trigger", dag, "--run-id", run_id]
    say(f"$ {shlex.join(command)}")
    run_tool([str(BIN / command[0]), *command[1:]], environment, 120)
    return run_id


def follow(
    api: Api, example: Example, run_id: str, standalone: subprocess.Popen[bytes], folders: Folders
) -> None:
    """Show every change of a task's state, and every epoch of a training, until the run ends;
    raises with a failed task's log."""
    seen: dict[str, str] = {}
    where = f"dags/{example.dag}/dagRuns/{run_id}"
    epochs = Epochs(api, example, run_id)

    def finished() -> str:
        epochs.show()
        state = str(api.get(where)["state"])
        for task in api.get(f"{where}/taskInstances?limit=100")["task_instances"]:
            name, now = task["task_id"], task["state"] or "waiting"
            if seen.get(name, "waiting") != now:
                took = (
                    f"  {task['duration']:.1f} s" if task["duration"] and now in END_STATES else ""
                )
                say(f"  {name:<24} {now}{took}")
            seen[name] = now
        return state if state in ("success", "failed") else ""

    state = wait_for("the run of the DAG", finished, RUN_TIMEOUT, standalone, folders)
    if state == "failed":
        failed = sorted(name for name, now in seen.items() if now == "failed")
        logs = "\n".join(f"--- log of {name}\n{task_log(api, where, name)}" for name in failed)
        raise DemoError(f"the run failed in {', '.join(failed) or 'no task'}.\n{logs}")
    say(f"All {len(seen)} tasks have succeeded")


class Epochs:
    """The epochs of the example's training, each shown once."""

    def __init__(self, api: Api, example: Example, run_id: str) -> None:
        self._api = api
        self._place = f"dags/{example.dag}/training/{example.trains}" if example.trains else ""
        self._run_id = run_id
        self._shown = 0

    def show(self) -> None:
        """Show those that are new."""
        if not self._place:
            return
        (operator,) = self._api.hogar(self._place)["operators"]
        for run in operator["runs"]:
            if run["run_id"] == self._run_id:
                for epoch in run["epochs"]:
                    self._show(epoch, run["epochs_planned"])

    def _show(self, epoch: dict[str, Any], planned: int) -> None:
        if epoch["epoch"] <= self._shown:
            return
        self._shown = epoch["epoch"]
        figures = ", ".join(
            f"{name} {'not a number' if value is None else format(value, '.3f')}"
            for name, value in epoch["metrics"].items()
        )
        say(f"  epoch {self._shown}/{planned}: {figures}; batch {epoch['batch']}")


def task_log(api: Api, where: str, name: str) -> str:
    """The last lines of a task's log."""
    try:
        tries = api.get(f"{where}/taskInstances/{name}")["try_number"]
        found = api.get(f"{where}/taskInstances/{name}/logs/{tries}?full_content=true")["content"]
    except OSError as error:
        return f"(cannot be read: {error})"
    lines = []
    for entry in found if isinstance(found, list) else [found]:
        if not isinstance(entry, dict):
            lines.append(str(entry))
            continue
        if not str(entry.get("event", "")).startswith("::"):  # marks of the web UI's folds
            lines.append(str(entry.get("event", "")))
        lines += [
            f"{error.get('exc_type')}: {error.get('exc_value')}"
            for error in entry.get("error_detail") or ()
        ]
    return "\n".join("\n".join(lines).splitlines()[-40:])


# --- the graph ----------------------------------------------------------------------------------


def frontend_url(dag: str, environment: dict[str, str]) -> str:
    """Where the deployed graph takes requests."""
    graphs = json.loads(run_tool([str(BIN / "earg"), "nodes", "--json"], environment, 60))
    for graph in graphs:
        if graph["name"] == dag and graph["url"]:
            return f"{graph['url']}/predict"
    raise DemoError(f"the run succeeded, but no graph {dag} serves; see 'earg nodes'")


def send(url: str, example: Example) -> dict[str, Any]:
    """The graph's reply to the example's sample."""
    headers = {"Content-Type": example.media_type}
    try:
        reply = http(url, "POST", example.sample.read_bytes(), headers, REPLY_TIMEOUT)
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        raise DemoError(f"{url} answered {error.code}: {text}") from None
    except OSError as error:
        raise DemoError(f"{url} does not answer: {error}") from None
    if not isinstance(reply, dict):
        raise DemoError(f"{url} answered {reply!r}, which is no JSON object")
    return reply


def print_reply(lines: list[str]) -> None:
    """The reply for a person."""
    print("\n" + "\n".join(f"  {line}" for line in lines) + "\n", flush=True)


def print_next_steps(
    api: Api, example: Example, password: str, url: str, folders: Folders, seconds: float
) -> None:
    """What a person can do now."""
    again = shlex.quote(shown(example.other_sample))
    airflow = (
        f"AIRFLOW_HOME={shlex.quote(str(folders.airflow))} {shlex.quote(shown(BIN / 'airflow'))}"
    )
    training = f"{airflow} hogar training {example.dag} --operator {example.trains} --epochs"
    anew = f'{airflow} dags trigger {example.dag} --conf \'{{"retrain": ["{example.trains}"]}}\''
    earg = f"EARG_HOME={shlex.quote(shown(folders.earg))} {shlex.quote(shown(BIN / 'earg'))}"
    print(
        f"From start to reply: {seconds:.0f} s.\n"
        f"\n  web UI      {api.url}/dags/{example.dag}   user {USER}, password {password}"
        f"\n  frontend    {url}"
        f"\n  again       curl -H 'Content-Type: {example.media_type}' --data-binary @{again} {url}"
        f"\n  or          {earg} send {example.dag} --file {again}"
        f"\n  nodes       {earg} nodes"
        + (f"\n  training    {training}\n  anew        {anew}\n" if example.trains else "\n"),
        flush=True,
    )


# --- ending -------------------------------------------------------------------------------------


def _clean_up_after_interrupted(
    folders: Folders, found: dict[str, Any], environment: dict[str, str]
) -> None:
    """End what a demo that was killed left running."""
    session = None
    with contextlib.suppress(KeyError, TypeError, ValueError):
        session = Session(int(found["session"]), int(found["started"]), str(found["boot"]))
    if our_processes(session, folders.earg):
        say("Ending what a demo that was interrupted left running")
        stop_everything(folders, session, environment)


def stop_everything(folders: Folders, session: Session | None, environment: dict[str, str]) -> None:
    """End every process of the demo, and wait until they are gone."""
    if our_processes(session, folders.earg):
        say("Stopping Airflow and the graph's nodes")
    # Airflow first: a task that still runs would start another agent.
    end(lambda: session_processes(session))
    if earg_processes(folders.earg):
        try:
            run_tool([str(BIN / "earg"), "agent", "stop"], environment, 60)
        except ToolError as error:
            say(f"The agent did not stop when asked: {error}")
    end(lambda: earg_processes(folders.earg))
    left = our_processes(session, folders.earg)
    if left:
        say(f"These processes could not be ended: {', '.join(map(str, left))}")
    else:
        say("Everything has stopped.")


if __name__ == "__main__":
    sys.exit(main())
