"""What Airflow is told of the provider."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import distribution
from importlib.resources import files
from inspect import isabstract
from pkgutil import walk_packages

import jsonschema
import pytest
from airflow.dag_processing.bundles.base import BaseDagBundle
from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator
from airflow.triggers.base import BaseTrigger

import hogar_provider
from hogar_provider import get_provider_info
from hogar_provider.configuration import OPTIONS
from tests.hogar_provider.folders import ROOT, TAKES_COMMANDS


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


def test_all_that_the_provider_adds_is_named_in_the_info() -> None:
    info = get_provider_info()
    kinds: dict[str, type] = {
        "operators": BaseOperator,
        "sensors": BaseSensorOperator,
        "triggers": BaseTrigger,
        "hooks": BaseHook,
        "bundles": BaseDagBundle,
    }
    there: dict[str, set[str]] = {kind: set() for kind in (*kinds, "extra-links")}
    for found in walk_packages(hogar_provider.__path__, "hogar_provider."):
        # A module called base holds what others derive from.
        if found.name.endswith(".base"):
            continue
        for name, value in vars(import_module(found.name)).items():
            if not isinstance(value, type) or value.__module__ != found.name or isabstract(value):
                continue
            if issubclass(value, BaseOperatorLink):
                there["extra-links"].add(f"{found.name}.{name}")
            for kind, base in kinds.items():
                if issubclass(value, base) and not (
                    kind == "operators" and issubclass(value, BaseSensorOperator)
                ):
                    there[kind].add(found.name)
    for kind in kinds:
        named = {name for entry in info.get(kind, ()) for name in entry["python-modules"]}
        assert named == there[kind], kind
    assert set(info.get("extra-links", ())) == there["extra-links"]


def test_airflow_takes_the_settings_and_the_commands() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    sections = dict(manager.provider_configs)["airflow-provider-hogar"]
    assert set(sections["hogar"]["options"]) == set(OPTIONS)
    if not TAKES_COMMANDS:
        return
    functions = {function.__module__ for function in manager.cli_command_functions}
    assert "hogar_provider.cli.definition" in functions


def test_airflow_offers_the_connection_type_with_its_field() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    hook = manager.hooks["earg"]
    assert hook is not None
    assert hook.hook_class_name == "hogar_provider.hooks.earg.EargHook"
    assert (hook.hook_name, hook.connection_id_attribute_name) == ("EARG", "earg_conn_id")
    assert "extra__earg__home" in manager.connection_form_widgets
    assert "host" in manager.field_behaviours["earg"]["hidden_fields"]
