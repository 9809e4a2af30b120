"""Server-side apply, as far as the objects here go: who owns which field, and what conflicts.

Lists whose elements have a key (containers, env, ports, volumes, ...) are merged by it, others are
replaced as a whole, as the API's schema says. Source: Kubernetes' server-side apply.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Path = tuple[Any, ...]

KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "ports": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "topologySpreadConstraints": "topologyKey",
}
"""The key of a list's elements, by the list's field."""

IDENTITY = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}


class ConflictError(Exception):
    """Fields that somebody else owns and that are to become something else."""

    def __init__(self, managers: dict[Path, str]) -> None:
        super().__init__(str(managers))
        self.managers = managers


@dataclass
class Applied:
    """An object with the owners of its fields."""

    fields: dict[Path, Any] = field(default_factory=dict)
    owners: dict[Path, set[str]] = field(default_factory=dict)

    def apply(self, manager: str, config: Object, force: bool) -> bool:
        """Whether it has changed; raises :class:`ConflictError`."""
        new = dict(leaves(config))
        conflicts = {
            path: next(iter(others))
            for path, value in new.items()
            if path not in IDENTITY
            and (others := self.owners.get(path, set()) - {manager})
            and self.fields.get(path) != value
        }
        if conflicts and not force:
            raise ConflictError(conflicts)
        before = dict(self.fields)
        for path in [path for path, owners in self.owners.items() if manager in owners]:
            if path not in new:
                self.owners[path].discard(manager)
                if not self.owners[path]:
                    del self.owners[path]
                    self.fields.pop(path, None)
        for path, value in new.items():
            self.fields[path] = value
            if path in conflicts:
                self.owners[path] = set()
            self.owners.setdefault(path, set()).add(manager)
        return before != self.fields

    def object(self) -> Object:
        """What it is."""
        whole: Object = {}
        for path, value in self.fields.items():
            _put(whole, path, value)
        return whole


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every field that holds no further ones; an element of a keyed list is named by its key."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list) and path and path[-1] in KEYS and _is_keyed(value, path[-1]):
        key = KEYS[path[-1]]
        for element in value:
            yield from leaves(element, (*path, (key, element[key])))
    else:
        yield path, value


def _is_keyed(value: list[Any], name: str) -> bool:
    return bool(value) and all(isinstance(one, dict) and KEYS[name] in one for one in value)


def _put(whole: Any, path: Path, value: Any) -> None:
    for at, step in enumerate(path):
        last = at == len(path) - 1
        if isinstance(step, tuple):
            key, own = step
            element = next((one for one in whole if one.get(key) == own), None)
            if element is None:
                element = {key: own}
                whole.append(element)
            whole = element
            if last:
                whole.update(value)
            continue
        if last:
            whole[step] = value
            continue
        whole = whole.setdefault(step, [] if isinstance(path[at + 1], tuple) else {})
