"""What a client is told of an adapter, before it sets up a connection."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.context import Subject
from contracts.adapters import AdapterList
from contracts.errors import Invalid
from contracts.schema import dump
from services.integrations.queries import adapters, conflicts, deliveries, routes


@pytest.fixture
def shown() -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in dump(AdapterList, adapters.listed())["items"]}


def test_whose_account_a_record_needs_is_told(shown: dict[str, dict[str, Any]]) -> None:
    assert (shown["caldav"]["accounts"], shown["caldav"]["consent"]) == (["task"], {})


def test_for_which_channel_consent_is_needed_is_told(shown: dict[str, dict[str, Any]]) -> None:
    assert shown["tryton_marketing"]["consent"]["contact"] == "email"
    assert (shown["tryton"]["accounts"], shown["tryton"]["consent"]) == ([], {})


@pytest.mark.parametrize("lists", [conflicts, deliveries, routes], ids=("conflicts", "deliveries", "routes"))
def test_a_list_by_an_entity_that_there_is_not_is_refused_and_names_those_that_there_are(lists: Any) -> None:
    with pytest.raises(Invalid) as refused:
        lists.listed(None, {"entity": "ordr"}, Subject("me", "user", "me"), None)
    [fault] = refused.value.fields["errors"]
    assert fault["pointer"] == "/entity"
    assert fault["message"].startswith("Must be one of: contact, customer, order, product")


@pytest.mark.parametrize("entity", [None, "order", "product"])
def test_what_is_brought_or_read_can_be_listed_by(entity: str | None) -> None:
    adapters.require_entity({"entity": entity})
