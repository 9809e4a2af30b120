"""Whether choices let every request be computed once and answered once.

The *guard* of a node is the set of ways to choose under which a request reaches it. Guards are
kept as reduced ordered decision diagrams (Bryant, IEEE Trans. Computers 1986), with one branch an
alternative: two guards are equal exactly when they are the same diagram, and all alternatives of a
choice together collapse into what leads to the choice, so that a row of diamonds stays small.
Choices earlier in the graph stand nearer to a diagram's root: a guard is then about as large as
the part of the graph that leads to its node, however the choices cross.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from earg.config import StaticConfig

MAX_WORK = 2_000_000
"""Branches that may be looked at for one graph: about a second."""

_MAX_DEPTH = 200
_SHOWN_WAYS = 5

_DECIDE = "join them with reduce, or let one choice decide between them"
_MEET = "let the alternatives of each choice meet in one node before the next choice"


class GuardFault(enum.Enum):
    """What is wrong with a graph's choices."""

    WAITS = "waits"
    """A join would wait for a part that does not come."""

    COMPUTED_TWICE = "computed twice"
    """A merge would get a request along several of its inputs."""

    ANSWERED_TWICE = "answered twice"
    """A request would reach several sinks."""

    TOO_MANY = "too many"
    """The choices hang on one another in more ways than are looked at."""


class GuardError(ValueError):
    """A graph in which some way to choose leaves a request unanswered, or answers it twice.

    ``reason`` is a sentence and ``hint`` what to do. ``node`` is the 1-based index of the join, the
    merge or the second sink; ``source`` that of the node from which the request comes a second
    time. Both are 0 where there is none.
    """

    def __init__(
        self, fault: GuardFault, reason: str, hint: str, node: int = 0, source: int = 0
    ) -> None:
        super().__init__(f"{reason}; {hint}")
        self.fault = fault
        self.reason = reason
        self.hint = hint
        self.node = node
        self.source = source


def check_guards(config: StaticConfig, alternatives: Mapping[int, Sequence[int]]) -> None:
    """Raise :class:`GuardError` unless every request is computed and answered exactly once.

    ``config`` passes :func:`earg.config.check_static` with ``choices``; ``alternatives`` gives,
    for each node that chooses, the targets of its dist edges. Different nodes are taken to choose
    independently, and each alternative to be possible. Every way to choose then has to bring

    - to a join all of its sources or none, else it would wait for ever;
    - to a merge at most one of its sources, else it would compute the request twice;
    - to one sink only, else the request would be answered twice. (That it reaches a sink at all
      follows: a node that is reached always sends on.)
    """
    sources, joins, order = _inputs(config)
    diagram = _Diagram(alternatives, {index: at for at, index in enumerate(order)})
    names = [node.name for node in config.nodes]
    guards = {1: _ALWAYS}

    def say(guard: int) -> str:
        return _say(diagram.one_way(guard), names)

    for index in order:
        if index == 1:
            continue
        if index in joins:
            first, *others = sources[index]
            for other in others:
                for reached, missed in ((first, other), (other, first)):
                    lacking = diagram.combine(_How.WITHOUT, guards[reached], guards[missed])
                    if lacking != _NEVER:
                        raise GuardError(
                            GuardFault.WAITS,
                            f"the join {names[index - 1]} would wait for ever: {say(lacking)}a "
                            f"request reaches {names[reached - 1]} but not {names[missed - 1]}",
                            "let the alternatives meet in one node before the join",
                            index,
                        )
            guards[index] = guards[first]
            continue
        reaching = [
            (s, diagram.taken(s, index, guards[s]) if s in alternatives else guards[s])
            for s in sources[index]
        ]
        guard, twice = _exclusive(diagram, reaching)
        if twice is not None:
            one, other, way = twice
            raise GuardError(
                GuardFault.COMPUTED_TWICE,
                f"{names[index - 1]} would compute a request twice: {say(way)}it comes from "
                f"{names[one - 1]} and from {names[other - 1]}",
                _DECIDE,
                index,
                other,
            )
        guards[index] = guard
    _, twice = _exclusive(diagram, ((sink, guards[sink]) for sink in config.sinks()))
    if twice is not None:
        one, other, way = twice
        raise GuardError(
            GuardFault.ANSWERED_TWICE,
            f"a request would be answered twice: {say(way)}it reaches {names[one - 1]} and "
            f"{names[other - 1]}, and both answer",
            _DECIDE,
            other,
        )


