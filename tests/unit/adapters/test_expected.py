"""What an adapter says that `get` will tell of a record is what the target's own row is told as."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from hub_adapter.failure import Invalid
from hub_adapter.port import Adapter, Context
from services.integrations.adapters import registry
from services.integrations.adapters.caldav import mapping as tasks
from services.integrations.adapters.ghost import mapping as members
from services.integrations.adapters.tryton import mapping as parties
from services.integrations.adapters.tryton_marketing import mapping as subscriptions

NO_CALL = cast("Context", None)
GRANTED = {"email": {"state": "granted", "at": "2026-11-22T08:00:00.000000Z"}}


def expected(adapter: str, entity: str, body: dict[str, Any]) -> Any:
    told: Adapter = registry.load(adapter)
    return told.expected(NO_CALL, entity, body)


def test_a_party_is_told_as_expected_in_whatever_form_the_erp_keeps_its_contacts() -> None:
    body = {"name": " 上海示例有限公司 ", "email": "Info@Example.cn", "phone": "+86 138-0013 8000",
            "address": {"street": "南京路 1 号", "city": "上海"}, "owner_id": "u1"}
    contact = {"active": True, "type": "", "id": 1}
    party = {"name": "上海示例有限公司", "code": "c1",
             "addresses.": [{"id": 7, "active": True, "street": "南京路 1 号", "city": "上海", "postal_code": ""}],
             "contact_mechanisms.": [
                 contact | {"type": "email", "name": "hub:email", "value": "info@example.cn", "value_compact": None},
                 contact | {"type": "mobile", "name": "hub:mobile", "value": "+86 138 0013 8000",
                            "value_compact": "+8613800138000"}]}
    assert expected("tryton", "customer", body) == parties.customer_of(party)


def test_an_address_that_the_hub_does_not_have_is_the_erps_own() -> None:
    assert expected("tryton", "customer", {"name": "x"}) == {"name": "x", "email": None, "phone": None}


def test_of_a_sale_the_hub_owns_the_key_and_of_a_product_nothing() -> None:
    assert expected("tryton", "order", {"id": "o1", "number": "SO-1", "lines": []}) == {"id": "o1"}
    assert expected("tryton", "product", {"sku": "A"}) == {}


def test_a_task_is_told_as_expected_after_it_went_through_a_calendar() -> None:
    body = {"id": "t1", "title": "带备用水泵上门\r\n", "description": "a\u2028b", "progress": 40, "status": "done",
            "due_at": "2026-12-01T17:00:00.123+08:00", "priority": "high", "completed_at": "2026-11-30T09:00:00Z"}
    calendar = tasks.new_calendar("hub-1", "t1", tasks.wanted_task(body), datetime(2026, 11, 22, tzinfo=UTC))
    told = tasks.read_task(tasks.task_in(tasks.parse(calendar)), ZoneInfo("Asia/Shanghai")).body()
    assert expected("caldav", "task", body) == told


def test_when_a_task_was_done_is_left_to_the_calendar_if_the_hub_does_not_know() -> None:
    assert "completed_at" not in expected("caldav", "task", {"title": "x", "status": "done"})


def test_a_member_and_a_subscription_are_told_as_expected() -> None:
    body = {"name": "李雷", "email": " Li@Example.CN ", "consent": GRANTED, "tags": ["a"]}
    member = {"email": "li@example.cn", "name": "李雷", "newsletters": [{"id": "n"}]}
    assert expected("ghost", "contact", body) == members.body_of(member, "n", None)
    row = subscriptions.Subscription(id=1, email="li@example.cn", active=True, changed_at=datetime.now(UTC),
                                     changed_by=None)
    told = subscriptions.body_of(row, None)
    del told["consent"]["email"]["at"]  # is the ERP's own clock
    assert expected("tryton_marketing", "contact", body) == told


@pytest.mark.parametrize("adapter", ["ghost", "tryton_marketing"])
def test_nobody_is_expected_there_without_consent(adapter: str) -> None:
    with pytest.raises(Invalid):
        expected(adapter, "contact", {"email": "li@example.cn", "consent": {}})
