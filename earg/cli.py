"""The command ``earg``: a graph of model servers on this machine, without Airflow."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earg.config import ConfigError, StaticConfig, read_static, write_static
from earg.images import ImagesError, Implementation, implementation_of, read_images
from earg.statistics import GraphStatistics
from earg.statistics_table import as_json, table
from earg.status import GraphStatus, NodeStatus, Role

if TYPE_CHECKING:
    from earg.client import AgentClient

WATCH_SECONDS = 10
"""What ``earg stats --watch`` tells of latencies is over so many seconds."""

MOST_LOG_LINES = 1000
"""More lines the agent does not tell."""

SEND_TIMEOUT = 300.0
"""Seconds that ``earg send`` waits for a reply."""


class CommandError(RuntimeError):
    """What a person asked for cannot be done; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 0, 1 for what failed, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    # Imported here: --help need not wait for gRPC.
    from earg.client import AgentError

    run: Callable[[argparse.Namespace], None] = options.run
    try:
        run(options)
    except (CommandError, AgentError, ImagesError) as error:
        print(f"earg: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="earg",
        description="Run graphs of model servers on this machine.",
        epilog="An agent is started on first use; it owns the processes and ends when nothing "
        "has been deployed for a minute.",
    )
    parser.add_argument(
        "--home",
        type=Path,
        help="the agent's folder (default: $EARG_HOME, else ~/.local/state/earg)",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    up = commands.add_parser("up", help="deploy, wire and probe a graph")
    up.add_argument("config", type=Path, help="a static EARG config, such as NAME-VERSION.earg")
    up.add_argument(
        "--images",
        type=Path,
        required=True,
        help="YAML that maps each image to its entrypoint, package.module:Class",
    )
    up.add_argument("--name", help="the graph's name (default: the file's, up to the first '-')")
    up.add_argument(
        "--graph-version", help="the graph's version (default: the file's, after the first '-')"
    )
    up.add_argument(
        "--timeout", type=float, default=120.0, help="seconds a node may take (default: 120)"
    )
    up.set_defaults(run=_up)

    nodes = commands.add_parser("nodes", help="show what is deployed")
    nodes.add_argument("graph", nargs="?", help="only this graph")
    nodes.add_argument("--json", action="store_true", help="as JSON: a list of graphs")
    nodes.set_defaults(run=_nodes)

    send = commands.add_parser("send", help="send one request and print the reply")
    send.add_argument("graph")
    what = send.add_mutually_exclusive_group(required=True)
    what.add_argument("--text", help="a text")
    what.add_argument("--json", help="a JSON value")
    what.add_argument("--file", type=Path, help="a file's bytes ('-': standard input)")
    send.set_defaults(run=_send)

    events = commands.add_parser("events", help="what happened to the nodes, oldest first")
    events.add_argument("graph", nargs="?", default="", help="only this graph")
    events.add_argument("--json", action="store_true", help="as JSON: a list of events")
    events.set_defaults(run=_events)

    stats = commands.add_parser("stats", help="what the nodes have done, and what they use")
    stats.add_argument("graph", nargs="?", help="only this graph")
    stats.add_argument("--json", action="store_true", help="as JSON: a list of graphs")
    stats.add_argument(
        "--watch",
        action="store_true",
        help="again each second until Ctrl-C, latencies over the last 10 seconds; "
        "with --json one line a second",
    )
    stats.add_argument(
        "--history",
        type=int,
        default=0,
        metavar="SECONDS",
        help="with --json: so many one-second samples of each node, 900 at most (default: 0)",
    )
    stats.set_defaults(run=_stats)

    batch = commands.add_parser("batch", help="set a node's batch limit, from its next batch on")
    batch.add_argument("graph")
    batch.add_argument("node", help="its name, or its number in the config")
    batch.add_argument("limit", type=int, help="most requests that its model gets at once")
    batch.add_argument("--json", action="store_true", help="as JSON: the limit and the one before")
    batch.set_defaults(run=_batch)

    logs = commands.add_parser("logs", help="the last lines that a node's model has written")
    logs.add_argument("graph")
    logs.add_argument("node", help="its name, or its number in the config")
    logs.add_argument("--lines", type=int, default=20, help="how many (default: 20; 1000 at most)")
    logs.add_argument("--json", action="store_true", help="as JSON: a list of lines")
    logs.set_defaults(run=_logs)

    down = commands.add_parser("down", help="stop a graph")
    which = down.add_mutually_exclusive_group(required=True)
    which.add_argument("graph", nargs="?")
    which.add_argument("--all", action="store_true", help="every graph of this agent")
    down.set_defaults(run=_down)

    agent = commands.add_parser("agent", help="the agent itself")
    actions = agent.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, run, text in (
        ("run", _agent_run, "run an agent in this terminal"),
        ("start", _agent_start, "start an agent in the background, unless one runs"),
        ("stop", _agent_stop, "stop every graph and the agent"),
    ):
        action = actions.add_parser(name, help=text)
        action.set_defaults(run=run)
    return parser


def _up(options: argparse.Namespace) -> None:
    from earg.client import connect

    path: Path = options.config
    name, version = _graph_name(path, options.name, options.graph_version)
    config = _read_config(path)
    images = read_images(options.images)
    implementations = [
        implementation_of(node.image, images, options.images) for node in config.nodes
    ]
    with connect(options.home) as client:
        _deploy(client, name, version, config, implementations, options.timeout)
        _say(f"wiring {name}")
        client.wire(name)
        for index, node in enumerate(config.nodes, 1):
            client.probe(name, index, timeout=options.timeout)
            _say(f"{node.name} is ready")
        graph = client.serve(name)
    print(f"{name} serves at {graph.url}/predict")


def _graph_name(path: Path, name: str | None, version: str | None) -> tuple[str, str]:
    stem, _, rest = path.stem.partition("-")
    chosen = (name or stem), (version or rest or "1")
    for value in chosen:
        if "-" in value:
            raise CommandError(
                f"EARG admits no '-' in a graph's name or version: {value!r}; "
                "say others with --name and --graph-version"
            )
    return chosen


def _read_config(path: Path) -> StaticConfig:
    try:
        return read_static(path.read_bytes().decode())
    except ConfigError as error:
        raise CommandError(f"{path}:{error.line}:{error.column}: {error.message}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path}: is not UTF-8 text") from None
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror}") from None


