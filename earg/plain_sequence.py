"""EARG's numbers in the plain protocol: what was sent to an original, and received from one.

The frontend numbers requests from 1, and a request keeps its number (``seq``) on its whole way. An
original takes the requests of each sender strictly in this order: a lower number than the next is
a duplicate to it, a higher one waits until the gap is filled. So whoever sends to one must be able
to send every number again from a given one on, answered or not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from earg.protos import hogar_pb2

SENT_BYTES = 64 * 1024 * 1024
"""Bytes of requests that are kept for one original, the newest."""


class Sent:
    """The requests that went out to one original, by number; at most ``capacity`` of them, and
    :data:`SENT_BYTES`. Those at the beginning that are answered are forgotten."""

    def __init__(self, capacity: int, max_bytes: int = SENT_BYTES) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._bytes = 0
        self._last = 0
        self._behind = 0
        self._requests: OrderedDict[int, hogar_pb2.Request] = OrderedDict()
        self._numbers: dict[int, int] = {}
        self._answered: set[int] = set()

    def __len__(self) -> int:
        return len(self._requests)

    def number(self, request: hogar_pb2.Request) -> int:
        """The number under which ``request`` is sent: its own, or the next one where it has none.
        One that was sent before keeps what it had."""
        seq = self._numbers.get(request.id)
        if seq is None:
            seq = request.seq or self._last + 1
            self._last = max(self._last, seq)
            self._numbers[request.id] = seq
            self._requests[seq] = request
            self._bytes += request.ByteSize()
            self._forget()
        return max(0, seq - self._behind)

    def finish(self, request_ids: Iterable[int]) -> None:
        """These are answered: they are forgotten, once all before them are."""
        self._answered.update(one for one in request_ids if one in self._numbers)
        self._forget()

    def count_anew(self, start: int) -> None:
        """The peer has begun anew and counts from 1: what follows number ``start`` is its first."""
        self._behind = start

    def after(self, seq: int) -> list[hogar_pb2.Request]:
        """All that went out with a higher number than ``seq``, lowest first."""
        return [self._requests[one] for one in sorted(self._requests) if one > seq]

    def _forget(self) -> None:
        while self._requests:
            seq, request = next(iter(self._requests.items()))
            if (
                request.id not in self._answered
                and len(self._requests) <= self._capacity
                and (self._bytes <= self._max_bytes or len(self._requests) == 1)
            ):
                return
            del self._requests[seq]
            self._bytes -= request.ByteSize()
            self._numbers.pop(request.id, None)
            self._answered.discard(request.id)


class Received:
    """The numbers that came from one sender. They may overtake each other on their way."""

    def __init__(self, most_ahead: int) -> None:
        self._most_ahead = most_ahead
        self.in_order = 0
        """All numbers up to this one have come."""
        self._ahead: set[int] = set()

    def take(self, seq: int) -> None:
        """Note that number ``seq`` came."""
        if seq <= self.in_order:
            return
        self._ahead.add(seq)
        if len(self._ahead) > self._most_ahead:
            # The gap is as old as all that is kept: nobody waits for it any more.
            self.in_order = min(self._ahead) - 1
        while self.in_order + 1 in self._ahead:
            self.in_order += 1
            self._ahead.discard(self.in_order)

    def begin(self, seq: int) -> None:
        """All numbers up to ``seq`` need not come any more."""
        self.in_order = max(self.in_order, seq)
        self._ahead = {one for one in self._ahead if one > self.in_order}
        while self.in_order + 1 in self._ahead:
            self.in_order += 1
            self._ahead.discard(self.in_order)
