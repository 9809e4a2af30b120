"""``python -m hogar_provider status`` is ``airflow hogar status`` for Airflow 3.1, which takes no
commands from providers, as later ones do."""

from __future__ import annotations

import sys


def add_commands() -> None:
    """Give the command ``airflow`` of this process the group ``hogar``."""
    from airflow.cli.cli_parser import ALL_COMMANDS_DICT

    from hogar_provider.cli.definition import get_hogar_cli_commands

    for command in get_hogar_cli_commands():
        ALL_COMMANDS_DICT.setdefault(command.name, command)


def main() -> None:
    """Let Airflow's own command line do it."""
    # Before all else of Airflow: it reads the settings in the order that its parts can be imported.
    from airflow.__main__ import main as airflow

    add_commands()
    sys.argv[1:1] = ["hogar"]
    airflow()


if __name__ == "__main__":
    main()
