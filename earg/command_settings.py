"""Which command starts which proxy, as the agent's environment says.

EARG_PROXY_COMMANDS is a JSON object: an operator's name, or ``*`` for all others, and the command
that starts its proxies, as a list. What is not named there is started with ours.
EARG_FRONTEND_COMMAND is such a list for the frontend.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from earg.pair import Commands
from earg.settings import SettingError

PROXY_COMMANDS, FRONTEND_COMMAND = "EARG_PROXY_COMMANDS", "EARG_FRONTEND_COMMAND"

LONGEST = 64 * 1024
"""Characters of a setting."""


def read_commands(environment: Mapping[str, str]) -> Commands:
    """The commands that ``environment`` sets; raises :class:`SettingError`."""
    usual = Commands()
    named: Any = _json(environment, PROXY_COMMANDS, {})
    if not isinstance(named, dict):
        raise SettingError(f"{PROXY_COMMANDS} must be a JSON object: an operator and its command")
    proxies = {
        name: _command(f"{PROXY_COMMANDS}, {name[:100]!r}", command)
        for name, command in named.items()
    }
    frontend = usual.frontend
    if FRONTEND_COMMAND in environment:
        frontend = _command(FRONTEND_COMMAND, _json(environment, FRONTEND_COMMAND, None))
    proxy = proxies.pop("*", usual.proxy)
    return Commands(usual.model, proxy, frontend, tuple(proxies.items()))


def _json(environment: Mapping[str, str], name: str, default: Any) -> Any:
    text = environment.get(name)
    if text is None:
        return default
    try:
        if len(text) > LONGEST:
            raise ValueError(f"it is longer than {LONGEST} characters")
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{name} is no JSON: {error}") from None


def _command(what: str, command: Any) -> tuple[str, ...]:
    if (
        not isinstance(command, list)
        or not command
        or not all(isinstance(part, str) and part and "\0" not in part for part in command)
    ):
        raise SettingError(f"{what}: a command is a JSON list of texts, the program first")
    return tuple(command)
