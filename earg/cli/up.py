"""``earg up``: deploy a graph, or replace what has changed of one that serves."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from earg.cli.errors import CommandError
from earg.cli.printing import Commands, add_json, print_json, say
from earg.config import MAX_TEXT, ConfigError, StaticConfig, read_static, write_static
from earg.extras import ExtrasError, read_extras, write_extras
from earg.images import Implementation, implementation_of, read_images

if TYPE_CHECKING:
    from earg.client import AgentClient


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "up",
        help="deploy, wire and probe a graph",
        description="Deploy, wire and probe a graph. Of one that serves already, only the nodes "
        "that have changed are replaced, and no request fails; one that has other nodes or edges "
        "now is drained and taken down first.",
    )
    parser.add_argument("config", type=Path, help="a static EARG config, such as NAME-VERSION.earg")
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        action="append",
        metavar="FILE",
        help="YAML that maps each image to its entrypoint, package.module:Class; may be given "
        "several times, and of two files that map an image the first one counts",
    )
    parser.add_argument(
        "--models",
        type=Path,
        metavar="FOLDER",
        help="where the entrypoints' modules are (default: beside the images file)",
    )
    parser.add_argument(
        "--extras",
        type=Path,
        help="YAML that says what the config cannot: switch, split, replicas, wait, latency, "
        "timeout, retries, backup, env (docs/extras.md)",
    )
    parser.add_argument(
        "--name", help="the graph's name (default: the file's, up to the first '-')"
    )
    parser.add_argument(
        "--graph-version", help="the graph's version (default: the file's, after the first '-')"
    )
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="seconds a node may take (default: 120)"
    )
    add_json(parser, "the graph, as 'earg nodes' shows it")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    from earg.client import connect

    path: Path = options.config
    name, version = _graph_name(path, options.name, options.graph_version)
    extras = _read_text(options.extras) if options.extras is not None else ""
    config = _read_config(path, has_extras=bool(extras))
    try:
        extras = write_extras(read_extras(extras, config), config)
    except ExtrasError as error:
        raise CommandError(f"{options.extras}: {error}") from None
    implementations = _implementations(config, options.images, options.models)
    with connect(options.home) as client:
        _deploy(client, name, version, config, extras, implementations, options.timeout)
        say(f"wiring {name}")
        client.wire(name)
        for index, node in enumerate(config.nodes, 1):
            client.probe(name, index, timeout=options.timeout)
            say(f"{node.name} is ready")
        graph = client.serve(name)
    if options.json:
        print_json(graph)
    else:
        print(f"{name} serves at {graph.url}/predict")


def _implementations(
    config: StaticConfig, paths: Sequence[Path], models: Path | None
) -> list[Implementation]:
    """How each node runs, by the images files, of which earlier ones go before later ones."""
    images: dict[str, Implementation] = {}
    for path in reversed(paths):
        images |= read_images(path)
    found = [implementation_of(node.image, images, paths[-1]) for node in config.nodes]
    if models is None:
        return found
    if not models.is_dir():
        raise CommandError(f"{models}: there is no such folder")
    return [replace(one, folder=str(models.resolve())) for one in found]


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


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TEXT + 1).decode()
    except UnicodeDecodeError:
        raise CommandError(f"{path}: is not UTF-8 text") from None
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror}") from None


def _read_config(path: Path, has_extras: bool) -> StaticConfig:
    try:
        return read_static(_read_text(path), choices=has_extras)
    except ConfigError as error:
        raise CommandError(f"{path}:{error.line}:{error.column}: {error.message}") from None


def _deploy(
    client: AgentClient,
    name: str,
    version: str,
    config: StaticConfig,
    extras: str,
    implementations: Sequence[Implementation],
    timeout: float,
) -> None:
    text = write_static(config, choices=bool(extras))

    def deploy(index: int) -> None:
        node = config.nodes[index - 1]
        say(f"deploying {node.name}{' and its backup' if node.stateful else ''}")
        client.deploy_node(
            *(name, version, text, index, implementations[index - 1]),
            extras=extras,
            timeout=timeout,
        )

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(deploy, index) for index in range(1, len(config.nodes) + 1)]:
            done.result()
