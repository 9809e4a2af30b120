"""Which Python class stands in for an image on a machine without containers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BYTES = 1024 * 1024
"""Largest images file that is read."""

_ENTRYPOINT = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\Z")


class ImagesError(ValueError):
    """An images file that cannot be used, or an image that it does not map."""


@dataclass(frozen=True, slots=True)
class Implementation:
    """A model's class: ``entrypoint`` is ``package.module:Class``, imported with ``folder`` first
    on the module path; ``environment`` is set for its process.

    So many ``replicas`` of it run behind one proxy. ``extras`` is what else the graph's extras say
    of the node that holds from its start on: another text is another node.
    """

    entrypoint: str
    folder: str
    environment: tuple[tuple[str, str], ...] = ()
    replicas: int = 1
    extras: str = ""


def read_images(path: Path) -> dict[str, Implementation]:
    """The mapping of an images file; raises :class:`ImagesError`.

    The file is YAML: image reference -> ``{entrypoint: package.module:Class, env: {NAME: value}}``.
    """
    import yaml

    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ImagesError(f"{path}: cannot be read: {error.strerror}") from None
    if len(text) > MAX_BYTES:
        raise ImagesError(f"{path}: is larger than {MAX_BYTES} bytes")
    try:
        # A few lines of aliases can stand for more values than memory holds.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ImagesError(f"{path}: YAML aliases (*name) are not taken; write the value out")
        loaded = yaml.safe_load(text)
    except ImagesError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ImagesError(f"{path}: is not YAML: {error}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ImagesError(f"{path}: must map image references to entrypoints")
    folder = str(path.resolve().parent)
    return {str(image): _read_entry(path, folder, image, entry) for image, entry in loaded.items()}


def _read_entry(path: Path, folder: str, image: object, entry: Any) -> Implementation:
    where = f"{path}: image {str(image)!r}"
    if not isinstance(entry, Mapping):
        raise ImagesError(f"{where}: expected 'entrypoint: package.module:Class' below it")
    unknown = set(entry) - {"entrypoint", "env"}
    if unknown:
        names = ", ".join(sorted(map(str, unknown)))
        raise ImagesError(f"{where}: unknown key {names}; known are entrypoint and env")
    entrypoint = entry.get("entrypoint")
    if not isinstance(entrypoint, str) or not _ENTRYPOINT.match(entrypoint):
        raise ImagesError(f"{where}: entrypoint {entrypoint!r} is not of the form module:Class")
    env = entry.get("env") or {}
    if not isinstance(env, Mapping):
        raise ImagesError(f"{where}: env must map names to values")
    for name, value in env.items():
        if isinstance(value, (Mapping, list, set, tuple)):
            raise ImagesError(f"{where}: env {name} must be one value, not several")
    pairs = tuple((str(name), str(value)) for name, value in env.items())
    return Implementation(entrypoint, folder, pairs)


def implementation_of(
    image: str, images: Mapping[str, Implementation], path: Path
) -> Implementation:
    """The implementation of ``image``; raises :class:`ImagesError` that says what to add where."""
    try:
        return images[image]
    except KeyError:
        raise ImagesError(
            f"{path} maps no entrypoint for image {image!r}, and this machine runs no containers; "
            f"add:\n{image}:\n  entrypoint: package.module:Class"
        ) from None
