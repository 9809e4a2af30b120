"""``earg ready``: ask one proxy, or a model, as a container's check does."""

from __future__ import annotations

import argparse
import os

from earg.cli.errors import CommandError
from earg.cli.printing import Commands, add_json, print_json


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "ready",
        help="ask a proxy whether it is ready",
        description="Ask a proxy whether it and all behind it are ready; exit code 0 where they "
        "are. It needs no agent: containers use it as their check.",
    )
    parser.add_argument(
        "address",
        nargs="?",
        help="host:port (default: LISTEN_IP and PROXY_PORT, or MODEL_PORT, of the environment)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--alive", action="store_true", help="that it answers is enough")
    kind.add_argument("--model", action="store_true", help="ask a model whether it answers")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds (default: 3)")
    add_json(parser, "what it answers")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Do it."""
    import asyncio

    from earg.config import MODEL_PORT, PROXY_PORT
    from earg.security import SecurityError

    name, usual = ("MODEL_PORT", MODEL_PORT) if options.model else ("PROXY_PORT", PROXY_PORT)
    port = os.environ.get(name, str(usual))
    address = options.address or f"{os.environ.get('LISTEN_IP', '127.0.0.1')}:{port}"
    try:
        status = asyncio.run(_ask(address, options.model, options.timeout))
    except (SecurityError, ValueError) as error:
        raise CommandError(str(error)) from None
    if options.json:
        print_json({"address": address, "status": status})
    elif status != "READY":
        print(f"{address} answers {status}")
    if status != "READY" and not options.alive:
        raise CommandError(f"{address} is not ready: {status}")


async def _ask(address: str, model: bool, timeout: float) -> str:
    import grpc
    import grpc.aio

    from earg.channel import open_channel
    from earg.protos import model_pb2, model_pb2_grpc, prediction_pb2, prediction_pb2_grpc
    from earg.status import PingStatus

    async with open_channel(address) as channel:
        try:
            if model:
                await model_pb2_grpc.PredictServiceStub(channel).Ping(
                    model_pb2.hi(msg="ready?"), timeout=timeout
                )
                return PingStatus.READY.name
            reply = await prediction_pb2_grpc.ProxyServerStub(channel).ping(
                prediction_pb2.ping_req(), timeout=timeout
            )
            return PingStatus(reply.status).name
        except grpc.aio.AioRpcError as error:
            raise CommandError(
                f"{address} does not answer: {error.code().name} {error.details() or ''}"
            ) from None
