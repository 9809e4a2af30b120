"""Where what runs differs from what UDGL declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earg.config import NodeSpec, StaticConfig
    from earg.statistics import NodeStatistics


def drift_of(
    declared: NodeSpec | None,
    version: str,
    image: str,
    stateful: bool,
    statistics: NodeStatistics | None,
) -> list[str]:
    """Phrases, each with what is declared and what runs; none where they are the same.

    ``declared`` is None for a node that runs and is not declared.
    """
    if declared is None:
        return ["is not declared any more"]
    found = []
    for what, wanted, runs in (
        ("version", declared.version, version),
        ("image", declared.image, image),
        ("stateful", _yes(declared.stateful), _yes(stateful)),
    ):
        if wanted != runs:
            found.append(f"{what} {wanted} is declared, {runs} runs")
    if statistics is not None:
        wanted, runs = batch_of_config(declared.batch), _batch(statistics)
        if wanted != runs:
            found.append(f"batch {wanted} is declared, {runs} is set by {statistics.limit_set_by}")
    return found


def topology_drift(declared: StaticConfig | None, running: StaticConfig | None) -> list[str]:
    """Sentences about operators that are declared and do not run, and about other flows."""
    if declared is None or running is None:
        return []
    wanted, runs = ([node.name for node in one.nodes] for one in (declared, running))
    missing = [name for name in wanted if name not in set(runs)]
    sentences = []
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        sentences.append(f"declared and not deployed: {', '.join(missing[:8])}{more}")
    if not missing and set(wanted) == set(runs) and _edges(declared) != _edges(running):
        sentences.append("the declared flows are not those that run: deploy the graph again")
    return sentences


def batch_of_config(batch: int) -> str:
    """A config's batch in words that compare: "32", "1", "dynamic up to 64"."""
    return f"dynamic up to {-batch}" if batch < 0 else str(max(1, batch))


def _batch(statistics: NodeStatistics) -> str:
    if statistics.batch_dynamic:
        return f"dynamic up to {statistics.batch_most or statistics.batch_limit}"
    return str(statistics.batch_limit)


def _edges(config: StaticConfig) -> set[tuple[str, str]]:
    return {
        (config.nodes[source - 1].name, config.nodes[target - 1].name)
        for edge in (*config.dist, *config.reduce)
        for source in edge.sources
        for target in edge.targets
    }


def _yes(value: bool) -> str:
    return "Yes" if value else "No"
