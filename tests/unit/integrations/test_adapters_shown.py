"""What a client is told of an adapter, before it sets up a connection."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.adapters import AdapterList
from contracts.schema import dump
from services.integrations.queries import adapters


@pytest.fixture
def shown() -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in dump(AdapterList, adapters.listed())["items"]}


def test_whose_account_a_record_needs_is_told(shown: dict[str, dict[str, Any]]) -> None:
    assert (shown["caldav"]["accounts"], shown["caldav"]["consent"]) == (["task"], {})


def test_for_which_channel_consent_is_needed_is_told(shown: dict[str, dict[str, Any]]) -> None:
    assert shown["tryton_marketing"]["consent"]["contact"] == "email"
    assert (shown["tryton"]["accounts"], shown["tryton"]["consent"]) == ([], {})
