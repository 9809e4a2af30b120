"""What a proxy knows of its requests: joins, copies, and outputs that are asked for again."""

from __future__ import annotations

import pytest

from earg.journal import Again, Journal
from earg.payload import pack, unpack
from earg.protos import hogar_pb2
from earg.routing import RoutingError


def request(number: int, value: str = "x", attempt: int = 0) -> hogar_pb2.Request:
    return hogar_pb2.Request(id=number, payload=pack(value), attempt=attempt)


def journal(sources: tuple[int, ...] = (), capacity: int = 100, size: int = 10**6) -> Journal:
    return Journal(sources, capacity, size)


def value_of(arrival: hogar_pb2.Payload | Again) -> object:
    assert isinstance(arrival, hogar_pb2.Payload)
    return unpack(arrival)


def test_a_join_keeps_the_configs_order_whoever_comes_first() -> None:
    known = journal((3, 2))
    assert known.arrive(request(7, "from 2"), 2) is Again.WAIT
    assert value_of(known.arrive(request(7, "from 3"), 3)) == ["from 3", "from 2"]


def test_a_part_that_comes_twice_counts_once() -> None:
    known = journal((3, 2))
    assert known.arrive(request(7, "first"), 2) is Again.WAIT
    assert known.arrive(request(7, "again"), 2) is Again.WAIT
    assert value_of(known.arrive(request(7, "x"), 3)) == ["x", "first"]


def test_a_stranger_may_not_join() -> None:
    with pytest.raises(RoutingError, match="node 5"):
        journal((3, 2)).arrive(request(7), 5)


def test_a_request_is_computed_once_however_often_it_comes() -> None:
    known = journal()
    assert value_of(known.arrive(request(1), 0)) == "x"
    assert known.arrive(request(1), 0) is Again.WAIT
    assert known.arrive(request(1, attempt=1), 0) is Again.WAIT
    # Its output carries the newest attempt, so that those behind take it for that.
    assert known.complete(1, pack("y")).attempt == 1


def test_an_output_is_sent_again_once_an_attempt() -> None:
    known = journal()
    known.arrive(request(1), 0)
    known.complete(1, pack("y"))
    assert known.arrive(request(1), 0) is Again.WAIT
    assert known.arrive(request(1, attempt=1), 0) is Again.RESEND
    again = known.output_of(1)
    assert (unpack(again.payload), again.attempt) == ("y", 1)
    assert known.arrive(request(1, attempt=1), 0) is Again.WAIT


def test_a_join_sends_its_output_again_once_for_all_its_sources() -> None:
    known = journal((3, 2))
    known.arrive(request(1), 2)
    known.arrive(request(1), 3)
    known.complete(1, pack("y"))
    assert known.arrive(request(1, attempt=1), 2) is Again.RESEND
    assert known.arrive(request(1, attempt=1), 3) is Again.WAIT


def test_a_finished_request_never_counts_again() -> None:
    known = journal()
    known.arrive(request(1), 0)
    known.complete(1, pack("y"))
    assert known.finish([1, 1, 2]) == [1, 2]
    assert known.finish([1, 2]) == []
    assert len(known) == 0
    assert known.arrive(request(1, attempt=5), 0) is Again.WAIT
    assert known.arrive(request(2), 0) is Again.WAIT


def test_a_backup_adopts_outputs_and_computes_none_of_them() -> None:
    primary, backup = journal(), journal()
    for number in (1, 2, 3):
        primary.arrive(request(number), 0)
        primary.complete(number, pack(f"y{number}"))
    primary.finish([2])
    backup.adopt(primary.outputs())
    assert backup.arrive(request(1, attempt=1), 0) is Again.RESEND
    assert unpack(backup.output_of(1).payload) == "y1"
    assert value_of(backup.arrive(request(4), 0)) == "x"
    # Of 2 it was not told; it was answered, so nobody asks for it again.
    assert len(backup) == 3


def test_requests_that_never_complete_do_not_fill_memory() -> None:
    known = journal((3, 2), capacity=10)
    for number in range(1000):
        known.arrive(request(number), 2)
    assert len(known) == 10
    assert value_of(known.arrive(request(999), 3)) == ["x", "x"]
    assert known.arrive(request(1), 3) is Again.WAIT


def test_outputs_that_nobody_fetches_do_not_fill_memory() -> None:
    known = journal(capacity=1000, size=100_000)
    for number in range(100):
        known.arrive(request(number), 0)
        known.complete(number, pack("y" * 10_000))
    assert len(known) <= 12


def test_outputs_keep_the_numbers_of_their_requests_and_are_told_from_one_on() -> None:
    known = journal()
    assert (known.answered_to(), known.highest_seq()) == (0, 0)
    for number in (3, 1, 2):
        known.arrive(hogar_pb2.Request(id=100 + number, payload=pack("x"), seq=number), 0)
    for number in (3, 1):
        assert known.complete(100 + number, pack("y")).seq == number
    assert [one.seq for one in known.outputs_after(0)] == [1, 3]
    assert [one.id for one in known.outputs_after(1)] == [103]
    known.finish([101])
    assert (known.answered_to(), known.highest_seq()) == (1, 3)
    known.finish([102, 103])
    assert (known.answered_to(), known.highest_seq()) == (3, 3)
    # One whose client has given up meanwhile leaves no gap behind it.
    assert known.complete(103, pack("y"), 3).seq == 3
