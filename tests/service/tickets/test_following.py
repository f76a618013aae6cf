"""Following customers, whatever order their events come in and however often."""

from __future__ import annotations

import random

import pytest

from chassis.database import new_id
from contracts import customers, errors
from contracts import tickets as contract
from tests.service.sales.selling import customer_told
from tests.service.tickets.helpdesk import HelpDesk, agent
from tests.support.processes import eventually


def test_customers_told_in_any_order_and_five_times_are_as_the_newest_event_says(desk: HelpDesk) -> None:
    ids = [new_id() for _ in range(4)]
    owners = {(id, version): new_id() for id in ids for version in range(1, 8)}
    kinds = [customers.CUSTOMER_CREATED, *[customers.CUSTOMER_UPDATED] * 5, customers.CUSTOMER_SNAPSHOT]
    events = [customer_told(id, version, kinds[version - 1], owner_id=owners[id, version]) for id, version in owners]
    repeated = events * 5
    random.Random(7).shuffle(repeated)
    desk.hear(*repeated)
    for id in ids:
        ref = desk.known(id)
        assert ref is not None
        assert (ref.version, ref.name, ref.owner_id) == (7, "v7", owners[id, 7])


def test_a_new_owner_of_a_customer_reaches_its_tickets_and_the_old_one_no_longer(desk: HelpDesk) -> None:
    old, new = agent(), agent()
    customer = desk.customer(owner_id=old.id)
    ticket = desk.ticket(customer_id=customer)
    assert desk.read(ticket, old)
    desk.hear(customer_told(customer, 2, customers.CUSTOMER_UPDATED, owner_id=new.id))
    assert desk.read(ticket, new)
    with pytest.raises(errors.NotFound):
        desk.read(ticket, old)


def test_a_task_wanted_for_a_ticket_of_a_customer_made_next_door_stands_there(desk: HelpDesk) -> None:
    desk.rooms.start("customers")
    made = desk.call(customers.CREATE_CUSTOMER, {"name": "李雷", "wechat_id": "lilei"})
    eventually(lambda: desk.known(made["id"]) is not None)
    ticket = desk.ticket(customer_id=made["id"])
    wanted = desk.call(contract.REQUEST_TASK, {"id": ticket["id"], "title": "Visit", "description": "Bring a pump"})
    found: list[dict[str, object]] = []

    def made_there() -> bool:
        listed = desk.call(customers.LIST_TASKS, {"subject_entity": "ticket", "subject_id": ticket["id"]})["items"]
        found[:] = listed
        return bool(listed)

    eventually(made_there)
    (task,) = found
    asked = ("title", "description", "customer_id", "assignee_id", "requested_by_key")
    assert {name: task[name] for name in asked} == {
        "title": "Visit", "description": "Bring a pump", "customer_id": made["id"],
        "assignee_id": wanted["assignee_id"], "requested_by_key": wanted["key"]}
    desk.rooms.stop("customers")
