"""The words of the language: sections, blocks, entries and factors, with what each of them means.

Messages, hints, editors and highlighting read them here; the grammar has the same words (a test
holds that). A word's ``value`` is the grammar's terminal of what follows it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """A keyword. ``value`` is empty where no value follows."""

    word: str
    value: str
    meaning: str
    example: str
    repeated: bool = False
    """Whether it may be given several times."""


def _by_word(*words: Word) -> dict[str, Word]:
    return {word.word: word for word in words}


SECTIONS = _by_word(
    Word("meta", "", "What the graph is called: a section of entries.", "meta"),
    Word("defaults", "", "Factors for all operators that do not give them.", "defaults"),
    Word("operator", "NAME", "A vertex of the graph: a section of factors.", "operator Tokenizer"),
    Word("logical", "", "Starts the flows, with 'flow' after it.", "logical flow"),
    Word("flow", "", "Starts the flows.", "flow"),
)
"""What starts a section."""

BLOCKS = _by_word(
    Word(
        "distribute",
        "",
        "Each line has one source; every target gets its reply.",
        "Tokenizer -> Sentiment, Subject",
    ),
    Word(
        "reduce",
        "",
        "Each line has two or more sources; the target gets their replies together.",
        "Sentiment, Subject -> Conclusion",
    ),
    Word(
        "switch",
        "",
        "Each line has one source; a request goes to the first target whose condition on the "
        "source's reply holds.",
        'Detector -> Fatigue when label == "drowsy", Echo otherwise',
    ),
    Word(
        "split",
        "",
        "Each line has one source; a request goes to one target, by the weights.",
        "Router -> v1 90%, v2 10%",
    ),
)
"""What starts a block of flow lines."""

CASES = _by_word(
    Word(
        "when",
        "CONDITION",
        "The case is taken where the condition on the reply holds.",
        'when label == "drowsy" and score >= 0.5',
    ),
    Word("otherwise", "", "The case that takes all other requests; the last one.", "otherwise"),
)
"""What follows a target under ``switch``."""

ENTRIES = _by_word(
    Word("name", "NAME", "What the graph is called; required.", "name SentiAnalyzer"),
    Word("version", "VERSION_TEXT", "Which version of the graph this is; required.", "version 3"),
    Word("description", "TEXT", "What the graph is for, to the end of the line.", "description x"),
    Word("owner", "TEXT", "Who answers for it, to the end of the line.", "owner speech team"),
    Word("tags", "TEXT", "Words to find it by, with commas between.", "tags speech, nlp"),
    Word("schedule", "TEXT", "When it is deployed anew: a cron line or preset.", "schedule @daily"),
    Word(
        "platform",
        "TEXT",
        "Targets to compile to beside EARG, with commas between.",
        "platform kserve",
    ),
    Word(
        "engine",
        "NAME",
        "What the nodes run on: local, docker or kubernetes.",
        "engine docker",
    ),
)
"""What ``meta`` may hold."""

FACTORS = _by_word(
    Word("version", "VERSION_TEXT", "Which version this is; 1 without.", "version 2"),
    Word(
        "image",
        "IMAGE_REFERENCE",
        "The container image that the model runs from; required without 'entrypoint'.",
        "image sent/tokenizer:v1",
    ),
    Word(
        "entrypoint",
        "PYTHON_NAME",
        "A Python model, package.module:Class, in place of an image or beside it.",
        "entrypoint models.tokenizer:Tokenizer",
    ),
    Word(
        "batch",
        "BATCH_LIMIT",
        "The most requests the model gets at once; 1 without. With 'dynamic' the limit adapts and "
        "this is the most. For a training it is the batch size; '64 from epoch 3' after a comma "
        "changes it.",
        "batch dynamic 64",
    ),
    Word("stateful", "BOOLEAN", "Whether the model keeps state between requests.", "stateful Yes"),
    Word("wait", "DURATION", "How long a batch may wait to fill; 0 without.", "wait 5ms"),
    Word(
        "latency",
        "DURATION",
        "How long a batch may compute: what a dynamic batch limit steers by.",
        "latency 50ms",
    ),
    Word("timeout", "DURATION", "How long the model may take for one batch.", "timeout 2s"),
    Word("retries", "INTEGER", "How often a batch that failed is computed again.", "retries 2"),
    Word("replicas", "INTEGER", "How many models share the operator's requests.", "replicas 2"),
    Word("backup", "INTEGER", "Backups of a stateful operator: 0 or 1.", "backup 1"),
    Word("cpu", "NUMBER", "CPU cores of one model.", "cpu 0.5"),
    Word("memory", "SIZE", "Memory of one model.", "memory 512MiB"),
    Word("gpu", "INTEGER", "GPUs of one model.", "gpu 1"),
    Word("host", "LABEL", "Label of the hosts that it may be placed on.", "host gpu-box"),
    Word("env", "PAIR", "An environment variable of the model.", "env LANG=en", repeated=True),
    Word("input", "PAYLOAD_TYPE", "Type of a request.", "input audio/wav"),
    Word("output", "PAYLOAD_TYPE", "Type of a reply.", "output fp32[10]"),
    Word(
        "train",
        "PYTHON_NAME",
        "The function, package.module:function, that trains the model before it serves.",
        "train models.digits:train",
    ),
    Word("epochs", "INTEGER", "How many epochs a training takes; 1 without.", "epochs 10"),
    Word("learning-rate", "NUMBER", "The training's learning rate.", "learning-rate 0.01"),
    Word(
        "early-stop",
        "EARLY_STOP",
        "Ends a training after so many epochs without a better loss, or another metric.",
        "early-stop accuracy 3",
    ),
    Word("dataset", "VALUE", "What the training reads: a path, an address.", "dataset a.npz"),
    Word("param", "PAIR", "A parameter of the training.", "param layers=2", repeated=True),
)
"""What an operator, and ``defaults``, may hold."""

TRAINING_FACTORS = ("epochs", "learning-rate", "early-stop", "dataset", "param")
"""The factors that say something of ``train`` alone."""

NOT_IN_DEFAULTS = ("image", "entrypoint", "train")
"""The factors that no two operators share."""
