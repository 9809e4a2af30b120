"""The hook for connections of type ``earg``: an agent that runs graphs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from hogar_provider.configuration import default_conn_id
from hogar_provider.exceptions import AirflowException, AirflowNotFoundException

if TYPE_CHECKING:
    from earg.client import AgentClient

LOCAL = "local"
"""The engine on this machine; also a connection's name that needs no definition."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What a connection says. ``home`` is the agent's folder, None where the runtime chooses;
    ``start`` whether an agent may be started where none runs; ``token`` what requests to the
    graphs show, empty where they need none."""

    home: Path | None = None
    start: bool = True
    token: str = field(default="", repr=False)


class EargHook(BaseHook):
    """A client of the agent that the connection names.

    The connections ``earg_default`` and ``local`` need not be defined: they mean the agent on this
    machine then, which starts by itself on first use. A connection's extra may hold ``engine``
    (``local``), ``home`` (the agent's folder; default: ``$EARG_HOME``, else the user's state
    folder) and ``start`` (whether an agent is started where none runs; default: yes), and its
    password the token that the graphs' frontends ask for.

    :param earg_conn_id: the Airflow connection; None or empty: that of ``[hogar]
        default_conn_id``.
    """

    conn_name_attr = "earg_conn_id"
    default_conn_name = "earg_default"
    conn_type = "earg"
    hook_name = "EARG"

    def __init__(self, earg_conn_id: str | None = default_conn_name) -> None:
        super().__init__()
        self.earg_conn_id = earg_conn_id or default_conn_id()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The connection form before Airflow 3.2; later ones read the provider's info."""
        behaviour = _form()["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """The form's own fields before Airflow 3.2; later ones read the provider's info."""
        from wtforms import BooleanField, StringField

        return {
            name: (BooleanField if field["schema"]["type"] == "boolean" else StringField)(
                field["label"],
                description=field["description"],
                default=field["schema"].get("default"),
            )
            for name, field in _form()["conn-fields"].items()
        }

    def engine(self) -> Engine:
        """What the connection says, read anew at every call.

        Raises AirflowNotFoundException for a connection that is not defined, other than those
        that need not be, and AirflowException for one whose extra makes no sense.
        """
        try:
            connection = self.get_connection(self.earg_conn_id)
        except AirflowNotFoundException:
            if self.earg_conn_id in (self.default_conn_name, LOCAL):
                return Engine()
            raise
        extra = connection.extra_dejson
        if not isinstance(extra, dict):
            raise self._wrong("the extra", "a JSON object", extra)
        if (engine := extra.get("engine") or LOCAL) != LOCAL:
            raise self._wrong("'engine'", f"'{LOCAL}'", engine)
        home = extra.get("home") or None
        if home is not None and (
            not isinstance(home, str) or not Path(home).expanduser().is_absolute()
        ):
            raise self._wrong("'home'", "an absolute path", home)
        start = {"true": True, "false": False}.get(str(extra.get("start", True)).lower())
        if start is None:
            raise self._wrong("'start'", "true or false", extra["start"])
        # Airflow has masked the password when it fetched the connection.
        token = connection.password or ""
        return Engine(None if home is None else Path(home).expanduser(), start, token)

    def agent_folder(self) -> Path | None:
        """The folder that the connection names; None where it leaves the choice to the runtime.
        Raises as :meth:`engine` does."""
        return self.engine().home

    def get_conn(self, start: bool = True) -> AgentClient:
        """A client of the agent, which is started where it does not run, unless ``start`` or the
        connection says no. Close it after use.

        Raises AirflowException where no agent can be reached.
        """
        from earg.client import AgentError, NoAgentError, connect

        engine = self.engine()
        try:
            return connect(engine.home, start=start and engine.start)
        except NoAgentError as error:
            hint = "" if engine.start else ", and the connection forbids to start one"
            raise AirflowException(f"Connection {self.earg_conn_id!r}: {error}{hint}.") from None
        except AgentError as error:
            raise AirflowException(f"Connection {self.earg_conn_id!r}: {error}") from None

    def send(
        self, url: str, body: bytes, content_type: str, timeout: float = 60.0
    ) -> tuple[bytes, str]:
        """Send one request to a graph's frontend; the reply and its content type.

        ``url`` is the frontend's base URL, as the agent tells it. The request shows the
        connection's token where it has one, else that of this process's environment. Raises
        AirflowException with the frontend's own sentence where it does not answer well within
        ``timeout`` seconds.
        """
        import urllib.error
        import urllib.request

        from earg.http_client import open_url
        from earg.security import SecurityError

        request = urllib.request.Request(  # noqa: S310  the frontend's own http URL
            f"{url}/predict", body, {"Content-Type": content_type}
        )
        if token := self.engine().token:
            # The opener adds its own only where a request has none.
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        try:
            with open_url(request, timeout) as reply:
                return reply.read(), reply.headers.get_content_type()
        except urllib.error.HTTPError as error:
            raise AirflowException(f"{url} answers: {_sentence(error)}") from None
        except SecurityError as error:
            raise AirflowException(str(error)) from None
        except OSError as error:
            raise AirflowException(f"{url} does not answer: {error}") from None

    def test_connection(self) -> tuple[bool, str]:
        """Whether the agent answers, or could be started, and a sentence about it.

        It starts no agent: a look must not leave a process behind.
        """
        from earg.client import AgentError, NoAgentError, connect
        from earg.home import HomeError, find_home

        try:
            engine = self.engine()
            home = find_home(engine.home)
            home.prepare()
            with connect(home.path, start=False, timeout=5.0) as client:
                version, pid = client.hello()
                graphs = ", ".join(graph.name for graph in client.graphs()) or "none"
        except NoAgentError:
            if not engine.start:
                return False, (
                    f"No agent runs in {home.path}, and the connection forbids to start one. "
                    "Start it there: earg agent start"
                )
            return True, f"No agent runs in {home.path} yet. The first deploy starts one."
        except (AgentError, AirflowException, HomeError) as error:
            return False, str(error)
        return True, f"Agent {version} (pid {pid}) in {home.path}. Deployed graphs: {graphs}."

    def _wrong(self, what: str, wanted: str, found: object) -> AirflowException:
        return AirflowException(
            f"Connection {self.earg_conn_id!r}: {what} must be {wanted}, not {found!r}."
        )


def _form() -> dict[str, Any]:
    from hogar_provider import get_provider_info

    (info,) = get_provider_info()["connection-types"]
    return dict(info)


def _sentence(error: Any) -> str:
    import json

    try:
        sentence = json.load(error)["error"]
    except (ValueError, KeyError, TypeError):
        sentence = error.reason
    return f"HTTP {error.code}: {sentence}"
