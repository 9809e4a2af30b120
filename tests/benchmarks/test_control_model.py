"""The simulation of the control plane: its arithmetic, and that it knows the code's own bounds."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks import control_model as model
from benchmarks.control_model import Clock, Costs, Fleet, Station

BENCHMARKS = Path(model.__file__).parent

COSTS = Costs(
    standing=0.004,
    node_standing=0.01,
    beat=0.0001,
    model_ping=0.0002,
    proxy_ping=0.0003,
    statistics_call=0.0004,
    beats_a_second=5.0,
    model_pings_a_second=4.0,
    proxy_pings_a_second=2.0,
    statistics_a_second=0.5,
    look_agent=(0.001, 0.0005),
    look_caller=(0.002, 0.0001),
    view=(0.001, 0.0001),
    look_node=0.0005,
    look_latency=(0.01, 0.001),
    statistics_bytes=1000,
    reply_bytes=(100.0, 1500.0),
    frame_bytes=(300.0, 800.0),
    message=(0.0001, 0.0),
    event=0.00001,
    event_bytes=100,
    events_a_death=3.0,
    death_agent=0.05,
    takeover=0.05,
    start_node=1.0,
    start_agent=0.1,
    ledger=(0.001, 0.0001),
    ledger_bytes=800,
    ledgers_a_death=2.0,
    delta_bytes=(10, 400),
    packed_bytes=200,
    dag_import=2.0,
    dag_build=0.004,
    dag_serialize=0.006,
)

FLEET = Fleet(graphs=20, nodes=100, hosts=10)


def test_a_station_computes_one_thing_after_the_other() -> None:
    station = Station()
    assert station.serve(1.0, 2.0) == 3.0
    assert station.serve(2.0, 1.0) == 4.0
    assert station.serve(9.0, 1.0) == 10.0
    assert station.busy == 4.0


def test_the_clock_keeps_the_order_of_time_and_of_arrival() -> None:
    seen: list[str] = []
    clock = Clock(end=2.0)
    clock.at(1.5, lambda _: seen.append("late"))
    clock.at(0.5, lambda _: seen.append("first"))
    clock.at(0.5, lambda _: seen.append("second"))
    clock.at(2.5, lambda _: seen.append("never"))
    clock.every(1.0, 0.75, lambda _: seen.append("every"))
    clock.run()
    assert seen == ["first", "second", "every", "late", "every"]


def test_every_node_is_placed_once_and_no_backup_beside_it() -> None:
    fleet = replace(FLEET, stateful=0.5, rack=5)
    placed = model.place(fleet, seed=3)
    assert len(placed) == fleet.nodes
    load = [sum(one.host == host for one in placed) for host in range(fleet.hosts)]
    assert max(load) - min(load) <= fleet.nodes_a_graph
    backups = [one for one in placed if one.backup is not None]
    assert 0.3 < len(backups) / fleet.nodes < 0.7
    assert all(one.backup // 5 != one.host // 5 for one in backups if one.backup is not None)
    assert {len({one.host for one in placed if one.graph == 0})} == {fleet.spread}


def test_a_fleet_that_does_not_come_out_even_is_refused() -> None:
    with pytest.raises(ValueError, match="as many nodes"):
        Fleet(graphs=3, nodes=10, hosts=1)


def test_agents_compute_their_standing_work_and_that_of_looks_and_nothing_else() -> None:
    fleet = replace(FLEET, stateful=0.0)
    found = model.watch(fleet, COSTS, viewers=20, watched=20, workers=2, seconds=30, sharded=True)
    assert found.agent == pytest.approx(model.agent_share(fleet, COSTS, found.rate), rel=0.03)
    each = model.line(COSTS.worker_look, 5) + COSTS.look_caller[0] / 2 + COSTS.view[0] / 2
    # Asked of two agents, a look has the asking half of the fixed part twice.
    assert found.worker == pytest.approx(found.looks * (each + COSTS.message[0]) / 30 / 2, rel=0.03)


def test_a_backup_is_standing_work_of_an_agent_too() -> None:
    plain, doubled = (
        model.watch(replace(FLEET, stateful=share), COSTS, 1, 1, 1, seconds=20)
        for share in (0.0, 1.0)
    )
    pings = COSTS.standing - COSTS.statistics_call * COSTS.statistics_a_second
    assert doubled.agent - plain.agent == pytest.approx(10 * pings, rel=0.05)


def test_what_viewers_cost_grows_with_viewers_and_polls_do_not() -> None:
    few, many = (
        model.watch(FLEET, COSTS, viewers, 5, 1, seconds=20, sharded=True) for viewers in (5, 50)
    )
    assert (few.polls, many.polls) == (5, 5)
    assert many.viewer_bytes == pytest.approx(10 * few.viewer_bytes, rel=0.02)
    assert many.agent == pytest.approx(few.agent, rel=0.02)
    assert many.worker - few.worker == pytest.approx(45 * COSTS.message[0], rel=0.1)


def test_a_worker_too_many_polls_of_looks_less_often_and_is_never_more_than_busy() -> None:
    slow = replace(COSTS, look_caller=(0.2, 0.0))
    found = model.watch(FLEET, slow, 20, 20, 1, seconds=20)
    assert found.rate < 0.5
    assert found.worker == pytest.approx(1.0, abs=0.2)
    assert found.p95 > 1.0


def test_workers_that_share_no_graph_poll_each_graph_once() -> None:
    apart = model.watch(FLEET, COSTS, 200, 20, 4, seconds=5)
    sharded = model.watch(FLEET, COSTS, 200, 20, 4, seconds=5, sharded=True)
    assert sharded.polls == 20
    assert 20 < apart.polls <= 80


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    first, again, other = (
        model.watch(FLEET, COSTS, 30, 10, 2, seconds=5, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_every_pair_that_died_is_started_or_given_up() -> None:
    fleet = replace(FLEET, stateful=0.5)
    for failing in (0.0, 0.5, 1.0):
        found = model.storm(fleet, COSTS, {0, 1}, failing=failing, seed=7)
        assert found.started + found.given_up == found.starts
        assert found.primaries == sum(one.host < 2 for one in model.place(fleet, 7))
    assert found.given_up == found.starts
    assert found.attempts == model.GIVE_UP * found.starts


def test_one_host_that_dies_costs_the_state_of_nobody_who_has_a_backup() -> None:
    fleet = replace(FLEET, stateful=1.0)
    found = model.storm(fleet, COSTS, {0})
    assert found.state_lost == 0
    assert found.took_over == found.primaries
    # A primary that died gets a new backup, and so does one whose backup died.
    backups = sum(one.backup == 0 for one in model.place(fleet, 1))
    assert found.starts == found.primaries + backups


def test_starts_share_the_cores_of_the_hosts_that_live() -> None:
    fleet = Fleet(graphs=20, nodes=20, hosts=2, spread=1, stateful=0.0)
    found = model.storm(fleet, replace(COSTS, start_agent=0.0, ledger=(0.0, 0.0)), {0}, cores=2)
    assert found.starts == 10
    assert found.last_start == pytest.approx(5.0)


def test_pauses_double_to_their_longest() -> None:
    assert [model.pause(failed) for failed in range(9)] == pytest.approx(
        [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    )


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 1000, 12_345])
def test_the_largest_that_fits_is_found(size: int) -> None:
    assert model.largest(lambda one: one <= size) == size
    assert model.largest(lambda one: one <= size, most=5) == min(size, 5)


def test_limits_are_where_the_share_of_a_core_is_used_up() -> None:
    assert model.most_nodes_of_an_agent(COSTS, stateful=0.0) == int(model.ROOM / COSTS.standing)
    assert model.most_nodes_of_a_host(COSTS, 4, stateful=0.0) == int(4 * model.ROOM / 0.014)
    # 10 nodes: 0.002 + 10 * 0.0001, 0.001 + 10 * 0.0001, and one message of 0.0001.
    assert model.most_polls_of_a_worker(COSTS, 10) == int(model.ROOM / 0.0051)
    assert model.most_streams_of_a_worker(COSTS, 10) == int((model.ROOM - 0.005) / 0.0001)
    # 0.01 + 10 * 0.001 until it is answered, 0.002 for the view.
    assert model.most_listed(COSTS, 10) == int(2 / 0.022)
    assert model.most_dags(COSTS, 2) == int(2 * 30 * model.ROOM / 0.01)


@pytest.mark.parametrize("looks", [0.0, 1.0, 8.0])
def test_an_agent_with_the_most_nodes_is_as_full_as_may_be(looks: float) -> None:
    most = model.most_nodes_of_an_agent(COSTS, looks)
    fleet = Fleet(graphs=most, nodes=10 * most, hosts=10)
    assert model.agent_share(fleet, COSTS, looks) == pytest.approx(model.ROOM, rel=0.03)


def test_the_calls_of_a_node_add_up() -> None:
    # 5 of 0.1 ms, 4 of 0.2, 2 of 0.3, and 0.4 every two seconds.
    assert COSTS.explained == pytest.approx(0.0021)


def test_a_line_goes_through_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import control_costs

    fixed, each = control_costs._slope(2, 8, 0.007, 0.013)
    assert (fixed, each) == (pytest.approx(0.005), pytest.approx(0.001))
    # Noise that lets more nodes cost less is no cost of a node.
    assert control_costs._slope(2, 8, 0.02, 0.01) == (0.01, 0.0)


def test_the_median_of_each_figure_of_several_deaths_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from control_costs import Death, typical

    deaths = [Death(6, 0.1, 0.5, 7), Death(5, 0.3, 0.02, 8), Death(7, 0.2, 0.03, 6)]
    assert typical(deaths) == Death(6, 0.2, 0.03, 7)


def test_bounds_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import control_plane

    from earg import agent, node
    from hogar_provider.plugins.api import agents, listing, runtime, streams

    assert control_plane.MOST_POLLS == runtime.MOST_POLLS
    assert control_plane.MOST_STREAMS == streams.MOST_OF_A_WORKER
    assert control_plane.MOST_LISTED == listing.MOST_GRAPHS
    assert control_plane.MOST_CONNECTIONS == agents.MOST_CONNECTIONS
    assert control_plane.EVENTS_KEPT == agent.EVENTS_KEPT
    assert model.GIVE_UP == node.GIVE_UP
    assert (model.FIRST_PAUSE, model.LONGEST_PAUSE) == (node.FIRST_PAUSE, node.LONGEST_PAUSE)


@pytest.mark.slow
def test_kept_costs_give_the_tables_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import control_plane

    kept = tmp_path / "costs.json"
    kept.write_text(json.dumps({"where": "a machine", "costs": asdict(COSTS)}))
    monkeypatch.setattr("sys.argv", ["control_plane.py", "--costs", str(kept), "--seconds", "0.5"])
    told = []
    for _ in range(2):
        control_plane.main()
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert told[0].startswith("a machine\n")
    assert "10,000" in told[0]
    kept.write_text(json.dumps({"where": "a machine", "costs": {"beat": 1.0}}))
    with pytest.raises(TypeError, match="another form"):
        control_plane.main()