def _deploy(
    client: AgentClient,
    name: str,
    version: str,
    config: StaticConfig,
    implementations: Sequence[Implementation],
    timeout: float,
) -> None:
    text = write_static(config)

    def deploy(index: int) -> None:
        node = config.nodes[index - 1]
        _say(f"deploying {node.name}{' and its backup' if node.stateful else ''}")
        client.deploy_node(name, version, text, index, implementations[index - 1], timeout=timeout)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(deploy, index) for index in range(1, len(config.nodes) + 1)]:
            done.result()


def _nodes(options: argparse.Namespace) -> None:
    graphs = _deployed(options)
    if options.graph is not None:
        graphs = tuple(graph for graph in graphs if graph.name == options.graph)
        if not graphs:
            raise CommandError(f"no graph {options.graph!r} is deployed here")
    if options.json:
        print(json.dumps([dataclasses.asdict(g) for g in graphs], default=_plain, indent=2))
        return
    if not graphs:
        print("nothing is deployed")
    for graph in graphs:
        where = f"serves at {graph.url}/predict" if graph.url else "is not wired"
        missing = graph.operators - len(graph.nodes)
        print(f"{graph.name} {graph.version} {where}" + (f", {missing} missing" if missing else ""))
        _print_table(_rows(graph))
        for warning in graph.warnings:
            print(f"  warning: {warning}")


def _deployed(options: argparse.Namespace) -> tuple[GraphStatus, ...]:
    from earg.client import NoAgentError, connect

    try:
        with connect(options.home, start=False) as client:
            return client.graphs()
    except NoAgentError:
        return ()


def _rows(graph: GraphStatus) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("NODE", "VERSION", "ROLE", "STATE", "ADDRESS", "MODEL", "PROXY", "")
    ]
    for node in graph.nodes:
        rows += [
            (
                node.name if pair.role is Role.PRIMARY else "",
                node.version if pair.role is Role.PRIMARY else "",
                pair.role.value,
                pair.state.value,
                pair.address,
                str(pair.model_pid or "-"),
                str(pair.proxy_pid or "-"),
                pair.reason,
            )
            for pair in node.pairs
        ]
    return rows


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  " + "  ".join(cells).rstrip())


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _send(options: argparse.Namespace) -> None:
    from earg.client import connect
    from earg.http_client import open_url
    from earg.security import SecurityError

    if options.text is not None:
        body, kind = options.text.encode(), "text/plain; charset=utf-8"
    elif options.json is not None:
        body, kind = options.json.encode(), "application/json"
    else:
        body, kind = _file_bytes(options.file), "application/octet-stream"
    with connect(options.home, start=False) as client:
        graph = client.graph(options.graph)
    if not graph.url:
        raise CommandError(f"graph {graph.name} does not serve: it is not wired")
    request = urllib.request.Request(  # noqa: S310  the frontend's own http URL
        f"{graph.url}/predict", body, {"Content-Type": kind}
    )
    try:
        with open_url(request, SEND_TIMEOUT) as reply:
            _print_reply(reply.read(), reply.headers.get_content_type())
    except urllib.error.HTTPError as error:
        raise CommandError(_error_sentence(error)) from None
    except SecurityError as error:
        raise CommandError(str(error)) from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise CommandError(f"{graph.url} does not answer: {error}") from None


def _file_bytes(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror}") from None


def _print_reply(body: bytes, content_type: str) -> None:
    if content_type == "application/json":
        print(json.dumps(json.loads(body), ensure_ascii=False, indent=2))
    elif content_type == "text/plain":
        print(body.decode(errors="replace"))
    else:
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()


def _error_sentence(error: urllib.error.HTTPError) -> str:
    try:
        sentence = json.load(error)["error"]
    except (ValueError, KeyError, TypeError):
        sentence = error.reason
    return f"HTTP {error.code}: {sentence}"


