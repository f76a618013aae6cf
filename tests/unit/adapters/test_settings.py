"""What any adapter asks of a connection's settings: all that is wrong is named at once."""

from __future__ import annotations

from hub_adapter.failure import ErrorClass
from hub_adapter.port import Problem
from hub_adapter.settings import SettingsError, problems_of

SCHEMA = {"required": ["base_url", "list", "codes"], "properties": dict.fromkeys(("base_url", "list", "codes", "zone"))}


def test_what_is_missing_unknown_or_no_address_is_named_at_once() -> None:
    config = {"base_url": "erp.example.com", "list": 0, "codes": {}, "colour": "red"}
    assert problems_of(config, {"key": ""}, SCHEMA, ("key",)) == {
        "colour": "is not a setting of this adapter", "codes": "is missing", "key": "is missing",
        "base_url": "has to begin with http:// or https://"}
    assert problems_of({}, {"key": "k"}, SCHEMA, ("key",)) == dict.fromkeys(SCHEMA["required"], "is missing")
    assert problems_of({"list": 1}, {}, {}, ()) == {"list": "is not a setting of this adapter"}
    right = {"base_url": "https://erp.example.com", "list": 1, "codes": {"a": 1}}
    assert problems_of(right, {"key": "k"}, SCHEMA, ("key",)) == {}


def test_a_call_with_settings_that_cannot_be_used_waits_and_a_check_names_them() -> None:
    error = SettingsError({"list": "is missing", "zone": "is no IANA time zone"})
    assert error.failure.error_class == ErrorClass.TRANSIENT
    assert str(error) == "the connection's settings cannot be used: list: is missing; zone: is no IANA time zone"
    assert error.result.problems == (Problem("list", "is missing"), Problem("zone", "is no IANA time zone"))
