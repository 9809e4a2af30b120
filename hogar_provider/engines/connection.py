"""What a connection of type ``earg`` says of its engine, whichever that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hogar_provider.exceptions import AirflowException

COMMON = ("engine", "home", "start")
"""Keys of the extra that every engine has."""


@dataclass(frozen=True, slots=True)
class EngineConnection:
    """``engine`` is its name, ``home`` the agent's folder, None where the runtime chooses,
    ``start`` whether an agent may be started where none runs, and ``token`` what requests to the
    graphs show. ``extra`` is all that the connection's extra says, and ``find`` reads another
    connection, such as that of a Docker host.
    """

    conn_id: str
    engine: str
    home: Path | None = None
    start: bool = True
    token: str = field(default="", repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    find: Callable[[str], Any] | None = field(default=None, repr=False, compare=False)

    def wrong(self, what: str, wanted: str, found: object) -> AirflowException:
        """The error for a part of the extra that makes no sense."""
        return AirflowException(
            f"Connection {self.conn_id!r}: {what} must be {wanted}, not {found!r}."
        )


def read_connection(
    connection: Any, conn_id: str, engine: str, find: Callable[[str], Any]
) -> EngineConnection:
    """What an Airflow connection says; raises AirflowException where its extra makes no sense.
    ``engine`` is what it means where it names none."""
    extra = connection.extra_dejson
    bare = EngineConnection(conn_id, engine)
    if not isinstance(extra, dict):
        raise bare.wrong("the extra", "a JSON object", extra)
    engine = extra.get("engine") or engine
    if not isinstance(engine, str):
        raise bare.wrong("'engine'", "a name", engine)
    home = extra.get("home") or None
    if home is not None and (
        not isinstance(home, str) or not Path(home).expanduser().is_absolute()
    ):
        raise bare.wrong("'home'", "an absolute path", home)
    start = {"true": True, "false": False}.get(str(extra.get("start", True)).lower())
    if start is None:
        raise bare.wrong("'start'", "true or false", extra["start"])
    return EngineConnection(
        conn_id,
        engine,
        None if home is None else Path(home).expanduser(),
        start,
        # Airflow has masked the password when it fetched the connection.
        connection.password or "",
        extra,
        find,
    )
