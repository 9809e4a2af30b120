"""``earg agent``: the agent itself."""

from __future__ import annotations

import argparse

from earg.cli.printing import Commands, add_json, print_json


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser("agent", help="the agent itself")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    run = actions.add_parser("run", help="run an agent in this terminal")
    run.set_defaults(run=_run)
    for name, action, text, what in (
        ("start", _start, "start an agent in the background, unless one runs", "the agent"),
        ("status", _status, "whether an agent runs, and what it has deployed", "the agent"),
        ("stop", _stop, "stop every graph and the agent", "whether one ran"),
    ):
        one = actions.add_parser(name, help=text)
        add_json(one, what)
        one.set_defaults(run=action)


def _run(options: argparse.Namespace) -> None:
    from earg import agent

    code = agent.main([] if options.home is None else ["--home", str(options.home)])
    if code:
        raise SystemExit(code)


def _start(options: argparse.Namespace) -> None:
    from earg.client import connect

    with connect(options.home) as client:
        version, pid = client.hello()
    if options.json:
        print_json({"running": True, "version": version, "pid": pid, "home": str(client.home.path)})
        return
    print(f"agent {version} runs, pid {pid}, in {client.home.path}")


def _status(options: argparse.Namespace) -> None:
    from earg.client import NoAgentError, connect
    from earg.home import find_home

    try:
        with connect(options.home, start=False) as client:
            version, pid = client.hello()
            graphs = [graph.name for graph in client.graphs()]
    except NoAgentError:
        home = find_home(options.home).path
        if options.json:
            print_json({"running": False, "home": str(home)})
        else:
            print(f"no agent runs in {home}")
        return
    if options.json:
        about = {"running": True, "version": version, "pid": pid, "home": str(client.home.path)}
        print_json(about | {"graphs": graphs})
        return
    print(
        f"agent {version} runs, pid {pid}, in {client.home.path}; "
        f"deployed: {', '.join(graphs) or 'nothing'}"
    )


def _stop(options: argparse.Namespace) -> None:
    from earg.client import NoAgentError, connect

    try:
        with connect(options.home, start=False) as client:
            client.shutdown()
        stopped = True
    except NoAgentError:
        stopped = False
    if options.json:
        print_json({"stopped": stopped})
    else:
        print("the agent has stopped" if stopped else "no agent runs")
