"""The same five-node graph on Ray Serve, run by ``serving.py`` in an environment with Ray.

Arguments: HTTP port. Prints ``ready`` when it serves; ends with its standard input.
"""

from __future__ import annotations

import sys

import ray
from ray import serve
from starlette.requests import Request

OPTIONS = {"max_ongoing_requests": 1000, "ray_actor_options": {"num_cpus": 0}}


@serve.deployment(**OPTIONS)
class Node:
    """One operator: calls those behind it, as a Ray graph does."""

    def __init__(self, *targets: object) -> None:
        self._targets = targets

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0)
    async def _echo(self, texts: list[str]) -> list[str]:
        return texts

    async def __call__(self, text: str) -> str:
        return await self._echo(text)


@serve.deployment(**OPTIONS)
class Graph:
    """The entry: c1 -> c2 -> (c3, c4) -> c5."""

    def __init__(self, *nodes: object) -> None:
        self._nodes = nodes

    async def __call__(self, request: Request) -> str:
        c1, c2, c3, c4, c5 = self._nodes
        text = (await request.body()).decode()
        second = c2.remote(await c1.remote(text))
        third, fourth = c3.remote(second), c4.remote(second)
        return await c5.remote(f"{await third}+{await fourth}")


def main() -> None:
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        num_cpus=2,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    nodes = [Node.options(name=f"c{n}").bind() for n in range(1, 6)]
    serve.run(Graph.bind(*nodes), route_prefix="/predict")
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
