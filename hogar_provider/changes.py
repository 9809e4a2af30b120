"""What a deploy has changed of a node: from what the agent told before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.config import StaticConfig
    from earg.status import NodeStatus

LONGEST_DIFFERENCE = 4000
"""Characters of a difference: every task that deploys a node of the graph returns it."""


def look(agent: AgentClient, graph: str, index: int) -> dict[str, Any]:
    """The node as it is before a deploy, as JSON, for :func:`change`; ``node`` is None where it is
    not deployed."""
    node = next(
        (
            node
            for one in agent.graphs()
            if one.name == graph
            for node in one.nodes
            if node.index == index
        ),
        None,
    )
    events = agent.events(graph)
    return {
        "event": events[-1].number if events else 0,
        "node": None if node is None else _as_json(node),
    }


def difference_from_deployed(
    agent: AgentClient, graph: str, version: str, config: StaticConfig, extras: str = ""
) -> str | None:
    """What ``udgl diff`` prints of the deployed graph and the one of ``config`` and the text of its
    ``extras``, shortened where it is very long; None where none is deployed, empty where they are
    the same."""
    from hogar_provider.redeploy import config_difference

    # One that was never wired is what a run before this one has left half way.
    wired = any(one.name == graph and one.url for one in agent.graphs())
    found = config_difference(agent, graph, version, config, extras) if wired else None
    if found is None:
        return None
    text = str(found) if found else ""
    return text if len(text) <= LONGEST_DIFFERENCE else f"{text[:LONGEST_DIFFERENCE]}\n..."


def change(agent: AgentClient, graph: str, before: dict[str, Any], after: NodeStatus) -> str:
    """One phrase: "unchanged", "replaced because version 1 -> 2", "batch set live: ..."."""
    old, new = before["node"], _as_json(after)
    if old is None:
        return f"started as version {after.version}"
    differing = [f"{key} {old[key]} -> {new[key]}" for key in ("version", "image")]
    reasons = [
        text
        for key, text in zip(("version", "image"), differing, strict=True)
        if old[key] != new[key]
    ]
    phrases = []
    if old["runs"] != new["runs"]:
        if reasons:
            phrases.append(f"replaced because {', '.join(reasons)}")
        elif not old["serves"]:
            phrases.append(f"started again because it was {old['state']}")
        else:
            phrases.append(
                "replaced because that was asked for, or its class, its environment or one of its "
                "extras has changed"
            )
    elif reasons:
        phrases.append(", ".join(reasons))
    phrases += [
        f"batch set live: {event.what}"
        for event in agent.events(graph, before["event"])
        # A change of state repeats as its cause what happened last.
        if event.node == after.name and not event.after and event.what.startswith("has batch ")
    ]
    return "; ".join(phrases) or "unchanged"


def widest(differences: list[str | None]) -> str | None:
    """The difference of the whole run: the tasks deploy nodes at once, so one that began late has
    seen less of it than the first."""
    known = [one for one in differences if one is not None]
    return max(known, key=len) if known and len(known) == len(differences) else None


def _as_json(node: NodeStatus) -> dict[str, Any]:
    from earg.status import SERVING

    primary = node.pairs[0] if node.pairs else None
    return {
        "version": node.version,
        "image": node.image,
        "state": node.state.value,
        "serves": node.state in SERVING,
        # Of the primary: a backup that is replaced changes nothing that is served. Of containers
        # no pids are known.
        "runs": [primary.host, primary.address, *primary.model_pids, primary.proxy_pid]
        if primary is not None
        else [],
    }


def summary(changes: dict[str, str]) -> list[str]:
    """Lines for a log: what has changed first, the rest in one line."""
    lines = [f"{node}: {text}" for node, text in changes.items() if text != "unchanged"]
    same = [node for node, text in changes.items() if text == "unchanged"]
    if same:
        lines.append(f"unchanged: {', '.join(same)}")
    return lines
