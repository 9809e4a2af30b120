"""What people write who come from other languages, and what it is called here.

Hints read these tables; none of them makes a wrong text right.
"""

from __future__ import annotations

import re

SYNONYMS = {
    # Sections and blocks
    **dict.fromkeys(("operators", "vertex", "component", "service"), "operator"),
    **dict.fromkeys(("metadata", "header"), "meta"),
    **dict.fromkeys(("default", "common", "globals"), "defaults"),
    **dict.fromkeys(
        ("flows", "edges", "logical", "logical-flow", "logical_flow", "logicalflow"), "flow"
    ),
    **dict.fromkeys(("fanout", "fan-out", "broadcast", "scatter", "map"), "distribute"),
    **dict.fromkeys(("join", "merge", "gather", "fanin", "fan-in"), "reduce"),
    **dict.fromkeys(("route", "choose", "choice", "branch", "match"), "switch"),
    **dict.fromkeys(("canary", "weighted", "weights", "ab-test"), "split"),
    # Entries of meta
    **dict.fromkeys(("title", "id", "graph"), "name"),
    **dict.fromkeys(("author", "maintainer", "team", "contact"), "owner"),
    **dict.fromkeys(("desc", "summary", "doc", "about"), "description"),
    **dict.fromkeys(("cron", "interval", "schedule-interval"), "schedule"),
    **dict.fromkeys(("target", "targets", "platforms"), "platform"),
    **dict.fromkeys(("runtime", "backend"), "engine"),
    **dict.fromkeys(("labels", "keywords"), "tags"),
    # Factors
    **dict.fromkeys(("docker", "container", "docker-image", "img"), "image"),
    **dict.fromkeys(("class", "module", "python", "callable"), "entrypoint"),
    **dict.fromkeys(("batchsize", "batch-size", "batch_size", "max-batch", "maxbatch"), "batch"),
    **dict.fromkeys(("state",), "stateful"),
    **dict.fromkeys(("delay", "max-wait", "batch-timeout", "linger"), "wait"),
    **dict.fromkeys(("slo", "sla", "objective"), "latency"),
    **dict.fromkeys(("deadline", "time-limit"), "timeout"),
    **dict.fromkeys(("retry", "attempts"), "retries"),
    **dict.fromkeys(("workers", "instances", "scale", "replica", "concurrency"), "replicas"),
    **dict.fromkeys(("standby", "backups"), "backup"),
    **dict.fromkeys(("cores", "cpus", "core"), "cpu"),
    **dict.fromkeys(("ram", "mem"), "memory"),
    **dict.fromkeys(("gpus", "cuda", "accelerator"), "gpu"),
    **dict.fromkeys(("node", "label", "placement", "machine", "hosts"), "host"),
    **dict.fromkeys(("environment", "environ", "envs", "variable"), "env"),
    **dict.fromkeys(("in", "inputs", "request"), "input"),
    **dict.fromkeys(("out", "outputs", "reply", "response"), "output"),
    **dict.fromkeys(("trainer", "training", "fit"), "train"),
    **dict.fromkeys(("epoch",), "epochs"),
    **dict.fromkeys(("lr", "learningrate", "learning_rate", "rate"), "learning-rate"),
    **dict.fromkeys(("earlystop", "early_stop", "early-stopping", "patience"), "early-stop"),
    **dict.fromkeys(("data", "datasets"), "dataset"),
    **dict.fromkeys(("params", "parameter", "hyperparameter", "hyperparameters"), "param"),
    # Cases
    **dict.fromkeys(("if", "where", "case"), "when"),
    **dict.fromkeys(("else", "default-case", "others"), "otherwise"),
}
"""Word to the word of the language that means it, where one stands that the grammar accepts."""

NO_FACTOR = {
    "stateless": "write 'stateful No'",
    "name": "an operator's name stands after 'operator'",
    "port": "the runtime chooses the ports of its models",
    "dynamic": "write it before the limit: batch dynamic 64",
}
"""Word to a hint, where no factor means the same."""

COMMON_FACTORS = "image, entrypoint, batch, stateful, wait, replicas, memory and env"

ELSE = ("otherwise", "else", "default")
"""Words that people put before the target of the last case."""

JOINERS = ("and", "&", "&&", "+", "|", "||", ";")
"""What people write between names in place of a comma."""

COMMENTS = ("//", "/*")
"""What starts a comment elsewhere."""

NAME_IN_DRESS = re.compile(
    r"""(?P<before>["'`(\[<]*)(?P<name>[A-Za-z][A-Za-z0-9_.-]*)(?P<after>["'`)\]>:;]*)"""
)
"""A name in quotes or brackets, or with a colon after it."""

