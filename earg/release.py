"""Which release of EARG this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTIONS = ("airflow-provider-hogar", "hogar-node")
"""What may have brought ``earg``: the whole, or in containers the part that runs there."""


def own_version() -> str:
    """The version of the distribution that ``earg`` came with; ``unknown`` where it came alone."""
    for name in DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"
