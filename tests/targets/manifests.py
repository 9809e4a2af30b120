"""Kubernetes objects that a target writes, checked with a schema of tests/targets/schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import yaml

import udgl
from udgl.targets import target

SCHEMAS = Path(__file__).parent / "schemas"


def objects(name: str, text: str) -> list[dict[str, Any]]:
    """The objects of the YAML files that the target ``name`` writes for the graph ``text``; raises
    UdglError where it writes none."""
    compilation = target(name).compile_graph(udgl.parse(text, "probe.udgl"))
    found = []
    for file in compilation.files:
        if file.name.endswith(".yaml"):
            found += list(yaml.safe_load_all(file.text))
    assert found
    return found


def check(name: str, found: list[dict[str, Any]]) -> None:
    """Raise where an object is not as the schema ``name`` says, or two have one name."""
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    for one in found:
        validator.validate(one)
    named = [(one["kind"], one["metadata"]["name"]) for one in found]
    assert len(set(named)) == len(named)


def of_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Those of one kind."""
    return [one for one in found if one["kind"] == kind]