_UNITS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_TIME_UNITS = {
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hour", "hours"), "h"),
}
_TIME = re.compile(rf"([0-9]+(?:\.[0-9]+)?) ?({'|'.join(_TIME_UNITS)})", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]i?b?)", re.IGNORECASE)
_MILLI_CORES = re.compile(r"([0-9]{1,9})m")
_PYTHON_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_YES = ("1", "y", "on", "enabled", "'yes'", "'true'")
_NO = ("0", "n", "off", "disabled", "none", "'no'", "'false'")


def value_hint(terminal: str, key: str, word: str, after: str) -> str | None:
    """How to write the value that ``word`` was to be, for the factor ``key``; None where nothing
    is known of it. ``after`` is the text behind the word, up to the next separator."""
    bare = word.strip("\"'`;")
    if word[:1] in "\"'`" and bare and word[-1:] in "\"'`" and terminal not in ("PAIR", "VALUE"):
        return f"write it without quotes: {key} {bare}"
    if word.endswith(";") and bare:
        return f"delete the ';': {key} {bare}"
    if terminal == "DURATION" and (time := _TIME.fullmatch(f"{word} {after.strip()}".strip())):
        return f"write '{key} {time[1]}{_TIME_UNITS[time[2].lower()]}'"
    if terminal == "DURATION" and _UNITS.fullmatch(word):
        return f"a time has a unit, ms, s, m or h: {key} {word}ms, {key} {word}s"
    if terminal == "SIZE" and (size := _SIZE.fullmatch(f"{word} {after.strip()}".strip())):
        unit = size[2].lower()
        unit = unit[0].upper() + ("i" if "i" in unit else "") + "B"
        return f"write '{key} {size[1]}{unit}'"
    if terminal in ("VALUE", "PAIR") and word.count('"') % 2:
        return "close the double quotes"
    if terminal == "SIZE" and _UNITS.fullmatch(word):
        return f"an amount of memory has a unit: {key} {word}MiB, {key} {word}GB"
    if terminal == "NUMBER" and (milli := _MILLI_CORES.fullmatch(word)) and key == "cpu":
        return f"write it in cores: cpu {int(milli[1]) / 1000:g}"
    if terminal == "BOOLEAN" and word.lower() in (*_YES, *_NO):
        return f"write '{key} {'Yes' if word.lower() in _YES else 'No'}'"
    if terminal == "PYTHON_NAME":
        return _python_name_hint(key, word)
    if terminal == "PAIR":
        return _pair_hint(key, word, after)
    if terminal == "IMAGE_REFERENCE" and "://" in word:
        return f"write it without '{word.partition('://')[0]}://'"
    if terminal == "PAYLOAD_TYPE" and "[" in word:
        element, _, shape = word.partition("[")
        sizes = re.findall(r"[0-9]+|\?", shape[:100])
        if element.isalnum() and sizes and len(element) < 40:
            return f"a shape has 'x' between its lengths: {key} {element}[{'x'.join(sizes)}]"
    return None


def after_value_hint(terminal: str, value: str, word: str) -> str | None:
    """How to write what stands without a separator after ``value``; None where nothing is
    known of it."""
    if terminal == "BATCH_LIMIT" and word == "dynamic":
        return f"write 'batch dynamic {value}'"
    if terminal == "PAIR" and len(value) + len(word) < 60:
        if "=" in word:
            return f"write the word before each: env {value}, env {word}"
        name, _, start = value.partition("=")
        text = f"{start} {word}".replace("'", "")
        return f'a value with white space stands in double quotes: {name}="{text}"'
    if terminal == "EARLY_STOP" and re.fullmatch(r"[A-Za-z][\w.-]{0,40}", word):
        return f"write 'early-stop {word} {value}'" if len(value) < 20 else None
    if terminal in ("NUMBER", "INTEGER", "BATCH_LIMIT") and word.isalpha():
        return f"delete '{word}'" if len(word) < 40 else None
    if terminal == "VALUE" and len(value) + len(word) < 60:
        return f'a value with white space stands in double quotes: "{value} {word}"'
    if terminal == "NAME" and re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", word) and len(value) < 40:
        return f"a name is one word, such as {value}-{word}"
    return None


def _python_name_hint(key: str, word: str) -> str | None:
    module, colon, name = word.replace("\\", "/").strip("\"'").partition(":")
    module = module.removeprefix("./").removesuffix(".py").replace("/", ".")
    if not colon:
        module, _, name = module.rpartition(".")
    written = f"{module}:{name.removesuffix('()')}"
    if len(written) < 80 and _PYTHON_NAME.fullmatch(written):
        return f"write '{key} {written}'"
    return None


def _pair_hint(key: str, word: str, after: str) -> str | None:
    name = word.rstrip(":=")
    value = after.strip().removeprefix("=").strip()
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,40}", name) and value and len(value) < 40:
        shown = value if re.fullmatch(r"""[^\s"]+|"[^"]*\"""", value) else f'"{value}"'
        return f"write '{key} {name}={shown}'"
    return None
