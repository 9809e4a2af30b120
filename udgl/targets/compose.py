"""Graphs for Docker Compose: EARG's own processes as containers of one Docker host.

Each operator is a model's container and its proxy's, a stateful one has both twice, and further
replicas are models behind the same proxy. A frontend takes requests, and ``earg wire --watch``
gives everybody the graph. Source: the Compose file reference.
"""

from __future__ import annotations

from dataclasses import dataclass

from udgl.diagnostics import Severity
from udgl.graph import Operator, ServingGraph
from udgl.targets import Compilation, OutputFile
from udgl.targets._limits import Limit, in_order, limits
from udgl.targets._manifest import (
    MANAGER,
    Object,
    graph_annotations,
    label_name,
    labels,
    operator_annotations,
    place,
    to_yaml,
)
from udgl.targets._pairs import (
    CONFIG_FOLDER,
    HTTP_PORT,
    NODE_IMAGE,
    Codes,
    digest,
    digests_of_nodes,
    files,
    free_name,
    frontend_variables,
    in_wiring_order,
    lowered,
    model_variables,
    pairs_of,
    places,
    proxy_variables,
    wire_command,
)
from udgl.targets.earg import Lowered

DESCRIPTION = "a Docker Compose file that runs EARG's own processes as containers"

WRITES = "{name}-{version}.compose.yaml, with the EARG config and its extras beside it"

CODES: dict[str, str] = {
    "COMPOSE101": "EARG, which the containers run, cannot express the graph.",
    "COMPOSE102": "An operator has no image.",
    "COMPOSE201": "The containers train no models (a warning).",
    "COMPOSE202": "A Compose file has one Docker host (a warning).",
    "COMPOSE301": "What has no meaning in a Compose file (a note).",
}

_LIMITS = {
    "train": Limit(
        "COMPOSE201",
        Severity.WARNING,
        "is trained; the containers serve what its image holds already",
    ),
    "host": Limit(
        "COMPOSE202", Severity.WARNING, "has a host; a Compose file runs on one Docker host"
    ),
    "schedule": Limit("COMPOSE301", Severity.NOTE, "is that of the Airflow DAG"),
}

_TOKEN = "token"  # noqa: S105  the name of a secret


@dataclass(frozen=True, slots=True)
class _Pair:
    """The services of a pair."""

    proxy: str
    models: list[str]


def compile_graph(graph: ServingGraph) -> Compilation:
    """``{name}-{version}.compose.yaml`` and beside it the files that it mounts, whose names begin
    alike. They need one file with a token, which the Compose file's head tells how to make.

    Raises :class:`UdglError` where EARG cannot express ``graph``.
    """
    made = lowered(graph, Codes("COMPOSE101", "COMPOSE102"), "Compose")
    taken: set[str] = set()
    operators = in_wiring_order(graph, made)
    frontend, wiring = (free_name(name, taken) for name in ("frontend", "wiring"))
    pairs = {operator.name: _pairs(operator, taken) for operator in operators}
    nodes = {name: [(pair.proxy, pair.models) for pair in found] for name, found in pairs.items()}
    stem = f"{graph.name}-{graph.version}"
    told = files(made, places(graph, frontend, nodes))
    parts = [_head(graph), "services:\n"]
    for node_digest, operator in zip(digests_of_nodes(made), operators, strict=True):
        for pair in pairs[operator.name]:
            for name, service in _pair(graph, operator, pair, node_digest):
                parts.append(f"  # {place(graph, operator.span)} operator {operator.name}\n")
                parts.append(_indented(to_yaml({name: service})))
    entry = pairs[operators[0].name][0].proxy
    whole = place(graph, graph.span)
    for name, service in (
        (frontend, _frontend(graph, made, frontend, entry)),
        (wiring, _wiring(graph, made, wiring, stem, told)),
    ):
        parts.append(f"  # {whole} the {'frontend' if name == frontend else 'wiring'}\n")
        parts.append(_indented(to_yaml({name: service})))
    parts.append(
        to_yaml(
            {
                "networks": {"graph": {"labels": labels(graph)}},
                "secrets": {_TOKEN: {"file": "${HOGAR_TOKEN_FILE:-./token}"}},
            }
        )
    )
    beside = tuple(OutputFile(f"{stem}.{name}", text) for name, text in told.items())
    return Compilation(
        (OutputFile(f"{stem}.compose.yaml", "".join(parts)), *beside),
        in_order(limits(graph, _LIMITS)),
    )


