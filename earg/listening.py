"""The address that a process listens on: LISTEN_IP, an IPv4 address or this machine's name.

In a container the address is known only once it runs; its host name always means its own.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping

from earg.settings import SettingError

LISTEN_IP = "LISTEN_IP"


def listen_ip(environment: Mapping[str, str]) -> str:
    """The address as digits, loopback where nothing is set. A name is looked up once, so that what
    is checked and what is bound are the same; raises :class:`SettingError` for one that has no
    IPv4 address."""
    text = environment.get(LISTEN_IP, "127.0.0.1")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(text, None, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SettingError(
            f"{LISTEN_IP} is {text[:80]!r}, which is no address and no name of one: {error}"
        ) from None
    return str(found[0][4][0])
