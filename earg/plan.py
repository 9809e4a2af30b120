"""A graph as it is to be deployed: its EARG config, and what it says beyond it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from earg.config import StaticConfig, read_static
from earg.extras import Extras, read_extras, write_extras
from earg.images import Implementation


@dataclass(frozen=True, slots=True)
class Plan:
    """``text`` is the static config, ``extras_text`` the canonical text of the extras."""

    text: str
    extras_text: str
    config: StaticConfig
    extras: Extras

    def implementation(self, index: int, implementation: Implementation) -> Implementation:
        """How node ``index`` runs: ``implementation`` with all of its extras that hold from its
        start on. How long its batches wait, and their objective, can change while it runs; its
        share of a machine is for a platform to grant (:mod:`earg.platform`). Of two values of an
        environment variable the one of the extras, which are the graph's own, wins."""
        own, choice = self.extras.of(index), self.extras.choice_of(index)
        parts = []
        if own.timeout is not None:
            parts.append(f"timeout {own.timeout:g} s")
        if own.retries:
            parts.append(f"retries {own.retries}")
        if self.without_backup(index):
            parts.append("backup 0")
        if choice is not None:
            parts.append(repr(choice))
        environment = implementation.environment
        if own.env:
            environment = tuple((dict(environment) | dict(own.env)).items())
        return replace(
            implementation,
            environment=environment,
            replicas=own.replicas,
            extras="; ".join(parts),
        )

    def without_backup(self, index: int) -> bool:
        """Whether node ``index`` is stateful and is to have no backup."""
        return self.config.nodes[index - 1].stateful and not self.extras.of(index).backup


def read_plan(text: str, extras_text: str = "") -> Plan:
    """The plan of two texts; raises :class:`earg.config.ConfigError` and
    :class:`earg.extras.ExtrasError`."""
    config = read_static(text, choices=bool(extras_text))
    extras = read_extras(extras_text, config)
    if not extras:
        # Without any, EARG's own rules hold.
        config = read_static(text)
    return Plan(text, write_extras(extras, config), config, extras)
