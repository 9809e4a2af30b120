"""What a deployed graph needs beside its EARG config: *extras*.

EARG's config cannot say how a node chooses among its targets, nor how many replicas it has, how
long a batch waits, which latency it aims at, what its models find in their environment and which
share of a machine they get. That stands in a second text. In the EARG config the
targets of a choosing node are ordinary dist edges; by the extras each request takes one of them.

This module imports the standard library alone, and PyYAML when a person's file is read.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, TypeVar

from earg.choosing import Case, Choice, ChoiceError, Share, Split, Switch
from earg.condition import ConditionError, parse_condition
from earg.config import ConfigError, StaticConfig, check_static
from earg.guards import GuardError, check_guards
from earg.plain_yaml import PlainYamlError, load_plain

MAX_TEXT = 8 * 1024 * 1024
"""Most characters of an extras text that are read."""

MAX_REPLICAS = 64
"""Most replicas of one node."""

MAX_WAIT = 60.0
"""Longest time in seconds that a batch may wait to fill."""

MAX_SECONDS = 86_400.0
"""Longest latency objective and timeout, in seconds."""

MAX_RETRIES = 100
"""Most times that a batch that failed is computed again."""

MAX_CPU = 1024.0
"""Most CPU cores of one model."""

MAX_MEMORY = 2**50
"""Most bytes of memory of one model."""

MAX_GPUS = 1024
"""Most GPUs of one model."""

MAX_LABEL = 253
"""Most characters of a host's label."""

OWN_VARIABLES = (
    *("MODEL_NAME", "MODEL_VERSION", "MODEL_PORT", "PROXY_NAME", "PROXY_PORT", "LISTEN_IP"),
    *("EARG_ENTRYPOINT", "EARG_FOLDER"),
)
"""Environment variables that the runtime itself sets for a model."""


class ExtrasError(ValueError):
    """Extras that cannot be used; the message names the place."""


@dataclass(frozen=True, slots=True)
class NodeExtras:
    """What one node needs beside its line of the EARG config.

    Raises :class:`ExtrasError` for a value out of bounds.
    """

    replicas: int = 1
    """Models behind the node's proxy that share its requests, 1 to 64."""

    wait: float = 0.0
    """Seconds that a batch may wait to fill, 0 to 60."""

    latency: float | None = None
    """Seconds: the objective by which a dynamic batch limit is steered; above 0, at most a day."""

    timeout: float | None = None
    """Seconds that a model may take for one batch; above 0, at most a day."""

    retries: int = 0
    """How often what failed of a batch is computed again, 0 to 100."""

    backup: int = 1
    """Backups of a stateful node, 0 or 1."""

    env: tuple[tuple[str, str], ...] = ()
    """Environment variables of the models, (name, value), sorted by name."""

    cpu: float | None = None
    """CPU cores of one model; above 0, at most 1024."""

    memory: int | None = None
    """Bytes of memory of one model, 1 to 1 PiB."""

    gpu: int = 0
    """GPUs of one model, 0 to 1024."""

    host: str | None = None
    """Label of the hosts that the node's pairs may be placed on, at most 253 characters."""

    def __post_init__(self) -> None:
        if type(self.replicas) is not int or not 1 <= self.replicas <= MAX_REPLICAS:
            raise ExtrasError(
                f"replicas: expected a whole number from 1 to {MAX_REPLICAS}, "
                f"found {_shown(self.replicas)}"
            )
        if type(self.retries) is not int or not 0 <= self.retries <= MAX_RETRIES:
            raise ExtrasError(
                f"retries: expected a whole number from 0 to {MAX_RETRIES}, "
                f"found {_shown(self.retries)}"
            )
        if type(self.backup) is not int or self.backup not in (0, 1):
            raise ExtrasError(f"backup: expected 0 or 1, found {_shown(self.backup)}")
        object.__setattr__(self, "env", _environment(self.env))
        object.__setattr__(self, "wait", _seconds("wait", self.wait, MAX_WAIT, zero=True))
        for name in ("latency", "timeout"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _seconds(name, value, MAX_SECONDS))
        if self.cpu is not None:
            object.__setattr__(self, "cpu", _cores(self.cpu))
        if self.memory is not None and (
            type(self.memory) is not int or not 1 <= self.memory <= MAX_MEMORY
        ):
            raise ExtrasError(
                f"memory: expected an amount from 1 B to {MAX_MEMORY >> 40} TiB, "
                f"found {_shown(self.memory)}"
            )
        if type(self.gpu) is not int or not 0 <= self.gpu <= MAX_GPUS:
            raise ExtrasError(
                f"gpu: expected a whole number from 0 to {MAX_GPUS}, found {_shown(self.gpu)}"
            )
        if self.host is not None and not (
            isinstance(self.host, str) and len(self.host) <= MAX_LABEL and _LABEL.match(self.host)
        ):
            raise ExtrasError(
                f"host: expected a label such as gpu-box or zone=a, found {_shown(self.host)}; it "
                f"has letters, digits, '_', '.', '/', '=' and '-', at most {MAX_LABEL} of them, "
                "and starts with a letter or digit"
            )

    @property
    def share(self) -> tuple[float | None, int | None, int, str | None]:
        """Which part of which machine it asks for: (cpu, memory, gpu, host). An engine that runs
        containers grants it when it starts them; the engine on this machine does not."""
        return self.cpu, self.memory, self.gpu, self.host


