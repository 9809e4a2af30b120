from __future__ import annotations

import socket

import pytest

from earg.listening import listen_ip
from earg.settings import SettingError


def test_nothing_set_is_loopback() -> None:
    assert listen_ip({}) == "127.0.0.1"


def test_an_address_is_itself() -> None:
    assert listen_ip({"LISTEN_IP": "127.3.4.5"}) == "127.3.4.5"
    assert listen_ip({"LISTEN_IP": "::1"}) == "::1"


def test_a_name_is_looked_up() -> None:
    assert listen_ip({"LISTEN_IP": "localhost"}) == socket.gethostbyname("localhost")


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a b", "x" * 300, ""])
def test_a_name_of_nothing_is_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(SettingError, match="LISTEN_IP is"):
        listen_ip({"LISTEN_IP": name})