def _events(options: argparse.Namespace) -> None:
    from earg.client import NoAgentError, connect

    try:
        with connect(options.home, start=False) as client:
            events = client.events(options.graph)
    except NoAgentError:
        events = ()
    if options.json:
        print(json.dumps([dataclasses.asdict(event) for event in events], indent=2))
        return
    for event in events:
        at = datetime.fromtimestamp(event.time, UTC).astimezone().isoformat(" ", "milliseconds")
        print(f"{at}  {event.graph}  {event.node} {event.what}")


def _stats(options: argparse.Namespace) -> None:
    from earg.client import NoAgentError, connect

    try:
        with connect(options.home, start=False) as client:
            if options.watch:
                _watch_stats(options, client)
            else:
                _print_stats(options, _graph_statistics(options, client))
    except NoAgentError as error:
        if options.graph is not None or options.watch:
            raise CommandError(str(error)) from None
        _print_stats(options, ())


def _graph_statistics(
    options: argparse.Namespace, client: AgentClient
) -> tuple[GraphStatistics, ...]:
    names = [g.name for g in client.graphs()] if options.graph is None else [options.graph]
    return tuple(client.statistics(name, max(0, options.history)) for name in names)


def _watch_stats(options: argparse.Namespace, client: AgentClient) -> None:
    """Print again each second, until Ctrl-C: the way to end it, so no failure."""
    looks: deque[tuple[GraphStatistics, ...]] = deque(maxlen=WATCH_SECONDS)
    on_terminal = sys.stdout.isatty() and not options.json
    due = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            now = _graph_statistics(options, client)
            if on_terminal:
                # Home, and clear what is left below: without a flicker.
                print("\x1b[H\x1b[J", end="")
            _print_stats(options, now, looks[0] if looks else (), one_line=True)
            sys.stdout.flush()
            looks.append(now)
            due = max(due + 1.0, time.monotonic())
            time.sleep(due - time.monotonic())


def _print_stats(
    options: argparse.Namespace,
    graphs: Sequence[GraphStatistics],
    before: Sequence[GraphStatistics] = (),
    one_line: bool = False,
) -> None:
    if options.json:
        print(json.dumps([as_json(graph) for graph in graphs], indent=None if one_line else 2))
        return
    if not graphs:
        print("nothing is deployed")
    earlier = {graph.name: graph for graph in before}
    for graph in graphs:
        print(f"{graph.name} {graph.version}")
        _print_table(table(graph, earlier.get(graph.name)))


def _batch(options: argparse.Namespace) -> None:
    from earg.client import connect

    with connect(options.home, start=False) as client:
        node = _node_of(client.graph(options.graph), options.node)
        limit, who = client.set_batch_limit(
            options.graph, node.index, options.limit, who="earg batch"
        )
    if options.json:
        answer = {"graph": options.graph, "node": node.name, "limit": options.limit}
        print(json.dumps(answer | {"before": limit, "before_set_by": who}, indent=2))
        return
    print(
        f"{node.name} of {options.graph} takes at most {options.limit} requests at once now; "
        f"before: {limit}, set by {who}"
    )


def _logs(options: argparse.Namespace) -> None:
    from earg.client import connect

    if options.lines < 1:
        raise CommandError(f"--lines must be 1 or more, not {options.lines}")
    with connect(options.home, start=False) as client:
        node = _node_of(client.graph(options.graph), options.node)
        text = client.node_log(options.graph, node.index, min(options.lines, MOST_LOG_LINES))
    if options.json:
        print(json.dumps(text.splitlines(), ensure_ascii=False, indent=2))
    elif text:
        print(text)


def _node_of(graph: GraphStatus, wanted: str) -> NodeStatus:
    for node in graph.nodes:
        if node.name == wanted:
            return node
    for node in graph.nodes:
        if str(node.index) == wanted:
            return node
    known = ", ".join(node.name for node in graph.nodes) or "none"
    raise CommandError(f"graph {graph.name} has no node {wanted!r} (nodes: {known})")


def _down(options: argparse.Namespace) -> None:
    from earg.client import NoAgentError, connect

    try:
        with connect(options.home, start=False) as client:
            names = [g.name for g in client.graphs()] if options.all else [options.graph]
            for name in names:
                client.down(name)
                print(f"{name} is down")
    except NoAgentError as error:
        if not options.all:
            raise CommandError(f"no graph {options.graph!r} is deployed: {error}") from None


def _agent_run(options: argparse.Namespace) -> None:
    from earg import agent

    code = agent.main([] if options.home is None else ["--home", str(options.home)])
    if code:
        raise SystemExit(code)


def _agent_start(options: argparse.Namespace) -> None:
    from earg.client import connect

    with connect(options.home) as client:
        version, pid = client.hello()
    print(f"agent {version} runs, pid {pid}, in {client.home.path}")


def _agent_stop(options: argparse.Namespace) -> None:
    from earg.client import NoAgentError, connect

    try:
        with connect(options.home, start=False) as client:
            client.shutdown()
    except NoAgentError:
        print("no agent runs")
    else:
        print("the agent has stopped")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