_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./=-]*\Z")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}\Z")


def _environment(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    for name, value in pairs:
        if not isinstance(name, str) or not _VARIABLE.match(name):
            raise ExtrasError(
                f"env: {_shown(name)} is no name of a variable: letters, digits, '_', '-' and '.', "
                "no digit first"
            )
        if name in OWN_VARIABLES:
            raise ExtrasError(f"env: {name} is set by the runtime itself; take another name")
        if not isinstance(value, str):
            raise ExtrasError(
                f"env, {name}: expected text, found {_shown(value)}; write the value in quotes"
            )
        if "\0" in value:
            raise ExtrasError(f"env, {name}: no environment variable holds a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ExtrasError(f"env, {name}: the value holds half of a surrogate pair") from None
    if len(dict(pairs)) < len(pairs):
        raise ExtrasError("env: a variable comes twice")
    return tuple(sorted(pairs))


def _seconds(name: str, value: Any, most: float, *, zero: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ExtrasError(f"{name}: expected a number of seconds, found {_shown(value)}")
    if not 0 <= value <= most or (value == 0 and not zero):
        least = "from 0 s" if zero else "above 0 s"
        raise ExtrasError(f"{name}: expected a time {least} to {most:g} s, found {_shown(value)}")
    return float(value)


def _cores(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ExtrasError(f"cpu: expected a number of cores, found {_shown(value)}")
    if not 0 < value <= MAX_CPU:
        raise ExtrasError(
            f"cpu: expected cores above 0 to {MAX_CPU:g}, such as 0.5, found {_shown(value)}"
        )
    return float(value)


_PLAIN = NodeExtras()


@dataclass(frozen=True, slots=True)
class Extras:
    """The extras of one graph; node indexes are those of its EARG config, from 1.

    ``nodes`` pairs an index with what that node needs. All three are kept sorted by node, and
    nodes that need nothing are left out. Raises :class:`ExtrasError` for a node that comes twice.
    """

    nodes: tuple[tuple[int, NodeExtras], ...] = ()
    switches: tuple[Switch, ...] = ()
    splits: tuple[Split, ...] = ()

    def __post_init__(self) -> None:
        nodes = sorted(self.nodes, key=lambda pair: pair[0])
        switches = sorted(self.switches, key=lambda switch: switch.source)
        splits = sorted(self.splits, key=lambda split: split.source)
        _refuse_twice("extras", [index for index, _ in nodes])
        sources = [switch.source for switch in switches] + [split.source for split in splits]
        _refuse_twice("switch or split", sources)
        object.__setattr__(self, "nodes", tuple(pair for pair in nodes if pair[1] != _PLAIN))
        object.__setattr__(self, "switches", tuple(switches))
        object.__setattr__(self, "splits", tuple(splits))

    def __bool__(self) -> bool:
        """Whether they say anything."""
        return bool(self.nodes or self.switches or self.splits)

    def of(self, index: int) -> NodeExtras:
        """What node ``index`` needs; the defaults where nothing is said."""
        at = bisect_left(self.nodes, index, key=lambda pair: pair[0])
        if at < len(self.nodes) and self.nodes[at][0] == index:
            return self.nodes[at][1]
        return _PLAIN

    def choice_of(self, index: int) -> Choice | None:
        """How node ``index`` chooses among its targets; None where it sends to all of them."""
        choices: Sequence[Choice]
        for choices in (self.switches, self.splits):
            at = bisect_left(choices, index, key=lambda choice: choice.source)
            if at < len(choices) and choices[at].source == index:
                return choices[at]
        return None


def _refuse_twice(what: str, indexes: list[int]) -> None:
    seen: set[int] = set()
    for index in indexes:
        if index in seen:
            raise ExtrasError(f"node {index} has more than one {what}")
        seen.add(index)


def check_extras(config: StaticConfig, extras: Extras) -> None:
    """Raise :class:`ExtrasError` unless extras fit a graph and it answers each request once.

    With choices a node may merge: have several dist inputs, of which a request comes along one.
    And a graph may have several sinks, of which a request reaches one. What has to hold is said
    by :func:`earg.guards.check_guards`. Raises :class:`earg.config.ConfigError` for a config that
    is wrong whatever the extras.
    """
    check_static(config, choices=True)
    count = len(config.nodes)
    for index, node in extras.nodes:
        _check_index(index, count, "extras")
        if node.replicas > 1 and config.nodes[index - 1].stateful:
            raise ExtrasError(
                f"nodes, {config.nodes[index - 1].name}: replicas: a stateful operator has one "
                f"state, so it cannot have {node.replicas} replicas"
            )
        if node.retries and config.nodes[index - 1].stateful:
            raise ExtrasError(
                f"nodes, {config.nodes[index - 1].name}: retries: a batch that failed may have "
                "changed the state of a stateful operator, so it is not computed again"
            )
    dist: dict[int, list[int]] = {}
    for edge in config.dist:
        dist.setdefault(edge.sources[0], []).extend(edge.targets)
    choices: tuple[Choice, ...] = (*extras.switches, *extras.splits)
    for choice in choices:
        _check_index(choice.source, count, "a choice")
        for target in choice.targets:
            _check_index(target, count, "a choice")
        _check_targets(config, choice, dist.get(choice.source, []))
    try:
        check_guards(config, {choice.source: dist[choice.source] for choice in choices})
    except GuardError as error:
        raise ExtrasError(str(error)) from error


def _check_index(index: int, count: int, what: str) -> None:
    if not 1 <= index <= count:
        raise ExtrasError(f"{what} names node {index}, but there are {count} nodes")


def _check_targets(config: StaticConfig, choice: Choice, flows: Sequence[int]) -> None:
    def name(index: int) -> str:
        return config.nodes[index - 1].name

    place = f"{_kind(choice)} of {name(choice.source)}"
    if not flows:
        raise ExtrasError(f"{place}: it distributes to nothing, so there is nothing to choose from")
    strange = sorted(choice.targets - set(flows))
    if strange:
        raise ExtrasError(
            f"{place}: {name(choice.source)} does not distribute to {name(strange[0])}; "
            f"it does to {_listed(map(name, flows))}"
        )
    left = [target for target in flows if target not in choice.targets]
    if left:
        raise ExtrasError(
            f"{place}: no {'case' if isinstance(choice, Switch) else 'share'} leads to "
            f"{name(left[0])}, so no request would ever reach it"
        )


def _kind(choice: Choice) -> str:
    return "switch" if isinstance(choice, Switch) else "split"


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - 8
    return ", ".join(listed[:8]) + (f" and {more} more" if more > 0 else "")


def _shown(value: Any) -> str:
    if isinstance(value, (Mapping, list)):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# --- the text -----------------------------------------------------------------------------------


def write_extras(extras: Extras, config: StaticConfig) -> str:
    """The canonical text: JSON in one line, sorted; :func:`read_extras` reads it back equal.

    No extras are the empty text. Raises as :func:`check_extras`.
    """
    check_extras(config, extras)
    if not extras:
        return ""
    names = [node.name for node in config.nodes]
    _refuse_one_name(names, extras)
    said: dict[str, dict[str, Any]] = {}
    for index, node in extras.nodes:
        values = {
            field.name: getattr(node, field.name)
            for field in fields(node)
            if getattr(node, field.name) != field.default
        }
        if node.env:
            values["env"] = dict(node.env)
        said.setdefault("nodes", {})[names[index - 1]] = values
    for switch in extras.switches:
        said.setdefault("switch", {})[names[switch.source - 1]] = [
            {"to": names[case.target - 1]}
            | ({} if case.condition is None else {"when": str(case.condition)})
            for case in switch.cases
        ]
    for split in extras.splits:
        said.setdefault("split", {})[names[split.source - 1]] = {
            names[share.target - 1]: share.percent for share in split.shares
        }
    text = json.dumps(said, ensure_ascii=False, allow_nan=False, sort_keys=True) + "\n"
    if len(text) > MAX_TEXT:
        raise ExtrasError(f"the extras are longer than {MAX_TEXT} characters")
    return text


def _refuse_one_name(names: Sequence[str], extras: Extras) -> None:
    index_of = _Names(names)
    for index, _ in extras.nodes:
        index_of("nodes", names[index - 1])
    choices: tuple[Choice, ...] = (*extras.switches, *extras.splits)
    for choice in choices:
        for index in (choice.source, *choice.targets):
            index_of(_kind(choice), names[index - 1])


def read_extras(text: str, config: StaticConfig) -> Extras:
    """Read extras for a graph: YAML as a person writes it, or the canonical text.

    Raises :class:`ExtrasError`, with the place, for what cannot be read and as
    :func:`check_extras`. ``docs/extras.md`` describes the text.
    """
    if len(text) > MAX_TEXT:
        raise ExtrasError(f"the extras are longer than {MAX_TEXT} characters")
    try:
        loaded = load_plain(text)
    except PlainYamlError as error:
        raise ExtrasError(str(error)) from None
    parts = _mapping("extras", loaded)
    _check_keys("extras", parts, ("nodes", "switch", "split"))
    index_of = _Names([node.name for node in config.nodes])
    nodes = [
        (index_of("nodes", name), _read_node(f"nodes, {name}", value))
        for name, value in _mapping("nodes", parts.get("nodes")).items()
    ]
    switches = [
        _read_switch(f"switch of {name}", index_of("switch", name), value, index_of)
        for name, value in _mapping("switch", parts.get("switch")).items()
    ]
    splits = [
        _read_split(f"split of {name}", index_of("split", name), value, index_of)
        for name, value in _mapping("split", parts.get("split")).items()
    ]
    both = {switch.source for switch in switches} & {split.source for split in splits}
    if both:
        name = config.nodes[min(both) - 1].name
        raise ExtrasError(f"switch of {name}: {name} has a split as well; a node has one of them")
    extras = Extras(tuple(nodes), tuple(switches), tuple(splits))
    try:
        check_extras(config, extras)
    except ConfigError as error:
        raise ExtrasError(f"the EARG config does not fit: {error}") from None
    return extras


class _Names:
    """Finds a node by its operator's name."""

    def __init__(self, names: Sequence[str]) -> None:
        self._indexes: dict[str, int] = {}
        self._twice: set[str] = set()
        for index, name in enumerate(names, 1):
            if self._indexes.setdefault(name, index) != index:
                self._twice.add(name)

    def __call__(self, place: str, name: Any) -> int:
        """The index; raises :class:`ExtrasError` that begins with ``place``."""
        if not isinstance(name, str):
            raise ExtrasError(
                f"{place}: expected the name of an operator, found {_shown(name)}; "
                "a name that is a number or true, false or null stands in quotes"
            )
        if name in self._twice:
            raise ExtrasError(f"{place}: the graph has several operators called {name!r}")
        if name not in self._indexes:
            hint = _did_you_mean(name, list(self._indexes))
            raise ExtrasError(f"{place}: the graph has no operator called {_shown(name)}{hint}")
        return self._indexes[name]


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    if len(word) > 64 or len(known) > 1000:
        return ""
    from difflib import get_close_matches

    lower = {name.lower(): name for name in known if len(name) <= 64}
    close = get_close_matches(word.lower(), list(lower), n=1, cutoff=0.6)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""


def _mapping(place: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ExtrasError(f"{place}: expected a mapping, found {_shown(value)}")
    return value


def _check_keys(place: str, value: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in value:
        if key not in known:
            raise ExtrasError(
                f"{place}: unknown key {_shown(key)}{_did_you_mean(key, known)}"
                f" (known: {', '.join(known)})"
            )


def _read_node(place: str, value: Any) -> NodeExtras:
    node = _mapping(place, value)
    _check_keys(place, node, [field.name for field in fields(NodeExtras)])
    read: dict[str, Any] = {}
    for key, given in node.items():
        if key == "env":
            read[key] = tuple(_mapping(f"{place}: env", given).items())
        elif key == "memory":
            read[key] = amount(f"{place}: {key}", given)
        elif key in ("wait", "latency", "timeout"):
            read[key] = duration(f"{place}: {key}", given)
        else:
            read[key] = given
    return _placed(place, lambda: NodeExtras(**read))


_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,12})?) ?(ms|s|m|h)\Z")
_UNITS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}


def duration(place: str, value: Any) -> float:
    """Seconds; a number is seconds, text has a unit. Raises :class:`ExtrasError` that begins with
    ``place``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf:
        return value
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ExtrasError(
            f"{place}: expected a time such as 5ms, 1.5s, 2m or a number of seconds, "
            f"found {_shown(value)}"
        )
    return float(Decimal(match[1]) * _UNITS[match[2]])


_AMOUNT = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,12})?) ?(?:([kKMGT]i?)B?|B)\Z")
_PREFIXES = {"": 1} | {
    f"{letter}{binary}": base ** (power + 1)
    for power, letter in enumerate("KMGT")
    for binary, base in (("", 1000), ("i", 1024))
}


def amount(place: str, value: Any) -> int:
    """Bytes; a whole number is bytes, text has a unit. Raises :class:`ExtrasError` that begins with
    ``place``."""
    if type(value) is int:
        return value
    match = _AMOUNT.match(value) if isinstance(value, str) else None
    size = None if match is None else Decimal(match[1]) * _PREFIXES[(match[2] or "").capitalize()]
    if size is None or size != size.to_integral_value():
        raise ExtrasError(
            f"{place}: expected an amount such as 512MiB, 2GB or a whole number of bytes, "
            f"found {_shown(value)}"
        )
    return int(size)


def _read_switch(place: str, source: int, value: Any, index_of: _Names) -> Switch:
    if not isinstance(value, list):
        raise ExtrasError(
            f"{place}: expected a list of cases such as {{to: NAME, when: 'label == \"x\"'}}, "
            f"found {_shown(value)}"
        )
    cases = []
    for number, given in enumerate(value, 1):
        here = f"{place}, case {number}"
        case = _mapping(here, given)
        _check_keys(here, case, ("to", "when"))
        if "to" not in case:
            raise ExtrasError(f"{here}: 'to' is missing: the operator that the case leads to")
        condition = None
        if "when" in case:
            when = case["when"]
            if not isinstance(when, str):
                raise ExtrasError(
                    f"{here}: 'when' is a condition such as 'label == \"x\"', found "
                    f"{_shown(when)}; a case that takes all others has no 'when'"
                )
            try:
                condition = parse_condition(when)
            except ConditionError as error:
                raise ExtrasError(f"{here}: when: {error}") from None
        cases.append(Case(index_of(here, case["to"]), condition))
    return _placed(place, lambda: Switch(source, tuple(cases)))


def _read_split(place: str, source: int, value: Any, index_of: _Names) -> Split:
    shares = tuple(
        Share(index_of(place, name), percent) for name, percent in _mapping(place, value).items()
    )
    return _placed(place, lambda: Split(source, shares))


_T = TypeVar("_T")


def _placed(place: str, make: Callable[[], _T]) -> _T:
    try:
        return make()
    except (ChoiceError, ExtrasError) as error:
        raise ExtrasError(f"{place}: {error}") from None
