"""The file that tells Prometheus what to scrape (its file_sd_configs): every deployed proxy of ours
and every frontend of this agent, with the graph, the node and the role as labels.

A pair stays in it while its node is deployed, also while its processes are down: only so can
``up`` tell that they are.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class MetricsTarget:
    """One process to scrape, at ``address`` ("ip:port"). ``role`` is "primary", "backup" or
    "frontend"; a frontend has no ``node``. ``host`` is which of the engine's hosts it is on, empty
    where there is one alone."""

    address: str
    graph: str
    node: str
    role: str
    host: str = ""


def targets_text(targets: Iterable[MetricsTarget]) -> str:
    """The file's text: a JSON list of Prometheus's target groups, one target each."""
    groups = []
    for target in targets:
        labels = {"graph": target.graph, "role": target.role}
        if target.node:
            labels["node"] = target.node
        if target.host:
            labels["host"] = target.host
        groups.append({"targets": [target.address], "labels": labels})
    return json.dumps(groups, indent=1) + "\n"


class TargetsFile:
    """The file at ``path``, replaced at once or not at all. A file that cannot be written stops
    nothing: ``report`` gets a sentence, once until it can be written again."""

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self._path = path
        self._report = report
        self._written: str | None = None
        self._reported = False

    def write(self, targets: Iterable[MetricsTarget]) -> None:
        """Write them, unless the file holds them already."""
        text = targets_text(targets)
        if text == self._written:
            return
        # Prometheus reads files that end in .json, so this one is none of its.
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            if not self._reported:
                self._report(
                    f"{self._path} cannot be written ({error.strerror}): Prometheus does not learn "
                    "what starts and ends; make room or let the agent write there"
                )
            self._reported = True
            return
        self._written = text
        self._reported = False
