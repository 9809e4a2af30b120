"""The socket on which a frontend takes HTTP.

The agent opens it and hands it on: a frontend that dies leaves it open, so the address stays the
graph's own, and clients that connect meanwhile wait for the next one instead of being refused.
"""

from __future__ import annotations

import socket

BACKLOG = 1024
"""Connections that wait to be accepted."""


def listen(ip: str, port: int) -> socket.socket:
    """A socket that listens; raises OSError where the port is taken."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's delay (40 ms a reply) off only then.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ip, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def inherited(descriptor: int) -> socket.socket:
    """The listening socket that this process was started with."""
    listener = socket.socket(fileno=descriptor)
    # Told again: asyncio looks at the protocol, which a descriptor alone does not always tell.
    return socket.socket(
        listener.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach()
    )
