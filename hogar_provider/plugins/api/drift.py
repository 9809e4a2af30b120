"""Where what runs differs from what UDGL declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earg.config import NodeSpec, StaticConfig
    from earg.extras import Extras, NodeExtras
    from earg.statistics import NodeStatistics


def drift_of(
    declared: NodeSpec | None,
    version: str,
    image: str,
    stateful: bool,
    statistics: NodeStatistics | None,
    extras: tuple[NodeExtras, NodeExtras] | None = None,
) -> list[str]:
    """Phrases, each with what is declared and what runs; none where they are the same.

    ``declared`` is None for a node that runs and is not declared. ``extras`` are those declared
    and those that it was deployed with, None where either is not known.
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
    if extras is not None:
        found += _extras_drift(*extras, statistics)
    return found


def _extras_drift(
    declared: NodeExtras, deployed: NodeExtras, statistics: NodeStatistics | None
) -> list[str]:
    found = []
    if statistics is not None:
        # These change while the node runs.
        who = f"is set by {statistics.limit_set_by}"
        for what, wanted, runs in (
            ("wait", _time(declared.wait), _time(statistics.batch_wait)),
            ("latency", _time(declared.latency), _time(statistics.batch_objective or None)),
        ):
            if wanted != runs:
                found.append(f"{what} {wanted} is declared, {runs} {who}")
    for what, named, deployed_with in (
        ("timeout", _time(declared.timeout), _time(deployed.timeout)),
        ("retries", declared.retries, deployed.retries),
        ("replicas", declared.replicas, deployed.replicas),
        ("backup", declared.backup, deployed.backup),
        ("cpu", _amount("cpu", declared.cpu), _amount("cpu", deployed.cpu)),
        ("memory", _amount("memory", declared.memory), _amount("memory", deployed.memory)),
        ("gpu", declared.gpu, deployed.gpu),
        ("host", declared.host or "any", deployed.host or "any"),
    ):
        if named != deployed_with:
            found.append(f"{what} {named} is declared, {deployed_with} runs")
    if declared.env != deployed.env:
        names = sorted({name for name, _ in set(declared.env) ^ set(deployed.env)})
        found.append(f"env {', '.join(names)} is declared otherwise than it runs")
    return found


def more_words(extras: NodeExtras) -> str:
    """What extras say of one node, in UDGL's words: "wait 5ms, replicas 2"; empty for nothing."""
    times = (("wait", extras.wait), ("latency", extras.latency), ("timeout", extras.timeout))
    words = [f"{word} {_time(seconds)}" for word, seconds in times if seconds]
    if extras.retries:
        words.append(f"retries {extras.retries}")
    if extras.replicas > 1:
        words.append(f"replicas {extras.replicas}")
    if not extras.backup:
        words.append("backup 0")
    words += (
        f"{word} {_amount(word, value)}"
        for word, value in zip(("cpu", "memory", "gpu", "host"), extras.share, strict=True)
        if value
    )
    words += (f"env {name}" for name, _ in extras.env)
    return ", ".join(words)


def _time(seconds: float | None) -> str:
    from udgl.quantities import format_duration

    return "as usual" if seconds is None else format_duration(round(seconds, 6))


def _amount(word: str, value: Any) -> str:
    """A share of a machine as UDGL writes it."""
    from udgl.quantities import format_number, format_size

    if value is None:
        return "without limit"
    return {"cpu": format_number, "memory": format_size}.get(word, str)(value)


def choices_drift(
    declared: tuple[StaticConfig, Extras] | None, running: tuple[StaticConfig, Extras] | None
) -> list[str]:
    """A sentence for each node that is declared to choose otherwise than it does."""
    if declared is None or running is None:
        return []
    wanted, runs = _choices(*declared), _choices(*running)
    return [
        f"{name} is declared to choose otherwise than it does: deploy the graph again"
        for name in wanted
        if name in runs and wanted[name] != runs[name]
    ]


def _choices(config: StaticConfig, extras: Extras) -> dict[str, list[tuple[str, str]]]:
    """Node to its ways out, each with its condition or share."""
    from earg.choosing import Split

    names = [node.name for node in config.nodes]
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
    for choice in (*extras.switches, *extras.splits):
        ways = found[names[choice.source - 1]]
        if isinstance(choice, Split):
            ways += sorted((names[one.target - 1], f"{one.percent} %") for one in choice.shares)
        else:
            ways += ((names[case.target - 1], str(case.condition or "")) for case in choice.cases)
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
