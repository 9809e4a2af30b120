"""What Airflow is told of the provider."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import distribution
from importlib.resources import files

import jsonschema
import pytest
from airflow.sdk import BaseHook, BaseOperator

from hogar_provider import get_provider_info
from tests.hogar_provider.folders import ROOT


def test_the_info_is_valid_for_airflow() -> None:
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_the_info_can_be_had_without_importing_anything() -> None:
    code = (
        "import sys, hogar_provider; hogar_provider.get_provider_info(); "
        "print(sorted({'airflow', 'udgl', 'earg', 'lark', 'grpc', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_airflow_finds_the_provider_and_the_plugin_by_their_entry_points() -> None:
    points = distribution("airflow-provider-hogar").entry_points
    (provider,) = points.select(group="apache_airflow_provider")
    assert provider.load() is get_provider_info
    (plugin,) = points.select(group="airflow.plugins")
    assert plugin.name == plugin.load().name == "hogar"


@pytest.mark.parametrize(("kind", "base"), [("operators", BaseOperator), ("hooks", BaseHook)])
def test_every_module_named_in_the_info_holds_what_it_is_named_for(kind: str, base: type) -> None:
    modules = [name for entry in get_provider_info()[kind] for name in entry["python-modules"]]
    assert modules
    for name in modules:
        own = [value for value in vars(import_module(name)).values() if isinstance(value, type)]
        assert any(issubclass(cls, base) and cls.__module__ == name for cls in own), name


def test_every_operator_module_is_named_in_the_info() -> None:
    named = {name for e in get_provider_info()["operators"] for name in e["python-modules"]}
    there = {
        f"hogar_provider.operators.{path.stem}"
        for path in (ROOT / "hogar_provider/operators").glob("*.py")
        if path.stem not in {"__init__", "base"}
    }
    assert named == there


def test_airflow_offers_the_connection_type_with_its_field() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    hook = manager.hooks["earg"]
    assert hook is not None
    assert hook.hook_class_name == "hogar_provider.hooks.earg.EargHook"
    assert (hook.hook_name, hook.connection_id_attribute_name) == ("EARG", "earg_conn_id")
    assert "extra__earg__home" in manager.connection_form_widgets
    assert "host" in manager.field_behaviours["earg"]["hidden_fields"]
