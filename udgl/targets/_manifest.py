"""What targets for Kubernetes have in common: names, labels, resources, and YAML with comments."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from udgl.graph import Operator, ServingGraph, Span

Object = dict[str, Any]
"""A Kubernetes object, its keys in the order in which they are written."""

LONGEST_NAME = 53
"""Characters of an object's name: platforms add a suffix of up to 10 to make one of 63."""

MANAGER = "hogar"
"""The value of ``app.kubernetes.io/managed-by``, and the prefix of labels and annotations of our
own."""


def label_name(text: str) -> str:
    """``text`` as a DNS label (RFC 1123): small letters, digits and ``-``, a letter first."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not name or not name[0].isalpha():
        name = f"g-{name}".rstrip("-")
    if len(name) > LONGEST_NAME:
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        name = f"{name[: LONGEST_NAME - 9].rstrip('-')}-{digest}"
    return name


def object_names(graph: ServingGraph) -> dict[str, str]:
    """A name for each operator's objects, ``graph-operator``: no two are the same."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for operator in graph.operators:
        whole = f"{graph.name}-{operator.name}"
        name = label_name(whole)
        if name in taken:
            # Two names that differ in "_", "." and "-" alone.
            digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
            name = f"{name[: LONGEST_NAME - 9].rstrip('-')}-{digest}"
        taken.add(name)
        names[operator.name] = name
    return names


def label_value(text: str) -> str:
    """``text`` as a label's value: at most 63 letters, digits, ``-``, ``_`` and ``.``."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:63].strip("-_.")


def labels(graph: ServingGraph, operator: Operator | None = None) -> dict[str, str]:
    """Kubernetes' recommended labels of an object of ``graph``, or of its ``operator``."""
    return {
        "app.kubernetes.io/name": label_value(operator.name if operator else graph.name),
        "app.kubernetes.io/version": label_value(operator.version if operator else graph.version),
        "app.kubernetes.io/part-of": label_value(graph.name),
        "app.kubernetes.io/managed-by": MANAGER,
    }


def graph_annotations(graph: ServingGraph) -> dict[str, str]:
    """What ``meta`` says for people."""
    entries = (
        ("description", graph.description),
        ("owner", graph.owner),
        ("tags", ", ".join(graph.tags) or None),
    )
    return {f"{MANAGER}/{word}": text for word, text in entries if text}


def operator_annotations(operator: Operator) -> dict[str, str]:
    """The payload types, which Kubernetes has no field for."""
    entries = (("input", operator.input), ("output", operator.output))
    return {f"{MANAGER}/{word}": text for word, text in entries if text}


def metadata(
    name: str, labels: dict[str, str], annotations: dict[str, str] | None = None
) -> Object:
    """An object's ``metadata``."""
    found: Object = {"name": name, "labels": labels}
    if annotations:
        found["annotations"] = annotations
    return found


def resources(operator: Operator) -> Object:
    """``resources`` of a container: what is asked for is what is given."""
    amounts: dict[str, str] = {}
    if operator.cpu is not None:
        amounts["cpu"] = cpu_quantity(operator.cpu)
    if operator.memory is not None:
        amounts["memory"] = memory_quantity(operator.memory)
    if operator.gpu:
        amounts["nvidia.com/gpu"] = str(operator.gpu)
    return {"requests": dict(amounts), "limits": dict(amounts)} if amounts else {}


def cpu_quantity(cores: float) -> str:
    """Cores as Kubernetes writes them, at least a thousandth."""
    milli = max(1, round(cores * 1000))
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


def memory_quantity(size: int) -> str:
    """Bytes as Kubernetes writes them."""
    for power, unit in ((40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if size % 2**power == 0:
            return f"{size >> power}{unit}"
    return str(size)


def environment(operator: Operator) -> list[Object]:
    """``env`` of a container."""
    return [{"name": name, "value": value} for name, value in operator.env]


def node_selector(operator: Operator) -> dict[str, str]:
    """``nodeSelector`` of a pod: ``host gpu-box`` is the label ``hogar/host=gpu-box``, ``host
    zone=a`` is the label ``zone=a``."""
    if operator.host is None:
        return {}
    key, found, value = operator.host.partition("=")
    return {key: value} if found else {f"{MANAGER}/host": key}


def whole_seconds(seconds: float) -> int:
    """The whole seconds that ``seconds`` fit in."""
    return max(1, -int(-seconds // 1))


def milliseconds(seconds: float) -> int:
    """The whole milliseconds that ``seconds`` fit in."""
    return max(1, -int(-round(seconds * 1000, 6) // 1))


def place(graph: ServingGraph, span: Span | None) -> str:
    """``file:line`` for comments; the file's folder is left out, so that the text is the same on
    every machine, and so is what would end the comment."""
    name = re.split(r"[/\\]", graph.source)[-1]
    name = "".join(c if c.isprintable() else "?" for c in name)
    return name if span is None else f"{name}:{span.line}"


def documents(objects: Iterable[tuple[str, Object]]) -> str:
    """YAML documents, each under its comment."""
    return "".join(f"---\n# {comment}\n{to_yaml(one)}" for comment, one in objects)


def to_yaml(value: Object | Sequence[Any]) -> str:
    """YAML in block style, keys in their order, every line of text on one line."""
    import yaml

    text: str = yaml.dump(
        value,
        Dumper=_dumper(),
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=10_000,
    )
    return text


@cache
def _dumper() -> Any:
    import yaml

    class Plain(yaml.SafeDumper):
        """Lists are indented below their key, and no anchors are made of equal parts."""

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, data: str) -> Any:
        # Whole files, as a ConfigMap holds them.
        style = "|" if data.endswith("\n") else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Plain.add_representer(str, text)
    return Plain
