"""The section ``[hogar]`` of Airflow's configuration: its options, and what they are set to.

Importing this loads nothing of Airflow. A getter reads the configuration that Airflow has in
memory, so calling one while a DAG is parsed costs microseconds. A value that makes no sense raises
:class:`SettingError`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

SECTION = "hogar"

VERSION_ADDED = "0.1.0"


class SettingError(ValueError):
    """An option of ``[hogar]`` has a value that makes no sense, as a sentence."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option. ``kind`` is Airflow's name of its type, ``default`` and ``example`` are text."""

    kind: str
    default: str
    example: str
    description: str


OPTIONS: dict[str, Option] = {
    "default_conn_id": Option(
        "string",
        "earg_default",
        "earg_gpu_box",
        "The connection of type ``earg`` that is used where none is named: the engine that graphs "
        "are deployed on. ``earg_default`` and ``local`` need not be defined: they are the agent "
        "on this machine.",
    ),
    "images_file": Option(
        "string",
        "images.yaml",
        "models.yaml",
        "The name of the file that maps images to Python classes, for engines without containers. "
        "It is looked for beside a graph's file and in the folders above, up to the DAGs' folder.",
    ),
    "compiled_folder": Option(
        "string",
        "compiled",
        "/srv/compiled",
        "The folder that the task ``compile`` writes the files of other platforms to, in "
        "``graph/version/target/``. A relative one is below ``AIRFLOW_HOME``.",
    ),
    "deploy_timeout": Option(
        "float",
        "300",
        "1200",
        "Seconds that a node may take to start, which is mostly its model's construction.",
    ),
    "probe_timeout": Option(
        "float", "120", "600", "Seconds that a node may take to get ready once it is wired."
    ),
    "drain_timeout": Option(
        "float",
        "60",
        "300",
        "Seconds that a graph may take to answer what it has accepted before it is taken down. "
        "When they have passed it serves again, unless it was to be taken down by force.",
    ),
    "training_folder": Option(
        "string",
        "hogar/training",
        "/mnt/shared/training",
        "Where trainings keep their checkpoints and the trained models. A relative path starts at "
        "AIRFLOW_HOME. Where tasks, or the agents that models run on, are on several machines, it "
        "must be a folder that all of them share.",
    ),
}


def provider_section() -> dict[str, Any]:
    """The section as ``provider_info.schema.json`` wants it."""
    return {
        "description": "What the HOGAR provider does where a DAG does not say it itself.",
        "options": {
            name: {
                "description": option.description,
                "version_added": VERSION_ADDED,
                "type": option.kind,
                "example": option.example,
                "default": option.default,
            }
            for name, option in OPTIONS.items()
        },
    }


def default_conn_id() -> str:
    """The connection that is used where none is named."""
    return _text("default_conn_id")


def images_file() -> str:
    """The name of the images file; it holds no folder."""
    name = _text("images_file")
    if "/" in name or name in (".", ".."):
        raise _wrong("images_file", name, "the name of a file without a folder")
    return name


def compiled_folder() -> str:
    """The folder of compiled files; where it is relative, below ``AIRFLOW_HOME``."""
    return _text("compiled_folder")


def deploy_timeout() -> float:
    """Seconds that a node may take to start."""
    return _seconds("deploy_timeout")


def probe_timeout() -> float:
    """Seconds that a node may take to get ready."""
    return _seconds("probe_timeout")


def drain_timeout() -> float:
    """Seconds that a graph may take to answer what it has accepted."""
    return _seconds("drain_timeout")


def training_folder() -> str:
    """Where trainings keep what they make; a relative path starts at AIRFLOW_HOME."""
    return _text("training_folder")


def _text(name: str) -> str:
    try:
        from airflow.sdk.configuration import conf
    except ImportError:  # Airflow 3.1
        from airflow.configuration import conf

    # With a fallback, as Airflow knows a provider's defaults only in some of its processes.
    return conf.get(SECTION, name, fallback="").strip() or OPTIONS[name].default


def _seconds(name: str) -> float:
    text = _text(name)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise _wrong(name, text, "a number of seconds above 0")
    return seconds


def _wrong(name: str, text: str, wanted: str) -> SettingError:
    return SettingError(f"[{SECTION}] {name} must be {wanted}, not {text!r}.")