def _head(graph: ServingGraph) -> str:
    project = label_name(graph.name)
    file = f"{graph.name}-{graph.version}.compose.yaml"
    return (
        "# Needs once, as the user with id 1000 (or set HOGAR_UID and HOGAR_GID to yours):\n"
        "#   (umask 077; openssl rand -hex 32 > token)\n"
        f"# Then: docker compose -p {project} -f {file} up -d\n"
    )


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" if line else "\n" for line in text.splitlines())


def _pairs(operator: Operator, taken: set[str]) -> list[_Pair]:
    found = []
    for pair in range(pairs_of(operator)):
        name = label_name(operator.name) + ("-backup" if pair else "")
        own = free_name(name, taken)
        proxy = free_name(f"{name}-proxy", taken)
        others = [
            free_name(f"{name}-{replica}", taken) for replica in range(2, operator.replicas + 1)
        ]
        found.append(_Pair(proxy, [own, *others]))
    return found


def _pair(
    graph: ServingGraph, operator: Operator, pair: _Pair, node_digest: str
) -> list[tuple[str, Object]]:
    own = labels(graph, operator) | operator_annotations(operator)
    found = []
    for name in pair.models:
        variables = {"MODEL_NAME": operator.name, "PROXY_NAME": pair.proxy}
        model = _service(name, operator.image, variables | model_variables(operator), own)
        found.append((name, model | _amounts(operator)))
    variables = {"PROXY_NAME": pair.proxy} | proxy_variables(operator)
    # It takes a graph once: with another one it has to start anew.
    digested = own | {f"{MANAGER}/graph-digest": node_digest}
    proxy = _service(pair.proxy, NODE_IMAGE, variables, digested)
    proxy |= {
        "command": ["python", "-m", "earg.proxy"],
        "healthcheck": _check(["CMD", "earg", "ready"]),
    }
    found.append((pair.proxy, proxy | _OF_OURS))
    return found


def _frontend(graph: ServingGraph, made: Lowered, name: str, entry: str) -> Object:
    variables = frontend_variables(graph, made, entry)
    url = f"http://{name}:{HTTP_PORT}/v2/health/ready"
    ask = f"import urllib.request as u; u.urlopen('{url}', timeout=5)"
    own = labels(graph) | graph_annotations(graph)
    return (
        _service(name, NODE_IMAGE, variables, own)
        | {
            "command": ["python", "-m", "earg.frontend"],
            "ports": [f"${{HOGAR_HTTP:-127.0.0.1:{HTTP_PORT}}}:{HTTP_PORT}"],
            "healthcheck": _check(["CMD", "python", "-c", ask]),
        }
        | _OF_OURS
    )


def _wiring(
    graph: ServingGraph, made: Lowered, name: str, stem: str, told: dict[str, str]
) -> Object:
    own = labels(graph) | {f"{MANAGER}/graph-digest": digest(repr(told))}
    return (
        _service(name, NODE_IMAGE, {}, own)
        | {
            "command": wire_command(made),
            # That of the image is a model's.
            "healthcheck": {"disable": True},
            "volumes": [f"./{stem}.{file}:{CONFIG_FOLDER}/{file}:ro" for file in told],
        }
        | _OF_OURS
    )


def _service(name: str, image: str, variables: dict[str, str], own: dict[str, str]) -> Object:
    """What all services have. A container listens on the address that its own name has; the
    token keeps out who is not of the graph."""
    fixed = {"LISTEN_IP": name, "EARG_TOKEN_FILE": f"/run/secrets/{_TOKEN}"}
    return {
        "image": image,
        "hostname": name,
        "restart": "unless-stopped",
        # The token has to be its reader's own file.
        "user": "${HOGAR_UID:-1000}:${HOGAR_GID:-1000}",
        "environment": {key: _escaped(value) for key, value in variables.items()} | fixed,
        "secrets": [_TOKEN],
        "networks": ["graph"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "labels": {key: _escaped(value) for key, value in own.items()},
    }


def _escaped(value: str) -> str:
    """Compose puts its own variables in where a ``$`` stands."""
    return value.replace("$", "$$")


def _check(test: list[str]) -> Object:
    return {
        "test": test,
        "interval": "30s",
        "timeout": "10s",
        "retries": 3,
        "start_period": "60s",
    }


_OF_OURS: Object = {
    "read_only": True,
    "tmpfs": ["/tmp"],  # noqa: S108  a folder of the container's own
    "mem_limit": "1g",
}


def _amounts(operator: Operator) -> Object:
    found: Object = {}
    if operator.cpu is not None:
        found["cpus"] = float(operator.cpu)
    if operator.memory is not None:
        found["mem_limit"] = f"{operator.memory}b"
    if operator.gpu:
        device = {"driver": "nvidia", "count": operator.gpu, "capabilities": ["gpu"]}
        found["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return found