def _inputs(config: StaticConfig) -> tuple[dict[int, list[int]], set[int], list[int]]:
    """The sources of each node, the nodes that join theirs, and a topological order."""
    sources: dict[int, list[int]] = {index: [] for index in range(1, len(config.nodes) + 1)}
    targets: dict[int, list[int]] = {index: [] for index in sources}
    for edge in (*config.dist, *config.reduce):
        for target in edge.targets:
            sources[target].extend(edge.sources)
            for source in edge.sources:
                targets[source].append(target)
    joins = {edge.targets[0] for edge in config.reduce}
    waiting = {index: len(found) for index, found in sources.items()}
    free = deque(index for index, count in waiting.items() if count == 0)
    order = []
    while free:
        index = free.popleft()
        order.append(index)
        for target in targets[index]:
            waiting[target] -= 1
            if waiting[target] == 0:
                free.append(target)
    return sources, joins, order


def _exclusive(
    diagram: _Diagram, reaching: Iterable[tuple[int, int]]
) -> tuple[int, tuple[int, int, int] | None]:
    """The union of guards, and two nodes with the guard that they share, if any do."""
    union = _NEVER
    before: list[tuple[int, int]] = []
    for node, guard in reaching:
        if diagram.combine(_How.BOTH, union, guard) != _NEVER:
            for other, earlier in before:
                shared = diagram.combine(_How.BOTH, earlier, guard)
                if shared != _NEVER:
                    return union, (other, node, shared)
        union = diagram.combine(_How.EITHER, union, guard)
        before.append((node, guard))
    return union, None


def _say(way: Sequence[tuple[int, int]], names: Sequence[str]) -> str:
    if not way:
        return ""
    said = [f"{names[source - 1]} chooses {names[target - 1]}" for source, target in way]
    more = len(said) - _SHOWN_WAYS
    return f"when {' and '.join(said[:_SHOWN_WAYS])}" + (
        f" and {more} more choices fall so, " if more > 0 else ", "
    )


_NEVER = 0
_ALWAYS = 1


class _How(enum.Enum):
    EITHER = 1
    BOTH = 2
    WITHOUT = 3


class _Diagram:
    """All guards of one graph: each a number, the same number for the same set of ways."""

    def __init__(
        self, alternatives: Mapping[int, Sequence[int]], position: Mapping[int, int]
    ) -> None:
        self._alternatives = alternatives
        self._position = position
        # Numbers 0 and 1 have no choice at their root.
        self._nodes: list[tuple[int, tuple[int, ...]]] = [(0, ()), (0, ())]
        self._numbers: dict[tuple[int, tuple[int, ...]], int] = {}
        self._combined: dict[tuple[_How, int, int], int] = {}
        self._work = 0

    def _node(self, source: int, branches: tuple[int, ...]) -> int:
        self._work += len(branches)
        if self._work > MAX_WORK:
            raise GuardError(
                GuardFault.TOO_MANY,
                "the choices of this graph hang on one another in too many ways to be checked",
                _MEET,
            )
        if branches.count(branches[0]) == len(branches):
            return branches[0]
        key = (source, branches)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._nodes)
            self._nodes.append(key)
        return number

    def taken(self, source: int, target: int, guard: int) -> int:
        """Where ``guard`` leads to ``source`` and that chooses ``target``."""
        branches = (_ALWAYS if t == target else _NEVER for t in self._alternatives[source])
        return self.combine(_How.BOTH, guard, self._node(source, tuple(branches)))

    def combine(self, how: _How, one: int, other: int, depth: int = 0) -> int:
        if one == _NEVER:
            return other if how is _How.EITHER else _NEVER
        if other == _NEVER:
            return _NEVER if how is _How.BOTH else one
        if other == _ALWAYS and how is not _How.EITHER:
            return _NEVER if how is _How.WITHOUT else one
        if _ALWAYS in (one, other) and how is _How.EITHER:
            return _ALWAYS
        if one == other:
            return _NEVER if how is _How.WITHOUT else one
        if one == _ALWAYS and how is _How.BOTH:
            return other
        key = (how, one, other)
        found = self._combined.get(key)
        if found is not None:
            return found
        if depth > _MAX_DEPTH:
            raise GuardError(
                GuardFault.TOO_MANY,
                f"more than {_MAX_DEPTH} choices of this graph hang on one another",
                _MEET,
            )
        (source, branches), (later, others) = self._nodes[one], self._nodes[other]
        if one == _ALWAYS or (other != _ALWAYS and self._position[later] < self._position[source]):
            source, branches = later, (one,) * len(others)
        elif source != later:
            others = (other,) * len(branches)
        result = self._node(
            source,
            tuple(
                self.combine(how, a, b, depth + 1) for a, b in zip(branches, others, strict=True)
            ),
        )
        self._combined[key] = result
        return result

    def one_way(self, guard: int) -> list[tuple[int, int]]:
        """One way to choose, as (choosing node, target), that lies in a guard that has any."""
        way = []
        while guard > _ALWAYS:
            source, branches = self._nodes[guard]
            at = next(i for i, branch in enumerate(branches) if branch != _NEVER)
            way.append((source, self._alternatives[source][at]))
            guard = branches[at]
        return way
