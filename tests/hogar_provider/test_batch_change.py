"""A change of batching stands only with its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from earg.client import AgentClient
from earg.config import write_static
from earg.home import find_home
from earg.images import Implementation
from hogar_provider.engines.local import LocalEngine
from hogar_provider.plugins.api import batch_change
from hogar_provider.plugins.api.datamodels.batching import BatchChange
from hogar_provider.plugins.api.declared import Declared, read_declared
from hogar_provider.plugins.api.errors import ApiError
from tests.hogar_provider.folders import MODELS, chain

pytestmark = pytest.mark.slow


class Ann:
    """A user."""

    def get_name(self) -> str:
        """Hers."""
        return "ann"


@pytest.fixture
def declared(agent: AgentClient, home: Path, monkeypatch: pytest.MonkeyPatch) -> Declared:
    """A graph of one node that is deployed as it is declared, with a batch of 8."""
    text = chain("One", "test/upper:1").replace("image test/upper:1", "image a:1, batch 8")
    found = read_declared("One", text, {}, "")
    assert found.config is not None
    implementation = Implementation("small:Upper", str(MODELS), ())
    agent.deploy_node("One", "1", write_static(found.config), 1, implementation)
    agent.wire("One")
    agent.serve("One")
    monkeypatch.setattr(batch_change, "find_declared", lambda dag_id: found)
    monkeypatch.setattr(batch_change, "engine_of", lambda conn_id: LocalEngine(find_home(home)))
    return found


def setting(agent: AgentClient) -> tuple[int, float, str]:
    """Limit, wait and who has set them."""
    said = agent.statistics("One").nodes[0].statistics
    assert said is not None
    return said.batch_limit, said.batch_wait, said.limit_set_by


def test_one_that_the_audit_log_does_not_take_is_taken_back(
    declared: Declared, agent: AgentClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError("the database is read-only")

    monkeypatch.setattr(batch_change, "record_batch_change", fails)
    before = setting(agent)
    with pytest.raises(ApiError, match="was taken back") as caught:
        batch_change.change_batching("One", 1, BatchChange(limit=3, wait_ms=20), Ann())
    assert caught.value.status == 503
    assert setting(agent) == before


def test_what_is_not_named_stays_and_a_reset_goes_back_to_what_is_declared(
    declared: Declared, agent: AgentClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    records: list[tuple[Any, ...]] = []
    monkeypatch.setattr(batch_change, "record_batch_change", lambda *said: records.append(said))
    change = batch_change.change_batching
    assert change("One", 1, BatchChange(wait_ms=20), Ann()).limit == 8
    assert change("One", 1, BatchChange(limit=3), Ann()).wait_ms == 20
    assert change("One", 1, BatchChange(dynamic=True, objective_ms=40), Ann()).dynamic
    assert setting(agent)[1:] == (0.02, "ann in Airflow")
    view = change("One", 1, BatchChange(reset=True), Ann())
    assert (view.limit, view.dynamic, view.wait_ms, view.objective_ms) == (8, False, 0, 0)
    assert [(said[3].limit, said[4].limit) for said in records] == [(8, 8), (8, 3), (3, 3), (3, 8)]
    assert [said[4].dynamic for said in records] == [False, False, True, False]
