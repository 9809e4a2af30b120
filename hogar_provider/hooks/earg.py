"""The hook for connections of type ``earg``: an agent that runs graphs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from hogar_provider.exceptions import AirflowException, AirflowNotFoundException

if TYPE_CHECKING:
    from earg.client import AgentClient

FORM_HELP = (
    "Where the agent on this machine keeps its socket and logs. "
    "Empty: $EARG_HOME, else ~/.local/state/earg."
)


class EargHook(BaseHook):
    """A client of the agent that the connection names.

    Where no connection is defined, the default one means the agent on this machine, which starts
    by itself on first use: nothing needs configuring. The connection's extra may hold ``home``,
    the agent's folder (default: ``$EARG_HOME``, else the user's state folder).

    :param earg_conn_id: the Airflow connection.
    """

    conn_name_attr = "earg_conn_id"
    default_conn_name = "earg_default"
    conn_type = "earg"
    hook_name = "EARG"

    def __init__(self, earg_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.earg_conn_id = earg_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The connection form before Airflow 3.2; later ones read the provider's info."""
        return {
            "hidden_fields": ["host", "port", "schema", "login", "password"],
            "relabeling": {},
            "placeholders": {},
        }

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """The field ``home`` before Airflow 3.2; later ones read the provider's info."""
        from wtforms import StringField

        return {"home": StringField("Agent's folder", description=FORM_HELP)}

    def agent_folder(self) -> Path | None:
        """The folder that the connection names; None where it leaves the choice to the runtime.

        Raises AirflowNotFoundException for a connection other than the default one that is not
        defined, and AirflowException for one whose extra makes no sense.
        """
        try:
            connection = self.get_connection(self.earg_conn_id)
        except AirflowNotFoundException:
            if self.earg_conn_id == self.default_conn_name:
                return None
            raise
        extra = connection.extra_dejson
        home = extra.get("home") if isinstance(extra, dict) else None
        if not home:
            return None
        if not isinstance(home, str) or not Path(home).expanduser().is_absolute():
            raise AirflowException(
                f"Connection {self.earg_conn_id!r}: 'home' must be an absolute path, not {home!r}."
            )
        return Path(home).expanduser()

    def get_conn(self) -> AgentClient:
        """A client of the agent, which is started where it does not run. Close it after use.

        Raises AirflowException where no agent can be reached.
        """
        from earg.client import AgentError, connect

        folder = self.agent_folder()
        try:
            return connect(folder)
        except AgentError as error:
            raise AirflowException(f"Connection {self.earg_conn_id!r}: {error}") from None

    def test_connection(self) -> tuple[bool, str]:
        """Whether the agent answers, or could be started, and a sentence about it.

        It starts no agent: a look must not leave a process behind.
        """
        from earg.client import AgentError, NoAgentError, connect
        from earg.home import HomeError, find_home

        try:
            home = find_home(self.agent_folder())
            home.prepare()
            with connect(home.path, start=False, timeout=5.0) as client:
                version, pid = client.hello()
                graphs = ", ".join(graph.name for graph in client.graphs()) or "none"
        except NoAgentError:
            return True, f"No agent runs in {home.path} yet. The first deploy starts one."
        except (AgentError, AirflowException, HomeError) as error:
            return False, str(error)
        return True, f"Agent {version} (pid {pid}) in {home.path}. Deployed graphs: {graphs}."
