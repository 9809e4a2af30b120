"""``earg wire``: wire a graph whose processes a container platform has started."""

from __future__ import annotations

import argparse
from pathlib import Path

from earg.cli.errors import CommandError
from earg.cli.printing import Commands, add_json, print_json


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "wire",
        help="wire a graph whose processes run in containers",
        description="Give every proxy of a graph its model and the graph, tell everybody where "
        "the others are, and attach the backups. Nothing is started here, and no agent is asked: "
        "'udgl compile -t kubernetes' and '-t compose' write what starts the processes, and this.",
    )
    parser.add_argument("config", type=Path, help="a static EARG config")
    parser.add_argument("places", type=Path, help="YAML that says on which hosts the processes are")
    parser.add_argument("--extras", type=Path, help="what the config cannot say (docs/extras.md)")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="go on for ever: wire what comes back, and let backups take over",
    )
    parser.add_argument(
        "--serve",
        metavar="IP[:PORT]",
        help="with --watch: answer the agent's calls about the graph there (default port: 22225)",
    )
    parser.add_argument(
        "--url", default="", help="with --serve: where clients reach the frontend, for who asks"
    )
    parser.add_argument(
        "--timeout", type=float, default=300.0, help="seconds until all is ready (default: 300)"
    )
    add_json(parser, "that the graph is ready")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    import asyncio
    import logging

    from earg.config import ConfigError
    from earg.extras import ExtrasError
    from earg.plan import read_plan
    from earg.security import SecurityError, security
    from earg.wiring_places import PlacesError, read_places

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        security()
        extras = _text(options.extras) if options.extras is not None else ""
        plan = read_plan(_text(options.config), extras)
        places = read_places(_text(options.places), plan.config)
    except (ConfigError, ExtrasError, PlacesError, SecurityError) as error:
        raise CommandError(str(error)) from None
    if options.serve is not None:
        from earg.wiring_agent import serve

        if not options.watch:
            raise CommandError("--serve goes with --watch: who answers goes on for ever")
        ip, port = _address(options.serve)
        asyncio.run(serve(plan, places, ip, port, options.url))
        return

    async def work() -> None:
        from earg.process import run_until_stopped
        from earg.wiring import Wiring

        wiring = Wiring(plan, places)
        try:
            if options.watch:
                looking = asyncio.create_task(wiring.run())
                stopping = asyncio.create_task(run_until_stopped())
                await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                looking.cancel()
                if looking.done() and not looking.cancelled():
                    # It ends by an error alone.
                    looking.result()
                return
            async with asyncio.timeout(options.timeout):
                await wiring.run_until_ready()
        finally:
            await wiring.close()

    try:
        asyncio.run(work())
    except TimeoutError:
        raise CommandError(f"the graph is not ready after {options.timeout:g} s") from None
    if not options.watch and options.json:
        print_json({"graph": places.name, "ready": True})


def _address(text: str) -> tuple[str, int]:
    """The address and the port of ``IP[:PORT]``."""
    import ipaddress

    from earg.wiring_agent import WIRING_PORT

    ip, _, port = text.partition(":")
    try:
        found = str(ipaddress.IPv4Address(ip)), int(port or WIRING_PORT)
    except ValueError:
        found = "", 0
    if not 1 <= found[1] <= 65535:
        raise CommandError(f"--serve: {text[:100]!r} is no IPv4 address, or IPv4 address and port")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from None
