"""The section [hogar]: what it is set to, and what Airflow is told of it."""

from __future__ import annotations

import inspect

import pytest

from hogar_provider import configuration, get_provider_info
from hogar_provider.configuration import OPTIONS, SettingError


def test_every_option_has_a_getter_whose_default_is_the_documented_one() -> None:
    for name, option in OPTIONS.items():
        getter = getattr(configuration, name)
        assert str(getter()) in (option.default, f"{option.default}.0"), name
        assert inspect.getdoc(getter)


def test_airflow_is_told_every_option() -> None:
    from airflow.configuration import conf
    from airflow.providers_manager import ProvidersManager

    ProvidersManager().initialize_providers_configuration()
    for name, option in OPTIONS.items():
        assert conf.get("hogar", name) == option.default
    (section,) = get_provider_info()["config"].values()
    assert set(section["options"]) == set(OPTIONS)


def test_an_option_that_is_set_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__HOGAR__DRAIN_TIMEOUT", "2.5")
    monkeypatch.setenv("AIRFLOW__HOGAR__IMAGES_FILE", " models.yaml ")
    monkeypatch.setenv("AIRFLOW__HOGAR__MAX_GRAPH_FILES", "7")
    assert configuration.drain_timeout() == 2.5
    assert configuration.images_file() == "models.yaml"
    assert configuration.max_graph_files() == 7


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("drain_timeout", "soon", "[hogar] drain_timeout must be a number of seconds above 0"),
        ("probe_timeout", "-1", "not '-1'"),
        ("deploy_timeout", "inf", "not 'inf'"),
        ("images_file", "a/b.yaml", "the name of a file without a folder"),
        ("max_graph_files", "0", "a whole number of 1 or more, not '0'"),
    ],
)
def test_a_value_that_makes_no_sense_is_a_sentence(
    name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AIRFLOW__HOGAR__{name.upper()}", value)
    with pytest.raises(SettingError) as caught:
        getattr(configuration, name)()
    assert sentence in str(caught.value)
