"""The commands and their arguments. Nothing of the runtime is imported here: ``airflow --help``
loads this, too."""

from __future__ import annotations

from airflow.cli.cli_config import (
    ARG_OUTPUT,
    ARG_VERBOSE,
    ARG_YES,
    ActionCommand,
    Arg,
    CLICommand,
    GroupCommand,
    lazy_load_command,
)

ARG_CONNECTION = Arg(
    ("--conn-id",),
    metavar="CONN_ID",
    help="The connection to the engine (default: the option default_conn_id of section hogar, as "
    "a rule the agent on this machine)",
)
ARG_GRAPH = Arg(("graph",), help="A deployed graph, or the DAG of one")
ARG_ANY_GRAPH = Arg(("graph",), nargs="?", help="Only this graph (default: all that are deployed)")
ARG_NODE = Arg(("node",), help="An operator's name, or its number in the graph")
ARG_LIMIT = Arg(("limit",), nargs="?", type=int, help="The most requests its model gets at once")
ARG_WAIT = Arg(("--wait",), metavar="TIME", help="A batch may wait so long to fill: 5ms, 1s")
ARG_LATENCY = Arg(
    ("--latency",),
    metavar="TIME",
    help="The objective of a dynamic limit: a batch computes within it (0: the usual one)",
)
ARG_DYNAMIC = Arg(
    ("--dynamic",), action="store_true", help="Let the limit move below the most by itself"
)
ARG_STATIC = Arg(("--static",), action="store_true", help="Keep the limit as it is set")
ARG_LOG_NODE = Arg(
    ("node",), help="An operator's name, or its number in the graph; 'frontend' for the frontend"
)
ARG_PROXY = Arg(("--proxy",), action="store_true", help="Of its proxy (default: its model)")
ARG_BACKUP = Arg(("--backup",), action="store_true", help="Of its backup (default: its primary)")
ARG_LINES = Arg(("--lines",), type=int, default=20, help="How many (default: 20; 1000 at most)")
ARG_MOST = Arg(("--limit",), type=int, default=100, help="Only so many, the newest (default: 100)")
ARG_TEXT = Arg(("--text",), help="Send a text")
ARG_VALUE = Arg(("--value",), help="Send a JSON value")
ARG_FILE = Arg(("--file",), help="Send a file's bytes ('-': standard input)")
ARG_SEND_TIMEOUT = Arg(
    ("--timeout",), type=float, default=60.0, metavar="S", help="Seconds to wait (default: 60)"
)
ARG_NOW = Arg(
    ("--now",), action="store_true", help="Stop it at once (default: answer what it accepted first)"
)
ARG_DRAIN_TIMEOUT = Arg(
    ("--timeout",),
    type=float,
    metavar="S",
    help="Seconds that answering may take (default: the option drain_timeout of section hogar)",
)
ARG_FORCE = Arg(
    ("--force",), action="store_true", help="Stop it all the same when they have passed"
)

ARG_DAG = Arg(("graph",), help="The DAG of a graph")
ARG_OPERATOR = Arg(("--operator",), metavar="NAME", help="Only this operator")
ARG_RUN = Arg(("--run",), metavar="RUN_ID", help="This run, epoch by epoch")
ARG_RUNS = Arg(("--runs",), type=int, default=10, help="How many, the newest (default: 10)")
ARG_EPOCHS = Arg(
    ("--epochs",), action="store_true", help="The operator's newest run, epoch by epoch"
)
ARG_BATCH = Arg(
    ("--batch",), type=int, metavar="N", help="Train so many samples at once from now on"
)
ARG_FROM_EPOCH = Arg(
    ("--from-epoch",), type=int, metavar="E", help="From this epoch on (default: the next)"
)
ARG_ONLY = Arg(
    ("--only",), action="store_true", help="In that one epoch (default: all that follow)"
)
ARG_RESET = Arg(("--reset",), action="store_true", help="Go back to the schedule")
ARG_JSON = Arg(("--json",), action="store_true", help="As --output json")


def _command(name: str, help: str, *args: Arg, description: str | None = None) -> ActionCommand:  # noqa: A002
    return ActionCommand(
        name=name,
        help=help,
        description=description,
        func=lazy_load_command(f"hogar_provider.cli.{name}.run"),
        args=(*args, ARG_CONNECTION, ARG_OUTPUT, ARG_VERBOSE),
    )


COMMANDS = (
    _command(
        "status",
        "What is deployed, whether it serves, and which graphs are orphaned",
        ARG_ANY_GRAPH,
        description="One line for each deployed graph. A graph is orphaned when it runs but its "
        "DAG is gone: its file was deleted or renamed.",
    ),
    _command("nodes", "The nodes of deployed graphs: their state and processes", ARG_ANY_GRAPH),
    _command(
        "batch",
        "Show or change how a node batches, from its next batch on",
        *(ARG_GRAPH, ARG_NODE, ARG_LIMIT, ARG_WAIT, ARG_LATENCY, ARG_DYNAMIC, ARG_STATIC),
        description="Change a node's batch limit, how long a batch waits to fill, or whether the "
        "limit moves by itself. What is not named stays as it is; with nothing named it is shown.",
    ),
    _command(
        "logs",
        "The last lines that a process of a graph has written",
        *(ARG_GRAPH, ARG_LOG_NODE, ARG_PROXY, ARG_BACKUP, ARG_LINES),
    ),
    _command("events", "What happened to the nodes, oldest first", ARG_ANY_GRAPH, ARG_MOST),
    _command(
        "send",
        "Send one request to a graph and print the reply",
        *(ARG_GRAPH, ARG_TEXT, ARG_VALUE, ARG_FILE, ARG_SEND_TIMEOUT),
    ),
    _command(
        "undeploy",
        "Take a graph down",
        *(ARG_GRAPH, ARG_NOW, ARG_DRAIN_TIMEOUT, ARG_FORCE, ARG_YES),
        description="Take no new requests (clients get 503 with Retry-After), answer those that "
        "the graph has accepted, and stop it. Where that takes too long, the graph serves again.",
    ),
    _command(
        "training",
        "Show the trainings of a graph's operators, or change the batch size of one that runs",
        *(ARG_DAG, ARG_OPERATOR, ARG_RUN, ARG_RUNS, ARG_EPOCHS),
        *(ARG_BATCH, ARG_FROM_EPOCH, ARG_ONLY, ARG_RESET, ARG_JSON),
        description="One line for each run, the newest first; with --epochs or --run one for each "
        "epoch. With --batch the batch size of the next epoch, and of those after it, is changed "
        "while it trains; the audit log records it.",
    ),
    _command(
        "graphs",
        "The graphs that have a DAG, and those that are deployed",
        description="One line for each graph, be it deployed or not: its DAG, its file, and what "
        "serves.",
    ),
)


def get_hogar_cli_commands() -> list[CLICommand]:
    """What the provider adds to the command ``airflow``."""
    return [GroupCommand(name="hogar", help="ML serving graphs on EARG", subcommands=COMMANDS)]
