"""Numbers from the environment."""

from __future__ import annotations

import pytest

from earg.environment import process_environment
from earg.settings import SettingError, port_number, real_number, whole_number
from tests.earg.test_security import COMMON, INSECURE, start


def test_what_is_not_set_is_the_default() -> None:
    assert whole_number({}, "X", 7, 1, 9) == 7
    assert real_number({}, "X", 0.5, 0, 1) == 0.5
    assert port_number({"X": "65535"}, "X", 1) == 65535
    assert real_number({"X": "1e-1"}, "X", 1, 0, 1) == 0.1


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "1.5", "1_0", " 1", "9" * 5000, "x"])
def test_a_port_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="X must be a whole number from 1 to 65535"):
        port_number({"X": text}, "X", 1)


@pytest.mark.parametrize("text", ["", "nan", "inf", "-0.1", "1e999", "x", "1" * 50])
def test_a_number_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="X must be a number from 0 to 10"):
        real_number({"X": text}, "X", 1, 0, 10)


@pytest.mark.parametrize(
    ("module", "name", "text"),
    [
        ("model", "MODEL_PORT", "99999"),
        ("proxy", "QUEUE_CAPACITY", "999999999999"),
        ("proxy", "TIMEOUT_MS", "nan"),
        ("frontend", "MAX_WORKERS", "0"),
        ("frontend", "MAX_BODY_BYTES", "1e9"),
    ],
)
def test_a_process_says_which_setting_is_wrong(module: str, name: str, text: str) -> None:
    process = start(module, process_environment() | COMMON | {name: text})
    _, errors = process.communicate(timeout=60)
    assert process.returncode == INSECURE
    (line,) = errors.splitlines()
    assert line.startswith(f"{name} must be a")
