"""One look at a graph: everything that the agent tells of it, in a few calls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hogar_provider.plugins.api.agents import NO_AGENT, ask, is_silent
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.graph_view import LOCAL, Look

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.home import Home
    from earg.plan import Plan
    from earg.status import Event, GraphStatus


STATUS_AGE = 0.6
"""Seconds that a node's state may be old in a look; the agent itself looks twice a second, and
knows at once of a process that ends."""


class Looker:
    """Looks at one graph again and again, and keeps what need not be read anew.

    Not safe between threads: each poll has its own.
    """

    def __init__(self, home: Home, name: str, engine: str = LOCAL) -> None:
        self.home = home
        self.name = name
        self.engine = engine
        self.events: list[Event] = []
        """The events of the graph that the agent has told so far, the newest 1000."""
        self._plan_texts = ("", "")
        self._plan: Plan | None = None

    def look(self, status: GraphStatus | None = None) -> Look:
        """What the agent tells now; raises nothing for an agent that does not answer. Blocks.

        ``status`` is the graph's where the agent has just been asked for it.
        """
        at = time.time()
        try:
            return ask(self.home, lambda agent: self._look(agent, at, status))
        except ApiError as error:
            silent = is_silent(self.home, error)
            reachable = not silent and error.code not in (NO_AGENT, "no_answer")
            return Look(at, reachable, trouble=error.message, engine=self.engine, silent=silent)

    def _look(self, agent: AgentClient, at: float, status: GraphStatus | None) -> Look:
        from earg.client import AgentError, NoAgentError

        if status is None:
            status = next(iter(agent.graphs(self.name, STATUS_AGE)), None)
        self._follow_events(agent)
        if status is None:
            return Look(at, reachable=True, engine=self.engine)
        statistics, load, trouble = None, None, ""
        try:
            self._read_plan(agent)
            statistics = agent.statistics(self.name)
            if status.url:
                load = agent.load(self.name)
        except NoAgentError:
            raise
        except AgentError as error:
            # It is being taken down, or its frontend is: what there is, is shown.
            trouble = str(error)
        plan = self._plan
        return Look(
            at,
            True,
            status,
            statistics,
            None if plan is None else plan.config,
            None if plan is None else plan.extras,
            load,
            trouble,
            self.engine,
        )

    def _read_plan(self, agent: AgentClient) -> None:
        from earg.plan import read_plan

        texts = agent.plan(self.name)
        if texts != self._plan_texts:
            self._plan = read_plan(*texts)
            self._plan_texts = texts

    def _follow_events(self, agent: AgentClient) -> None:
        after = self.events[-1].number if self.events else 0
        self.events.extend(agent.events(self.name, after))
        del self.events[:-1000]
