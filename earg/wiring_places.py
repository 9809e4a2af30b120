"""Where the processes of a graph are that nobody but a container platform starts: by host name.

The text is YAML (or JSON)::

    name: sentiment
    version: "1"
    frontend: sentiment-frontend
    nodes:
      Tokenize:
      - proxy: sentiment-tokenize
        models: [sentiment-tokenize]
      Count:
      - proxy: sentiment-count-0.sentiment-count
        models: [sentiment-count-0.sentiment-count]
      - proxy: sentiment-count-1.sentiment-count
        models: [sentiment-count-1.sentiment-count]

A node has one pair, or a stateful one two, of which the first one begins as the primary. A proxy's
PROXY_NAME is the first label of its host (or the address, where the host is one). A model whose
host is that of its proxy is reached at the proxy's address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from earg.config import StaticConfig
from earg.extras import MAX_REPLICAS
from earg.plain_yaml import PlainYamlError, load_plain

_HOST = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,251}[A-Za-z0-9])?\Z", re.ASCII)
_NAME = re.compile(r"[^-,\s]{1,200}\Z")


class PlacesError(ValueError):
    """A text that says no places, or not those of the graph."""


@dataclass(frozen=True, slots=True)
class PairPlace:
    """The host of a proxy, and of the models behind it; the first one is the pair's own."""

    proxy: str
    models: tuple[str, ...]

    @property
    def proxy_name(self) -> str:
        """What the proxy has as PROXY_NAME."""
        is_address = self.proxy.replace(".", "").isdigit()
        return self.proxy if is_address else self.proxy.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Places:
    """``nodes`` are in the order of the graph's config: for each its pairs, the primary first."""

    name: str
    version: str
    frontend: str
    nodes: tuple[tuple[PairPlace, ...], ...]


def read_places(text: str, config: StaticConfig) -> Places:
    """Read where a graph is; raises :class:`PlacesError`."""
    try:
        loaded = load_plain(text)
    except PlainYamlError as error:
        raise PlacesError(str(error)) from None
    parts = _mapping("the places", loaded, ("name", "version", "frontend", "nodes"))
    given = _mapping("nodes", parts["nodes"], tuple(node.name for node in config.nodes))
    nodes = []
    for node in config.nodes:
        pairs = given[node.name]
        most = 2 if node.stateful else 1
        if not isinstance(pairs, list) or not 1 <= len(pairs) <= most:
            raise PlacesError(f"{node.name}: expected a list of 1 to {most} pairs")
        nodes.append(tuple(_pair(node.name, pair) for pair in pairs))
    names = [pair.proxy_name for pairs in nodes for pair in pairs]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(names) < 10_000 else []
    if twice:
        raise PlacesError(f"several proxies are called {twice[0]}")
    for what in ("name", "version"):
        if not isinstance(parts[what], str) or not _NAME.match(parts[what]):
            raise PlacesError(f"{what}: expected text without '-', commas and spaces")
    return Places(
        parts["name"], parts["version"], _host("frontend", parts["frontend"]), tuple(nodes)
    )


def _pair(node: str, value: Any) -> PairPlace:
    pair = _mapping(node, value, ("proxy", "models"))
    models = pair["models"]
    if not isinstance(models, list) or not 1 <= len(models) <= MAX_REPLICAS:
        raise PlacesError(f"{node}: models: expected a list of 1 to {MAX_REPLICAS} hosts")
    return PairPlace(
        _host(f"{node}: proxy", pair["proxy"]),
        tuple(_host(f"{node}: models", model) for model in models),
    )


def _host(place: str, value: Any) -> str:
    if not isinstance(value, str) or not _HOST.match(value):
        raise PlacesError(f"{place}: expected a host's name, found {str(value)[:80]!r}")
    return value


def _mapping(place: str, value: Any, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PlacesError(f"{place}: expected a mapping of {', '.join(keys)}")
    missing = [key for key in keys if key not in value]
    strange = [str(key)[:80] for key in value if key not in keys]
    if missing or strange:
        found = f"{missing[0]!r} is missing" if missing else f"{strange[0]!r} is unknown"
        raise PlacesError(f"{place}: {found}")
    return value
