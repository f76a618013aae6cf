"""Whoever is shown what is masked for others, or is refused, stands in the audit trail; everyday work does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.audit import denials
from chassis.audit.tables import AUDIT_ENTRY
from chassis.context import Subject
from chassis.database import new_id
from contracts import customers as contract
from contracts.errors import Forbidden, InternalError, NotFound
from tests.service.customers.desk import Desk, person
from tests.support.rooms import ADMIN

PHONE = "+8613812345678"


def trail(desk: Desk, since: str) -> list[dict[str, Any]]:
    """Return the entries that are younger than an id, for the file's tests share a trail."""
    query = sa.select(AUDIT_ENTRY).where(AUDIT_ENTRY.c.id > since).order_by(AUDIT_ENTRY.c.id)
    with desk.db.read() as session:
        return [dict(row) | {"details": json.loads(row["details"])} for row in session.execute(query).mappings()]


def test_seeing_a_number_of_somebody_elses_customer_is_written_down_and_seeing_ones_own_is_not(desk: Desk) -> None:
    since, rep = new_id(), person()
    own, other = desk.customer(rep, phone=PHONE), desk.customer(phone=PHONE)
    desk.call(contract.GET_CUSTOMER, {"id": own["id"]}, subject=rep)
    desk.call(contract.LIST_CUSTOMERS, subject=rep)
    desk.call(contract.GET_CUSTOMER, {"id": other["id"]})
    masked = Subject(id=new_id(), kind="user", name="reader", depths={"customer": {"read": "all"}})
    desk.call(contract.LIST_CUSTOMERS, subject=masked)
    assert trail(desk, since) == [], "everyday work costs no row"

    desk.call(contract.GET_CUSTOMER, {"id": own["id"]})
    desk.call(contract.LIST_CUSTOMERS, {"limit": 2})
    one, listed = trail(desk, since)
    assert (one["action"], one["entity"], one["record_id"], one["actor_id"]) == (
        "customers.get_customer", "customer", own["id"], ADMIN.id)
    assert listed["details"] == {"unmasked": [own["id"]]}, "the other is the administrator's own"
    assert PHONE[3:] not in json.dumps(trail(desk, since))


def test_a_customer_out_of_reach_is_written_down_as_refused(desk: Desk) -> None:
    since, other, stranger = new_id(), desk.customer(), person()
    for id in (other["id"], new_id()):
        with pytest.raises(NotFound):
            desk.call(contract.GET_CUSTOMER, {"id": id}, subject=stranger)
    [refused] = trail(desk, since)
    assert (refused["outcome"], refused["record_id"], refused["actor_id"]) == ("denied", other["id"], stranger.id)


def test_the_same_refusal_is_written_once_a_minute_and_the_next_entry_counts_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    since, others, stranger = new_id(), [desk.customer()["id"] for _ in range(2)], person()
    nobody = Subject(id=new_id(), kind="user", name="nobody")

    def refused() -> None:
        for id in others * 2:
            with pytest.raises(NotFound):
                desk.call(contract.GET_CUSTOMER, {"id": id}, subject=stranger)
        for id in (*others, new_id()):
            with pytest.raises(Forbidden):
                desk.call(contract.GET_CUSTOMER, {"id": id}, subject=nobody)

    refused()
    first = trail(desk, since)
    assert [(one["actor_id"], one["record_id"]) for one in first] == [
        *((stranger.id, id) for id in others), (nobody.id, others[0])]

    monkeypatch.setattr(denials, "QUIET_S", 0.0)
    with pytest.raises(NotFound):
        desk.call(contract.GET_CUSTOMER, {"id": others[0]}, subject=stranger)
    with pytest.raises(Forbidden):
        desk.call(contract.GET_CUSTOMER, {"id": new_id()}, subject=nobody)
    assert [one["details"]["repeated"] for one in trail(desk, since)[len(first):]] == [1, 2]


def test_what_cannot_be_written_down_is_not_shown(desk: Desk) -> None:
    own = desk.customer(person(), phone=PHONE)
    with desk.db.write() as session:
        session.execute(sa.text("ALTER TABLE audit_entry RENAME TO elsewhere"))
    with pytest.raises(InternalError):
        desk.call(contract.GET_CUSTOMER, {"id": own["id"]})
    with desk.db.write() as session:
        session.execute(sa.text("ALTER TABLE elsewhere RENAME TO audit_entry"))
    assert desk.call(contract.GET_CUSTOMER, {"id": own["id"]})["phone"] == PHONE
