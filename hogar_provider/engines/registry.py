"""The engines that there are, by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hogar_provider.engines.connection import EngineConnection
    from hogar_provider.engines.engine import Engine

LOCAL = "local"

ENGINES = {
    LOCAL: "hogar_provider.engines.local",
    "docker": "hogar_provider.engines.docker",
    "kubernetes": "hogar_provider.engines.kubernetes",
}
"""Each name with the module whose ``open_engine`` makes the engine of a connection."""


def open_engine(said: EngineConnection) -> Engine:
    """The engine of a connection; raises AirflowException where there is none of that name, or the
    connection makes no sense for it."""
    module = ENGINES.get(said.engine)
    if module is None:
        names = ", ".join(f"'{name}'" for name in ENGINES)
        raise said.wrong("'engine'", f"one of {names}", said.engine)
    engine: Engine = import_module(module).open_engine(said)
    return engine
