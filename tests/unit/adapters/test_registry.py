"""Adapters by name: ours, and those of other packages."""

from importlib.metadata import EntryPoint
from typing import Any

import jsonschema_rs
import pytest

from hub_adapter.port import EFFECTIVELY_ONCE, Adapter
from hub_adapter.settings import SettingsError
from services.integrations.adapters import registry
from services.integrations.adapters.tryton.settings import CONFIG_SCHEMA, TrytonSettings

CONFIG: dict[str, Any] = {
    "base_url": "https://erp.example.com",
    "database": "erp",
    "company": 1,
    "web_shop": 1,
    "warehouse": 5,
    "payment_term": 6,
    "uom": 1,
    "currencies": {"CNY": 1},
    "taxes": {"VAT13": 1},
}
SECRETS = {"rest_key": "k"}


@pytest.fixture(autouse=True)
def forget_loaded_adapters() -> None:
    registry.load.cache_clear()


def plug(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    entry = EntryPoint(name=name, value=value, group=registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])


@pytest.mark.parametrize("name", sorted(registry.OURS))
def test_each_of_our_adapters_loads_and_is_what_the_engine_asks_for(name: str) -> None:
    adapter = registry.load(name)
    assert isinstance(adapter, Adapter)
    assert adapter.spec.name == name
    assert registry.load(name) is adapter
    jsonschema_rs.meta.validate(dict(adapter.spec.config_schema))
    assert all("description" in setting for setting in adapter.spec.config_schema["properties"].values())


@pytest.mark.parametrize("name", ["caldav", "ghost", "tryton", "tryton_marketing"])
def test_each_of_them_promises_effectively_once(name: str) -> None:
    assert registry.load(name).spec.guarantee == EFFECTIVELY_ONCE


def test_an_adapter_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, "erp2", "services.integrations.adapters.tryton.adapter:TrytonAdapter")
    assert registry.names() == tuple(sorted(("erp2", *registry.OURS)))
    with pytest.raises(registry.BrokenAdapter, match="calls itself 'tryton'"):
        registry.load("erp2")


def test_another_package_cannot_take_the_name_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, "tryton", "somewhere.else:Thing")
    assert type(registry.load("tryton")).__module__ == "services.integrations.adapters.tryton.adapter"


def test_a_name_nobody_has_is_answered_with_those_there_are() -> None:
    with pytest.raises(registry.UnknownAdapter, match=r"there are: .*tryton"):
        registry.load("sap")


def test_an_adapter_that_does_not_import_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, "bad", "no.such.module:Thing")
    with pytest.raises(registry.BrokenAdapter, match="ModuleNotFoundError"):
        registry.load("bad")
    plug(monkeypatch, "bad", "builtins:object")
    with pytest.raises(registry.BrokenAdapter, match="spec"):
        registry.load("bad")


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"base_url": None}, "base_url"),
        ({"base_url": "erp.example.com"}, "base_url"),
        ({"company": "1"}, "company"),
        ({"company": True}, "company"),
        ({"warehouse": 0}, "warehouse"),
        ({"currencies": {}}, "currencies"),
        ({"taxes": {"VAT13": "one"}}, "taxes"),
        ({"time_zone": "Mars/Base"}, "time_zone"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_and_schema_refuse_the_same_and_name_the_setting(change: dict[str, Any], setting: str) -> None:
    config = {key: value for key, value in {**CONFIG, **change}.items() if value is not None}
    with pytest.raises(SettingsError) as refused:
        TrytonSettings.of(config, SECRETS)
    assert set(refused.value.problems) == {setting}
    if setting != "time_zone":  # which zones there are is not for a schema to know
        assert not jsonschema_rs.is_valid(dict(CONFIG_SCHEMA), config)


def test_complete_settings_are_taken_and_a_missing_secret_is_not() -> None:
    assert TrytonSettings.of({**CONFIG, "allow_private": ["10.0.0.0/8"]}, SECRETS).overlap_s == 600
    assert jsonschema_rs.is_valid(dict(CONFIG_SCHEMA), {**CONFIG, "allow_private": ["10.0.0.0/8"]})
    with pytest.raises(SettingsError, match="rest_key"):
        TrytonSettings.of(CONFIG, {})
