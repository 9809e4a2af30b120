"""What the targets that run EARG's own processes in containers have in common.

Each operator is a model (its image) with a proxy beside it, each stateful one two such pairs; a
frontend takes requests; ``earg wire --watch`` gives them the graph. All but the models are of the
image ``hogar/node``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from udgl.diagnostics import Diagnostic, Severity, UdglError, quote
from udgl.graph import Operator, ServingGraph
from udgl.targets._limits import in_order
from udgl.targets.earg import Lowered, deployed_name, lower

NODE_IMAGE = "hogar/node:1"
"""The image of proxies, frontends and the wiring; ``docker/Dockerfile`` makes it."""

MODEL_PORT, PROXY_PORT, METRICS_PORT, WIRING_PORT, HTTP_PORT = 22222, 22223, 22224, 22225, 8500

CONFIG, EXTRAS, PLACES = "graph.earg", "extras.json", "places.yaml"
"""The files that ``earg wire`` reads, and where: in :data:`CONFIG_FOLDER`."""

CONFIG_FOLDER = "/etc/earg"

_DIGEST = 16
"""Characters of a digest, which are read by nobody."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A target's codes for what all of these targets say."""

    impossible: str
    no_image: str


def lowered(graph: ServingGraph, codes: Codes, platform: str) -> Lowered:
    """The graph in EARG's terms; raises :class:`UdglError` where EARG cannot express it, or an
    operator has no image."""
    found = [
        Diagnostic(
            codes.no_image,
            f"operator {quote(operator.name)} has no image; {platform} runs containers",
            operator.span,
            "add 'image'; one for a Python class is three lines, see docs/targets.md",
        )
        for operator in graph.operators
        if not operator.image
    ]
    try:
        made = lower(graph)
    except UdglError as error:
        # What it says of images is said above.
        found += [
            replace(one, code=codes.impossible)
            for one in error.diagnostics
            if one.severity is Severity.ERROR and one.code != "EARG108"
        ]
        if not found:
            raise
    if found:
        raise UdglError(graph.source, in_order(found))
    return made


def in_wiring_order(graph: ServingGraph, made: Lowered) -> list[Operator]:
    """The operators in the order of EARG's config: the entry first."""
    by_name = {operator.name: operator for operator in graph.operators}
    return [by_name[node.name] for node in made.config.nodes]


def pairs_of(operator: Operator) -> int:
    """How many pairs run for it: a stateful one has a backup unless it says otherwise."""
    return 2 if operator.stateful and operator.backup != 0 else 1


def model_variables(operator: Operator) -> dict[str, str]:
    """What a model finds in its environment, beside its address and its proxy's name."""
    own = {
        "MODEL_VERSION": operator.version,
        "MODEL_PORT": str(MODEL_PORT),
        "PROXY_PORT": str(PROXY_PORT),
    }
    if operator.entrypoint:
        own["EARG_ENTRYPOINT"] = operator.entrypoint
    return dict(operator.env) | own


def proxy_variables(operator: Operator) -> dict[str, str]:
    """What a proxy finds in its environment, beside its address and its name."""
    own = {"PROXY_PORT": str(PROXY_PORT), "METRICS_PORT": str(METRICS_PORT)}
    # A platform restarts a model alone, with an empty state; an agent never does.
    return own | ({"FENCED": "true"} if operator.stateful else {})


def frontend_variables(graph: ServingGraph, made: Lowered, entry: str) -> dict[str, str]:
    """What the frontend finds in its environment, beside its address."""
    name, version = deployed_name(graph)
    return {
        "PROXY_PORT": str(PROXY_PORT),
        "HTTP_PORT": str(HTTP_PORT),
        "ENTRY_PROXY_NAME": entry,
        "ENTRY_PROXY_PORT": str(PROXY_PORT),
        "GRAPH_NAME": name,
        "GRAPH_VERSION": version,
        "NODE_NAMES": ",".join(["", *(node.name for node in made.config.nodes)][1:]),
    }


def wire_command(made: Lowered) -> list[str]:
    """The command of the wiring."""
    command = ["earg", "wire", f"{CONFIG_FOLDER}/{CONFIG}", f"{CONFIG_FOLDER}/{PLACES}"]
    if made.extras_text:
        command += ["--extras", f"{CONFIG_FOLDER}/{EXTRAS}"]
    return [*command, "--watch"]


def places(
    graph: ServingGraph,
    frontend: str,
    nodes: Mapping[str, list[tuple[str, list[str]]]],
) -> str:
    """The text that tells ``earg wire`` the hosts: for each operator its pairs, each with the
    proxy's host and those of its models."""
    from udgl.targets._manifest import to_yaml

    name, version = deployed_name(graph)
    return to_yaml(
        {
            "name": name,
            "version": version,
            "frontend": frontend,
            "nodes": {
                operator: [{"proxy": proxy, "models": models} for proxy, models in pairs]
                for operator, pairs in nodes.items()
            },
        }
    )


def files(made: Lowered, places_text: str) -> dict[str, str]:
    """The files of the wiring by their names."""
    found = {CONFIG: made.text}
    if made.extras_text:
        found[EXTRAS] = made.extras_text
    return found | {PLACES: places_text}


def digests_of_nodes(made: Lowered) -> tuple[str, ...]:
    """A digest for each node of EARG's config, in its order. It changes where the proxies of the
    node need another graph: they take one once."""
    config, extras = made.config, made.extras
    topology = (tuple((node.name, node.stateful) for node in config.nodes), config.dist)
    choices = (extras.switches, extras.splits) if extras is not None else ()
    # What all of them share is as long as the graph: it goes into a digest once.
    shared = hashlib.sha256(f"({topology!r}, {config.reduce!r}, {choices!r}, ".encode())
    found = []
    for index, node in enumerate(config.nodes, 1):
        own = (node.batch, extras.of(index) if extras is not None else None)
        one = shared.copy()
        one.update(f"{own!r})".encode())
        found.append(one.hexdigest()[:_DIGEST])
    return tuple(found)


def digest(text: str) -> str:
    """A short digest, for annotations."""
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]


def free_name(name: str, taken: set[str]) -> str:
    """``name``, or with as many ``-x`` as make it nobody else's; it is taken then."""
    while name in taken:
        name += "-x"
    taken.add(name)
    return name
