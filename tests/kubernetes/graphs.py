"""Graphs for the tests of the engine."""

from __future__ import annotations

import udgl
from earg.plan import Plan, read_plan
from udgl.targets.earg import lower

GRAPH = """\
meta
name hello
version 1
operator Greet
image team/greet:1
replicas 2
operator Count
image team/count:1
stateful Yes
batch 8
logical flow
distribute
Greet -> Count
"""


def plan_of(text: str = GRAPH) -> Plan:
    """A graph's plan."""
    made = lower(udgl.parse(text, "hello.udgl"))
    return read_plan(made.text, made.extras_text)
