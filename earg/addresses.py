"""Addresses for a graph's processes: EARG's config has no ports, so each pair has an address.

On one Linux machine those are addresses in 127.0.0.0/8. Each graph has blocks of 256 of its own,
kept apart between agents by a socket bound to the block's first address.
"""

from __future__ import annotations

import errno
import socket
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from earg.config import MODEL_PORT, PROXY_PORT

_FIRST_BLOCK = int(IPv4Address("127.1.0.0"))
_BLOCKS = 254 * 256 - 256
_CLAIM_PORT = 22221

METRICS_PORT = PROXY_PORT + 1
"""The TCP port on which a proxy serves its Prometheus metrics."""


class NoAddressError(RuntimeError):
    """No address of this machine's loopback range is free."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The port that every model of a graph listens on, that of every proxy, and that of every
    proxy's metrics."""

    model: int
    proxy: int
    metrics: int = METRICS_PORT

    def all_free(self, ip: str) -> bool:
        """Whether servers could listen on all of them at ``ip`` now."""
        return all(is_free(ip, port) for port in (self.model, self.proxy, self.metrics))


EARG_PORTS = Ports(MODEL_PORT, PROXY_PORT)
"""What originals use. Only where something listens there on every address are others taken."""

OTHER_PORTS = tuple(
    Ports(port, port + 1, port + 2) for port in range(MODEL_PORT + 10, MODEL_PORT + 110, 10)
)


def is_free(ip: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As servers do: a connection that lingers after its end does not take the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


class AddressPool:
    """Addresses of one graph. ``key`` spreads graphs over the range and keeps a graph's addresses
    the same from run to run, where they are free."""

    def __init__(self, key: str, candidates: Sequence[Ports] = (EARG_PORTS, *OTHER_PORTS)) -> None:
        self._candidates = candidates
        self._next_block = zlib.crc32(key.encode()) % _BLOCKS
        self._claims: list[socket.socket] = []
        self._left: list[str] = []
        self.ports = self._choose_ports()

    def _choose_ports(self) -> Ports:
        for ports in self._candidates:
            # One taken address is chance; the same port taken in three blocks is a server that
            # listens on every address.
            for _ in range(3):
                self._claim_block()
                if ports.all_free(self._left[-1]):
                    return ports
        self.close()
        raise NoAddressError(
            f"servers listen on all ports tried, from {self._candidates[0].model} to "
            f"{self._candidates[-1].metrics}, on every loopback address; stop one of them"
        )

    def _claim_block(self) -> None:
        for _ in range(_BLOCKS):
            base = _FIRST_BLOCK + 256 * self._next_block
            self._next_block = (self._next_block + 1) % _BLOCKS
            if self._claim(base):
                return
        raise NoAddressError("every block of loopback addresses is taken by a deployed graph")

    @classmethod
    def adopt(cls, key: str, ports: Ports, used: Sequence[str]) -> AddressPool:
        """The pool of a graph that runs on ``used`` addresses already."""
        pool = cls.__new__(cls)
        pool._candidates = (ports,)
        pool._next_block = zlib.crc32(key.encode()) % _BLOCKS
        pool._claims = []
        pool._left = []
        pool.ports = ports
        for base in sorted({int(IPv4Address(ip)) & ~0xFF for ip in used}):
            # A block that somebody took while no agent held it gives no more addresses; those in
            # use are still ours.
            pool._claim(base)
        taken = set(used)
        pool._left = [ip for ip in pool._left if ip not in taken]
        return pool

    def _claim(self, base: int) -> bool:
        """Whether the block that begins at ``base`` is ours now; its addresses are to be given
        out then."""
        claim = socket.socket()
        try:
            claim.bind((str(IPv4Address(base)), _CLAIM_PORT))
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        self._left = [str(IPv4Address(base + last)) for last in range(254, 0, -1)]
        return True

    def take(self) -> str:
        """An address on which all ports are free; it is not given out again."""
        while True:
            while self._left:
                ip = self._left.pop()
                if self.ports.all_free(ip):
                    return ip
            self._claim_block()

    def give_back(self, ip: str) -> None:
        """Let an address be given out again, after all others."""
        base = str(IPv4Address(int(IPv4Address(ip)) & ~0xFF))
        # One of a block that is another agent's by now stays out.
        if any(claim.getsockname()[0] == base for claim in self._claims):
            self._left.insert(0, ip)

    def close(self) -> None:
        """Give the blocks back."""
        for claim in self._claims:
            claim.close()
        self._claims.clear()
