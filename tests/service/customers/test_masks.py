"""Phone numbers and addresses at the door of customers: masked without the right, and never lost by it."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.context import Subject
from chassis.database import new_id
from contracts import customers as contract
from contracts.depth import Depth
from contracts.errors import Forbidden, Invalid
from contracts.schema import unpack
from tests.service.customers.desk import Desk, person

PHONE, EMAIL = "+8613812345678", "zhang.san@example.com"
MASKED = {"phone": "+86138****5678", "email": "z***@example.com", "wechat_id": "z***8"}
CLEAR = {"phone": PHONE, "email": EMAIL, "wechat_id": "zhangsan8"}


def reader(**rights: Depth) -> Subject:
    """Somebody who reads every customer and contact; `rights` to both of them beside."""
    depths = {entity: {"read": "all", **rights} for entity in ("customer", "contact")}
    return Subject(id=new_id(), kind="user", name="reader", depths=depths)  # type: ignore[arg-type]


def reach_of(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("phone", "email", "wechat_id") if name in record}


@pytest.fixture
def customer(desk: Desk) -> dict[str, Any]:
    return desk.customer(**CLEAR, address={"street": "Nanjing Road 1", "city": "Shanghai"})


def test_a_reader_sees_masks_in_a_customer_and_in_a_list(desk: Desk, customer: dict[str, Any]) -> None:
    by = reader()
    one = desk.call(contract.GET_CUSTOMER, {"id": customer["id"]}, subject=by)
    listed = desk.call(contract.LIST_CUSTOMERS, {"limit": 1}, subject=by)["items"][0]
    for shown in (one, listed):
        assert shown["id"] == customer["id"]
        assert reach_of(shown) == MASKED
        assert (shown["address"]["street"], shown["address"]["city"]) == ("***", "Shanghai")
    clear = desk.call(contract.GET_CUSTOMER, {"id": customer["id"]}, subject=reader(unmask="all"))
    assert reach_of(clear) == CLEAR


def test_a_salesperson_sees_the_own_customers_in_clear_and_others_masked(desk: Desk) -> None:
    rep = Subject(id=new_id(), kind="user", name="rep", depths={
        "customer": {"*": "own", "read": "all"}, "contact": {"*": "own", "read": "all"}})
    own, other = desk.customer(rep, **CLEAR), desk.customer(**CLEAR)
    assert reach_of(own) == CLEAR
    page = desk.call(contract.LIST_CUSTOMERS, {"limit": 2}, subject=rep)["items"]
    assert {one["id"]: reach_of(one) for one in page} == {own["id"]: CLEAR, other["id"]: MASKED}

    contacts = {whose["id"]: desk.call(contract.CREATE_CONTACT, {
        "customer_id": whose["id"], "name": "A", "phone": PHONE, "email": EMAIL}) for whose in (own, other)}
    seen = {one: desk.call(contract.GET_CONTACT, {"id": contacts[one]["id"]}, subject=rep)["phone"] for one in contacts}
    assert seen == {own["id"]: PHONE, other["id"]: "+86138****5678"}


def test_the_contacts_of_a_customer_within_reach_are_in_clear_for_its_salesperson(desk: Desk) -> None:
    rep = Subject(id=new_id(), kind="user", name="rep", depths={"customer": {"*": "own"}, "contact": {"*": "own"}})
    own = desk.customer(rep)
    made = desk.call(contract.CREATE_CONTACT, {"customer_id": own["id"], "name": "A", "email": EMAIL}, subject=rep)
    listed = desk.call(contract.LIST_CONTACTS_OF_CUSTOMER, {"id": own["id"]}, subject=rep)["items"]
    assert [made["email"], listed[0]["email"]] == [EMAIL, EMAIL]


def test_a_change_answers_with_masks_and_announces_what_is_true(desk: Desk, customer: dict[str, Any]) -> None:
    by, request = reader(change="all"), {"id": customer["id"], "expected_version": 1, "changes": {"level": "gold"}}
    for _ in range(2):  # the second time it is the kept answer
        changed = desk.ask(contract.CHANGE_CUSTOMER, request, subject=by, key="gold").value
        assert (changed["level"], reach_of(changed)) == ("gold", MASKED)
    again = desk.call(contract.GET_CUSTOMER, {"id": customer["id"]})
    assert reach_of(again) == CLEAR
    updated = desk.announced(customer["id"])[-1]["data"]
    assert reach_of(unpack(contract.CustomerUpdated, updated)) == CLEAR


def test_who_may_not_see_a_value_may_not_change_it(desk: Desk, customer: dict[str, Any]) -> None:
    by = reader(change="all")
    with pytest.raises(Invalid) as refused:
        desk.call(contract.CHANGE_CUSTOMER, {"id": customer["id"], "expected_version": 1, "changes": {
            "phone": "+8613900000000", "level": "gold"}}, subject=by)
    assert [each["pointer"] for each in refused.value.fields["errors"]] == ["/phone"]
    contact = desk.contact(phone=PHONE)
    with pytest.raises(Invalid):
        desk.call(contract.CHANGE_CONTACT, {"id": contact["id"], "expected_version": 1, "changes": {
            "email": "new@example.com"}}, subject=by)


def test_a_search_by_phone_or_email_finds_only_what_one_may_see(desk: Desk) -> None:
    rep = person("own")
    own, number = desk.customer(rep, phone="+8613800000042"), "138 0000 0042"
    desk.customer(phone="+8613800000042")
    both = Subject(id=rep.id, kind="user", name="rep", depths={"customer": {"read": "all", "unmask": "own"}})
    found = desk.call(contract.LIST_CUSTOMERS, {"phone": number}, subject=both)["items"]
    assert [one["id"] for one in found] == [own["id"]]
    for operation, asked in ((contract.LIST_CUSTOMERS, {"phone": number}), (contract.LIST_CUSTOMERS, {"email": EMAIL}),
                             (contract.LIST_CONTACTS, {"email": EMAIL})):
        with pytest.raises(Forbidden) as refused:
            desk.call(operation, asked, subject=reader())
        assert refused.value.fields["action"] == "unmask"
