"""Which of its targets a node sends a request to: ``switch`` by the reply, ``split`` by weight."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field
from typing import Any

from earg.condition import Condition, holds

MAX_CASES = 256
"""Most cases of one switch."""

SHOWN_REPLY = 200
"""Most characters of a reply that an error shows."""

_SHOWN_CONDITIONS = 5
_SHOWN_CONDITION = 100


class ChoiceError(ValueError):
    """A switch or a split that cannot be followed."""


class NoCaseError(ValueError):
    """A reply for which no case of a switch holds. It fails that request alone."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way out of a switch: the 1-based index of a node, and when it is taken.

    Without a condition it is taken otherwise: when no case before it holds.
    """

    target: int
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """Node ``source`` sends each request to the target of the first case that holds.

    Several cases may name one target. Raises :class:`ChoiceError` for a case that could never be
    taken.
    """

    source: int
    cases: tuple[Case, ...]
    targets: frozenset[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.cases) <= MAX_CASES:
            raise ChoiceError(
                f"a switch has from 1 to {MAX_CASES} cases, this one has {len(self.cases)}"
            )
        seen: dict[Condition, int] = {}
        for number, case in enumerate(self.cases, 1):
            if case.condition is None:
                if number < len(self.cases):
                    raise ChoiceError(
                        f"case {number} has no condition, so no later case is ever reached; only "
                        "the last case may have none"
                    )
            elif case.condition in seen:
                raise ChoiceError(
                    f"case {number} has the condition of case {seen[case.condition]}, "
                    "so it is never reached"
                )
            else:
                seen[case.condition] = number
        object.__setattr__(self, "targets", frozenset(case.target for case in self.cases))


@dataclass(frozen=True, slots=True)
class Share:
    """One way out of a split: the 1-based index of a node, and its percentage (1 to 100)."""

    target: int
    percent: int


@dataclass(frozen=True, slots=True)
class Split:
    """Node ``source`` sends each request to one target, by weight; the shares sum to 100.

    Kept in the order of the targets. Raises :class:`ChoiceError`.
    """

    source: int
    shares: tuple[Share, ...]
    targets: frozenset[int] = field(init=False, repr=False, compare=False)
    _ways: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shares = tuple(sorted(self.shares, key=lambda share: share.target))
        for share in shares:
            if type(share.percent) is not int or not 1 <= share.percent <= 100:
                raise ChoiceError(
                    f"a share is a whole number of percent from 1 to 100, not {share.percent!r}"
                )
        total = sum(share.percent for share in shares)
        if total != 100:
            raise ChoiceError(f"the shares have to sum to 100 percent, these sum to {total}")
        object.__setattr__(self, "shares", shares)
        object.__setattr__(self, "targets", frozenset(share.target for share in shares))
        if len(self.targets) != len(shares):
            raise ChoiceError("a split names each target once")
        # One entry a percent: a choice is then one look.
        ways = [share.target for share in shares for _ in range(share.percent)]
        object.__setattr__(self, "_ways", tuple(ways))

    def target_of(self, request_id: int) -> int:
        """The target of a request (a 32-bit id): always the same one for the same id."""
        return self._ways[_scatter(self.source << 32 | request_id & 0xFFFF_FFFF) * 100 >> 64]


Choice = Switch | Split
"""How a node chooses among the targets of its dist edges."""


def choose(
    choice: Choice | None, targets: tuple[int, ...], request_id: int, reply: Any
) -> tuple[int, ...]:
    """The nodes that one computed request goes to: those of ``targets`` that its node chooses.

    Without a choice that is all of them. A target that the choice does not name, which is a join
    that also wants this node's reply, gets every request. ``reply`` is the node's reply as a
    Python value; a split does not look at it. Raises :class:`NoCaseError`.
    """
    if choice is None:
        return targets
    if isinstance(choice, Split):
        return _with_joins(choice, choice.target_of(request_id), targets)
    for case in choice.cases:
        if case.condition is None or holds(case.condition, reply):
            return _with_joins(choice, case.target, targets)
    raise NoCaseError(_no_case(choice, reply))


def choose_for_failure(
    choice: Choice | None, targets: tuple[int, ...], request_id: int
) -> tuple[int, ...]:
    """The nodes that a request goes to whose reply could not be computed, or that has no case.

    It still has to reach exactly one sink, so it takes one way: its share of a split, the last
    case of a switch. The same request always takes the same way.
    """
    if isinstance(choice, Switch):
        return _with_joins(choice, choice.cases[-1].target, targets)
    return choose(choice, targets, request_id, None)


def _with_joins(choice: Choice, chosen: int, targets: tuple[int, ...]) -> tuple[int, ...]:
    if len(targets) == len(choice.targets):
        return (chosen,)
    return tuple([t for t in targets if t == chosen or t not in choice.targets])


_MASK = 0xFFFF_FFFF_FFFF_FFFF


def _scatter(number: int) -> int:
    """64 well mixed bits of a 64-bit number: one step of SplitMix64 (Steele et al., OOPSLA 2014).

    Request ids are consecutive, and two splits in a row must not agree: the source is in it.
    """
    mixed = (number + 1) * 0x9E37_79B9_7F4A_7C15 & _MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58_476D_1CE4_E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D0_49BB_1331_11EB & _MASK
    return mixed ^ mixed >> 31


def _no_case(switch: Switch, reply: Any) -> str:
    conditions = [_cut(str(case.condition), _SHOWN_CONDITION) for case in switch.cases]
    more = len(conditions) - _SHOWN_CONDITIONS
    said = "; ".join(conditions[:_SHOWN_CONDITIONS]) + (f"; and {more} more" if more > 0 else "")
    return (
        f"no case of the switch of node {switch.source} holds ({said}) for the reply "
        f"{_cut(_SHOWER.repr(reply), SHOWN_REPLY)}; a last case without a condition would take it"
    )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


# repr() of a whole reply may be as large as a message.
_SHOWER = reprlib.Repr()
_SHOWER.maxstring = _SHOWER.maxother = SHOWN_REPLY
_SHOWER.maxdict = _SHOWER.maxlist = _SHOWER.maxtuple = 8
