"""The places of a text where a parser can stand, and what has to be there."""

from __future__ import annotations

from enum import Enum


class Place(Enum):
    """Where in a text the parser stands."""

    TOP = "top"
    """Before the first section, at the start of a line."""

    META_ITEM = "meta item"
    """In meta, at the start of an entry."""

    OPERATOR_NAME = "operator name"
    """After ``operator``."""

    AFTER_NAME = "after name"
    """After the name of an operator, before its first factor."""

    OPERATOR_ITEM = "operator item"
    """In an operator, at the start of a factor."""

    VALUE = "value"
    """After the keyword of an entry or a factor."""

    AFTER_VALUE = "after value"
    """After the value of an entry or a factor."""

    AFTER_FLOW = "after flow"
    """After ``flow``."""

    LINE = "line"
    """At the start of a flow line."""

    SOURCES = "sources"
    """After a source in a flow line."""

    NAME = "name"
    """After a comma or an arrow in a flow line."""

    TARGETS = "targets"
    """After a target in a flow line, or the condition or weight of a target."""

    CASE = "case"
    """After a target under ``switch`` or ``split``, where its condition or weight has to be."""

    CONDITION = "condition"
    """After ``when``."""


SECTIONS = (
    "META",
    "DEFAULTS",
    "OPERATOR",
    "FLOW",
    "DISTRIBUTE",
    "REDUCE",
    "SWITCH",
    "SPLIT",
)
"""The terminals that start a section or a block."""

NEEDS = {
    "NAME": ("a name", "a name has letters, digits, '_', '-' and '.', and starts with a letter"),
    "VERSION_TEXT": (
        "a version",
        "a version has letters, digits, '_', '.', '+' and '-', such as 3, 1.2 or test",
    ),
    "IMAGE_REFERENCE": (
        "a container image reference",
        "such as tokenizer:v1 or registry.example:5000/team/tokenizer:v1",
    ),
    "INTEGER": ("a whole number", "such as 2"),
    "BATCH_LIMIT": ("a whole number", "such as 32, or 'dynamic 64' for a limit that adapts"),
    "NUMBER": ("a number", "such as 0.5"),
    "DURATION": ("a time", "such as 5ms, 1.5s, 2m or 1h"),
    "SIZE": ("an amount of memory", "such as 512MiB or 2GB"),
    "LABEL": ("a label", "one word, such as gpu-box"),
    "PAIR": ("NAME=value", "a value with white space or commas stands in double quotes"),
    "PAYLOAD_TYPE": (
        "a payload type",
        "text, json, bytes, a media type such as audio/wav, or a tensor such as fp32[3x224x224]",
    ),
    "PYTHON_NAME": ("package.module:name", "such as models.tokenizer:Tokenizer"),
    "EARLY_STOP": ("a number of epochs", "such as 3, or 'accuracy 3' for another metric than loss"),
    "VALUE": ("a value", "one word, or text in double quotes"),
    "BOOLEAN": ("Yes or No", None),
    "TEXT": ("a text", None),
    "CONDITION": ("a condition", 'such as label == "drowsy"'),
}
"""What each value's terminal is called, and what its form is."""

SHAPES = {
    "distribute": "a distribute line reads: Tokenizer -> Sentiment, Subject",
    "reduce": "a reduce line reads: Sentiment, Subject -> Conclusion",
    "switch": 'a switch reads: Detector -> Fatigue when label == "drowsy", Echo otherwise',
    "split": "a split reads: Router -> v1 90%, v2 10%",
}
"""How a line of each block reads."""


def is_keyword(terminal: str) -> bool:
    """Whether the terminal is a word of the language."""
    return terminal in SECTIONS or terminal.startswith("KEY_")


def keyword(terminal: str) -> str:
    """The word that a keyword's terminal stands for."""
    return terminal.removeprefix("KEY_").lower().replace("_", "-")
