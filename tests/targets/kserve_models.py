"""Builds objects with the model classes of the kserve package, in an environment that has it.

python kserve_models.py < OBJECTS: a JSON list of objects of KServe; fails where a field is unknown
to its class or of another type, or the class refuses a value. Importing the package itself would
need a whole server: its models are loaded by themselves.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

PLAIN = {"str": str, "int": int, "bool": bool, "float": float}


def load() -> tuple[Any, Any]:
    """KServe's models, and those of Kubernetes that they have as fields."""
    spec = importlib.util.find_spec("kserve")
    assert spec is not None
    assert spec.origin is not None
    package = types.ModuleType("kserve")
    package.__path__ = [str(Path(spec.origin).parent)]
    sys.modules["kserve"] = package
    import kserve.models
    import kubernetes.client

    return kserve.models, kubernetes.client


def build(kind: str, value: Any, where: str, modules: tuple[Any, Any]) -> None:
    """Build ``value`` as a ``kind``, which is written as in the classes' ``openapi_types``."""
    if kind == "object":
        return
    if kind in PLAIN:
        assert type(value) is PLAIN[kind], f"{where} is {value!r}, not {kind}"
    elif match := re.fullmatch(r"[lL]ist\[(.*)\]", kind):
        for number, one in enumerate(value):
            build(match[1], one, f"{where}[{number}]", modules)
    elif match := re.fullmatch(r"[dD]ict[(\[]\w+, (.*)[)\]]", kind):
        for key, one in value.items():
            build(match[1], one, f"{where}.{key}", modules)
    else:
        made = getattr(modules[0], kind, None) or getattr(modules[1], kind, None)
        assert made is not None, f"{where} is of the unknown kind {kind}"
        fields = {key: field for field, key in made.attribute_map.items()}
        for key, one in value.items():
            assert key in fields, f"{where}.{key} is unknown to {kind}"
            build(made.openapi_types[fields[key]], one, f"{where}.{key}", modules)
        made(**{fields[key]: one for key, one in value.items()})


def main() -> None:
    modules = load()
    for one in json.load(sys.stdin):
        version = one["apiVersion"].partition("/")[2].capitalize()
        build(version + one["kind"], one, f"{one['kind']} {one['metadata']['name']}", modules)


if __name__ == "__main__":
    main()
