"""Hosts are cut off and come back: never two primaries answer, and nothing is lost.

One client asks all the time. Each reply says the how-manieth request it was, so two primaries that
answer would show as a number that is given twice, and a lost or repeated change as one that is
missing.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from earg.lease import LEASE
from earg.proxy import FENCED
from earg.wiring_roles import FAIL_OVER_AFTER
from tests.network.asking import AT_ONCE
from tests.network.cluster import FRONT, HOSTS, LEFT, PASS, RIGHT, WIRING, Cluster, cluster
from tests.network.hosts import network

pytestmark = pytest.mark.slow

FAIL_OVER = FAIL_OVER_AFTER + 8
"""Seconds until somebody else answers, on a machine with too much to do."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with network(HOSTS) as hosts, cluster(hosts, tmp_path_factory.mktemp("cluster")) as made:
        made.start(FRONT, "client")
        yield made


@pytest.fixture
def graph(running: Cluster) -> Iterator[Cluster]:
    """The graph with both its pairs, under load; afterwards all is as it was, and exact."""
    running.ends.clear()
    running.answers(time.monotonic())
    try:
        yield running
    finally:
        running.network.mend()
        for host in HOSTS:
            running.network.bring_back(host)
    running.wait(running.is_ready, "a graph that is ready again")
    running.answers(time.monotonic())
    replies = running.replies()
    assert [one for one in replies if one.status != 200] == []
    counts = sorted(one.count for one in replies)
    assert len(set(counts)) == len(counts), "two replies are of the same state"
    assert counts[-1] - len(counts) <= AT_ONCE, "a request has changed the state twice"


def sides(graph: Cluster) -> tuple[str, str]:
    """The hosts of the primary and of its backup."""
    newest = max(graph.replies(), key=lambda one: one.count)
    return (LEFT, RIGHT) if newest.instance == LEFT else (RIGHT, LEFT)


def answers_of(graph: Cluster, host: str, since: float) -> int:
    return sum(one.instance == host for one in graph.replies(since))


def wait_for_answers_of(graph: Cluster, host: str, since: float) -> None:
    graph.wait(lambda: answers_of(graph, host, since) > 5, f"answers of {host}", FAIL_OVER)


def has_ended(graph: Cluster, host: str) -> None:
    """It learns that its place was taken, and ends; its platform starts it anew."""
    graph.wait(lambda: graph.ends, f"the end of {host}")
    assert graph.ends == [(host, FENCED)]


def test_a_primary_that_is_cut_off_is_replaced_and_comes_back_as_the_backup(
    graph: Cluster,
) -> None:
    primary, backup = sides(graph)
    began = time.monotonic()
    graph.network.cut_off(primary)
    wait_for_answers_of(graph, backup, began)
    assert graph.ends == []
    back = time.monotonic()
    graph.network.bring_back(primary)
    has_ended(graph, primary)
    graph.wait(graph.is_ready, "a backup")
    assert answers_of(graph, primary, back) == 0


def test_a_primary_that_is_cut_off_with_the_frontend_answers_nobody(graph: Cluster) -> None:
    primary, backup = sides(graph)
    promoted = graph.said().count("took the place of")
    graph.network.part((primary, FRONT, PASS), (backup, WIRING))
    cut = time.monotonic()
    graph.wait(lambda: graph.said().count("took the place of") > promoted, "a promotion")
    # What the backup had acknowledged before is all that may still come.
    alone = time.monotonic()
    time.sleep(LEASE + 0.5)
    assert graph.replies(alone) == []
    assert graph.ends == []
    assert graph.replies(cut + 1.5) == []
    mended = time.monotonic()
    graph.network.mend()
    wait_for_answers_of(graph, backup, mended)
    has_ended(graph, primary)
    assert answers_of(graph, primary, mended) == 0


def test_a_primary_that_only_its_backup_cannot_reach_goes_on_under_a_lease(
    graph: Cluster,
) -> None:
    primary, backup = sides(graph)
    lost = graph.said().count("has lost its backup")
    graph.network.part((primary,), (backup,))
    graph.wait(lambda: graph.said().count("has lost its backup") > lost, "one that is alone")
    alone = time.monotonic()
    wait_for_answers_of(graph, primary, alone)
    # Longer than any lease: it is renewed.
    time.sleep(LEASE + 0.5)
    wait_for_answers_of(graph, primary, time.monotonic())
    graph.network.mend()
    graph.wait(graph.is_ready, "a backup that has the whole state")
    assert sides(graph) == (primary, backup)
    assert graph.ends == []


def test_one_that_is_alone_waits_for_a_wiring_that_is_away(graph: Cluster) -> None:
    primary, backup = sides(graph)
    lost = graph.said().count("has lost its backup")
    graph.network.cut_off(backup)
    graph.wait(lambda: graph.said().count("has lost its backup") > lost, "one that is alone")
    wait_for_answers_of(graph, primary, time.monotonic())
    graph.end(WIRING, "wiring")
    ended = time.monotonic()
    time.sleep(LEASE + 1.5)
    assert graph.replies(ended + LEASE + 0.8) == []
    # Another wiring cannot know who was cut off, until it hears the other one.
    graph.start(WIRING, "wiring")
    graph.network.bring_back(backup)
    wait_for_answers_of(graph, primary, ended + LEASE + 0.8)
    graph.wait(graph.is_ready, "a backup that has the whole state")
    assert graph.ends == []


def test_a_primary_that_the_wiring_cannot_reach_ends_when_its_backup_was_promoted(
    graph: Cluster,
) -> None:
    primary, backup = sides(graph)
    began = time.monotonic()
    graph.network.part((primary,), (WIRING,))
    wait_for_answers_of(graph, backup, began)
    # Its backup tells it.
    has_ended(graph, primary)


def test_a_primary_that_hears_but_is_not_heard_is_replaced(graph: Cluster) -> None:
    primary, backup = sides(graph)
    began = time.monotonic()
    for other in (backup, WIRING):
        graph.network.silence(primary, other)
    wait_for_answers_of(graph, backup, began)
    graph.network.mend()
    has_ended(graph, primary)


def test_a_pair_serves_on_without_a_wiring_and_every_request_has_counted_once(
    graph: Cluster,
) -> None:
    graph.end(WIRING, "wiring")
    ended = time.monotonic()
    time.sleep(LEASE + 1)
    graph.answers(ended + LEASE)
    client = graph.processes[FRONT, "client"]
    client.send_signal(signal.SIGTERM)
    client.wait(70)
    replies = graph.replies()
    assert sorted(one.count for one in replies) == list(range(1, len(replies) + 1))
    graph.start(WIRING, "wiring")
    graph.start(FRONT, "client")
