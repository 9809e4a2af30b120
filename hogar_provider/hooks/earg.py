"""The hook for connections of type ``earg``: an agent that runs graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from hogar_provider.configuration import default_conn_id
from hogar_provider.engines.connection import EngineConnection, read_connection
from hogar_provider.engines.registry import ENGINES, LOCAL, open_engine
from hogar_provider.exceptions import AirflowException, AirflowNotFoundException

if TYPE_CHECKING:
    from earg.client import AgentClient
    from hogar_provider.engines.engine import Engine


class EargHook(BaseHook):
    """A client of the agent of the engine that the connection names.

    The connection ``earg_default`` need not be defined, and means the agent on this machine then,
    nor those called as the engines: ``local``, ``docker`` and ``kubernetes`` mean what
    docs/engines.md says of each without settings. An agent starts by itself on first use. A
    connection's extra may hold ``engine`` (default: ``local``), ``home`` (the agent's folder;
    default: ``$EARG_HOME``, else the user's state folder), ``start`` (whether an agent is started
    where none runs; default: yes) and what is the engine's own, and its password the token that the
    graphs' frontends ask for.

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
        name = self.earg_conn_id if self.earg_conn_id in ENGINES else LOCAL
        try:
            connection = self.get_connection(self.earg_conn_id)
        except AirflowNotFoundException:
            if self.earg_conn_id not in (self.default_conn_name, *ENGINES):
                raise
            said = EngineConnection(self.earg_conn_id, name, find=self.get_connection)
        else:
            said = read_connection(connection, self.earg_conn_id, name, self.get_connection)
        return open_engine(said)

    def get_conn(self, start: bool = True) -> AgentClient:
        """A client of the agent, which is started where it does not run, unless ``start`` or the
        connection says no. Close it after use.

        Raises AirflowException where no agent can be reached.
        """
        from earg.client import AgentError

        try:
            return self.engine().connect(start)
        except AgentError as error:
            raise AirflowException(
                f"Connection {self.earg_conn_id!r}: {str(error).rstrip('.')}."
            ) from None

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
        """Whether graphs could be deployed on the engine, and a sentence about it.

        It starts no agent: a look must not leave a process behind.
        """
        try:
            return self.engine().examine()
        except AirflowException as error:
            return False, str(error)


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
