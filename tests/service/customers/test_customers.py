"""Customers, over a real broker and both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from chassis.context import Subject
from chassis.database import new_id
from chassis.outbox import OUTBOX
from contracts import customers as contract
from contracts import errors
from services.customers.models import Base
from tests.service.customers.desk import Desk
from tests.support.rooms import ADMIN, Rooms, forget

LI = {"name": "李雷", "phone": "138 0013 8000", "email": "Li.Lei@Example.com",
      "address": {"street": "南京路1号", "city": "上海"}}


PAST: set[str] = set()
"""What was announced in the tests before."""


@pytest.fixture
def hub(desk: Desk) -> Rooms:
    """The customers room on each database, which knows of nobody yet."""
    PAST.update(forget(desk.db, Base.metadata))
    return desk.rooms


def rep(**more: Any) -> Subject:
    """A salesperson who sees own customers only."""
    depths = {"customer": {"read": "own", "create": "own", "change": "own"}}
    return Subject(**{"id": new_id(), "kind": "user", "name": "rep", "depths": depths, **more})


def outbox_of(hub: Rooms) -> list[Any]:
    with hub.running["customers"].runtime.db.read() as session:
        return [row for row in session.execute(select(OUTBOX).order_by(OUTBOX.c.id)) if row.id not in PAST]


def test_a_created_customer_reads_back_as_it_was_written(hub: Rooms) -> None:
    created = hub.call(contract.CREATE_CUSTOMER, LI)
    read = hub.call(contract.GET_CUSTOMER, {"id": created["id"]})
    assert read == created
    assert (read["phone"], read["email"]) == ("+8613800138000", "li.lei@example.com")
    assert read["address"]["street"] == "南京路1号"


def test_a_name_alone_is_refused_and_says_what_to_give(hub: Rooms) -> None:
    with pytest.raises(errors.Invalid, match="refused") as caught:
        hub.caller.call(contract.CREATE_CUSTOMER, {"name": "nobody"}, subject=ADMIN, request_id=new_id())
    assert "phone, email and wechat_id" in caught.value.fields["errors"][0]["message"]


def test_everything_that_is_wrong_with_a_new_customer_is_told_at_once(hub: Rooms) -> None:
    asked = {"name": "x", "phone": "12", "email": "nobody", "team_id": new_id()}
    with pytest.raises(errors.Invalid) as caught:
        hub.call(contract.CREATE_CUSTOMER, asked, subject=rep())
    assert [fault["pointer"] for fault in caught.value.fields["errors"]] == ["/phone", "/email", "/team_id"]
    assert outbox_of(hub) == []


def test_a_phone_number_that_cannot_exist_is_refused_by_its_field(hub: Rooms) -> None:
    with pytest.raises(errors.Invalid) as caught:
        hub.call(contract.CREATE_CUSTOMER, {"name": "x", "phone": "12"})
    assert caught.value.fields["errors"][0]["pointer"] == "/phone"
    assert outbox_of(hub) == []


def test_a_change_of_the_version_read_raises_it_and_is_announced_once(hub: Rooms) -> None:
    created = hub.call(contract.CREATE_CUSTOMER, LI)
    asked = {"id": created["id"], "expected_version": 1, "changes": {"name": "韩梅梅"}}
    changed = hub.call(contract.CHANGE_CUSTOMER, asked)
    assert (changed["version"], changed["name"], changed["phone"]) == (2, "韩梅梅", "+8613800138000")
    with pytest.raises(errors.StaleVersion) as caught:
        hub.call(contract.CHANGE_CUSTOMER, {"id": created["id"], "expected_version": 1, "changes": {"name": "late"}})
    assert caught.value.fields == {"version": 2}
    assert [row.routing_key for row in outbox_of(hub)] == ["customer.created", "customer.updated"]


def test_a_change_of_nothing_is_no_change(hub: Rooms) -> None:
    created = hub.call(contract.CREATE_CUSTOMER, LI)
    same = hub.call(contract.CHANGE_CUSTOMER, {"id": created["id"], "expected_version": 1, "changes": {"name": "李雷"}})
    assert same["version"] == 1
    assert len(outbox_of(hub)) == 1


def test_the_same_key_twice_makes_one_customer_and_the_same_answer(hub: Rooms) -> None:
    first = hub.ask(contract.CREATE_CUSTOMER, LI, key="k-1")
    again = hub.ask(contract.CREATE_CUSTOMER, LI, key="k-1")
    assert (first.replayed, again.replayed) == (False, True)
    assert again.value == first.value
    assert len(outbox_of(hub)) == 1
    with pytest.raises(errors.IdempotencyMismatch):
        hub.ask(contract.CREATE_CUSTOMER, {**LI, "name": "other"}, key="k-1")


def test_customers_are_listed_by_name_whatever_the_case_of_its_letters(hub: Rooms) -> None:
    rep = Subject(id=new_id(), kind="user", name="rep", depths={"customer": {"*": "own"}})
    for name in ("beta", "Gamma", "alpha", "Äther"):
        hub.call(contract.CREATE_CUSTOMER, {"name": name, "phone": "+8613800138000"}, subject=rep)
    found, cursor = [], None
    while True:
        page = hub.call(contract.LIST_CUSTOMERS, {"limit": 3, "cursor": cursor, "sort": "name"}, subject=rep)
        found += [customer["name"] for customer in page["items"]]
        if not (cursor := page["next"]):
            break
    assert found == ["alpha", "beta", "Gamma", "Äther"]


def test_a_rep_sees_own_customers_only_in_get_list_and_change(hub: Rooms) -> None:
    mine, theirs = rep(), rep()
    own = hub.call(contract.CREATE_CUSTOMER, LI, subject=mine)
    assert [c["id"] for c in hub.call(contract.LIST_CUSTOMERS, subject=mine)["items"]] == [own["id"]]
    assert hub.call(contract.LIST_CUSTOMERS, subject=theirs)["items"] == []
    with pytest.raises(errors.NotFound):
        hub.call(contract.GET_CUSTOMER, {"id": own["id"]}, subject=theirs)
    assert hub.call(contract.LIST_CONTACTS_OF_CUSTOMER, {"id": own["id"]}, subject=mine)["items"] == []
    for id in (own["id"], new_id()):
        with pytest.raises(errors.NotFound):
            hub.call(contract.LIST_CONTACTS_OF_CUSTOMER, {"id": id}, subject=theirs)
    with pytest.raises(errors.NotFound):
        hub.call(contract.CHANGE_CUSTOMER, {"id": own["id"], "expected_version": 1, "changes": {}}, subject=theirs)


def test_pages_hold_every_customer_once_though_rows_are_added_meanwhile(hub: Rooms) -> None:
    made = [hub.call(contract.CREATE_CUSTOMER, {"name": f"c{n}", "wechat_id": f"w{n}"})["id"] for n in range(7)]
    seen, cursor = [], None
    while True:
        page = hub.call(contract.LIST_CUSTOMERS, {"limit": 2, "cursor": cursor, "sort": "created_at"})
        seen += [c["id"] for c in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        if len(seen) == 4:
            made.append(hub.call(contract.CREATE_CUSTOMER, {"name": "late", "wechat_id": "late"})["id"])
    assert seen == made
    with pytest.raises(errors.InvalidCursor):
        hub.call(contract.LIST_CUSTOMERS, {"cursor": "v1.forged", "limit": 2})


def test_customers_are_found_by_phone_however_it_is_typed_and_by_the_start_of_the_name(hub: Rooms) -> None:
    made = hub.call(contract.CREATE_CUSTOMER, LI)
    hub.call(contract.CREATE_CUSTOMER, {"name": "Other", "email": "o@example.com"})
    for filters in ({"phone": "+86-138-0013-8000"}, {"email": "LI.LEI@example.com"}, {"q": "李"}):
        assert [c["id"] for c in hub.call(contract.LIST_CUSTOMERS, filters)["items"]] == [made["id"]]


def test_one_contact_at_most_is_primary(hub: Rooms) -> None:
    customer = hub.call(contract.CREATE_CUSTOMER, LI)
    first = hub.call(contract.CREATE_CONTACT, {"customer_id": customer["id"], "name": "A"})
    second = hub.call(contract.CREATE_CONTACT, {"customer_id": customer["id"], "name": "B", "primary": True})
    assert (first["primary"], second["primary"]) == (True, True)
    listed = hub.call(contract.LIST_CONTACTS, {"customer_id": customer["id"]})["items"]
    assert [(c["name"], c["primary"]) for c in listed] == [("A", False), ("B", True)]


def test_a_contact_that_steps_down_is_changed_like_any_other(hub: Rooms) -> None:
    customer = hub.call(contract.CREATE_CUSTOMER, LI)
    first = hub.call(contract.CREATE_CONTACT, {"customer_id": customer["id"], "name": "A"})
    second = hub.call(contract.CREATE_CONTACT, {"customer_id": customer["id"], "name": "B"})
    asked = {"id": second["id"], "expected_version": 1, "changes": {"primary": True}}
    assert hub.call(contract.CHANGE_CONTACT, asked)["primary"]
    former = hub.call(contract.GET_CONTACT, {"id": first["id"]})
    assert (former["primary"], former["version"]) == (False, 2)
    told = [row.subject for row in outbox_of(hub) if row.routing_key == "contact.updated"]
    assert sorted(told) == sorted([first["id"], second["id"]])


def test_nobody_puts_a_customer_where_they_may_not(hub: Rooms) -> None:
    team = new_id()
    mine = rep(teams=(team,), tree=(team,))
    own = hub.call(contract.CREATE_CUSTOMER, LI, subject=mine)
    assert own["team_id"] == team
    for changes, pointer in (({"owner_id": new_id()}, "/owner_id"), ({"team_id": None}, "/team_id"),
                             ({"team_id": new_id()}, "/team_id")):
        with pytest.raises(errors.Invalid) as caught:
            hub.call(contract.CHANGE_CUSTOMER, {"id": own["id"], "expected_version": 1, "changes": changes},
                     subject=mine)
        assert caught.value.fields["errors"][0]["pointer"] == pointer
    with pytest.raises(errors.Invalid):
        hub.call(contract.CREATE_CUSTOMER, {**LI, "team_id": new_id()}, subject=mine)
    manager = rep(teams=(team,), tree=(team,), depths={"customer": {"*": "tree"}})
    given = hub.call(contract.CHANGE_CUSTOMER, {"id": own["id"], "expected_version": 1,
                                                "changes": {"owner_id": manager.id}}, subject=manager)
    assert given["owner_id"] == manager.id


def test_a_kept_answer_is_not_given_to_whoever_lost_sight_of_the_record(hub: Rooms) -> None:
    mine = rep()
    own = hub.call(contract.CREATE_CUSTOMER, LI, subject=mine, key="k-lost")
    assert hub.ask(contract.CREATE_CUSTOMER, LI, subject=mine, key="k-lost").replayed
    hub.call(contract.CHANGE_CUSTOMER, {"id": own["id"], "expected_version": 1, "changes": {"owner_id": new_id()}})
    with pytest.raises(errors.NotFound):
        hub.ask(contract.CREATE_CUSTOMER, LI, subject=mine, key="k-lost")


def test_one_key_serves_two_records(hub: Rooms) -> None:
    made = [hub.call(contract.CREATE_CUSTOMER, {"name": n, "wechat_id": n})["id"] for n in ("a", "b")]
    for id in made:
        asked = {"id": id, "expected_version": 1, "changes": {"level": "A"}}
        assert not hub.ask(contract.CHANGE_CUSTOMER, asked, key="same").replayed


def test_what_is_stored_holds_no_phone_or_email_in_clear(hub: Rooms) -> None:
    hub.call(contract.CREATE_CUSTOMER, LI, key="k")
    runtime = hub.running["customers"].runtime
    with runtime.db.read() as session:
        rows = [str(row) for table in ("customer", "outbox", "idempotency", "field_change")
                for row in session.connection().exec_driver_sql(f"SELECT * FROM {table}")]
    assert rows
    assert not [row for row in rows if "13800138000" in row or "li.lei" in row or "南京路" in row]
