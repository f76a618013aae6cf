"""Every job of the hub both ways, and an ERP that goes away meanwhile: what `make demo` shows, asserted."""

from __future__ import annotations

import pytest

from hub.demo.calendar import uid_of
from hub.demo.order import OrderJob
from hub.demo.outage import CHANGES, OutageJob
from hub.demo.subscription import SubscriptionJob
from hub.demo.task import TaskJob
from tests.support.local_hub import LocalHub


def silent(_: str) -> None:
    """Nobody looks on."""


def test_a_tickets_task_stands_in_the_colleagues_calendar_and_is_done_here_when_ticked_off_there(
    whole_hub: LocalHub,
) -> None:
    outcome = TaskJob(whole_hub.door(), whole_hub.calendar(), silent).run()
    assert outcome.task["subject"] == {"entity": "ticket", "id": outcome.ticket["id"]}
    assert (outcome.todo["SUMMARY"], outcome.todo["STATUS"]) == (outcome.task["title"], "NEEDS-ACTION")
    assert outcome.todo["UID"] == outcome.ticked["UID"] == uid_of(outcome.task["id"])
    assert outcome.ticked["STATUS"] == "COMPLETED"
    assert (outcome.done["id"], outcome.done["status"], outcome.done["progress"]) == (outcome.task["id"], "done", 100)
    assert outcome.ledger["balanced"]
    assert outcome.ledger["dead"] == 0


def test_a_contact_who_agrees_is_on_the_list_and_one_taken_off_there_has_refused_here(whole_hub: LocalHub) -> None:
    outcome = SubscriptionJob(whole_hub.door(), whole_hub.erp(), whole_hub.colleague(), silent).run()
    assert outcome.subscribed["email"] == outcome.contact["email"]
    assert (outcome.subscribed["id"], outcome.subscribed["active"]) == (outcome.unsubscribed["id"], True)
    assert not outcome.unsubscribed["active"]
    said = outcome.refused["consent"]["email"]
    assert (said["state"], said["source"]) == ("refused", "Sandbox mailing list")
    assert outcome.ledger["balanced"]
    assert outcome.ledger["dead"] == 0


@pytest.mark.timeout(150)
def test_what_changes_while_the_erp_is_away_arrives_once_in_its_newest_version(whole_hub: LocalHub) -> None:
    order = OrderJob(whole_hub.door(), whole_hub.erp(), whole_hub.colleague(), silent)
    order.pull_products(order.connect())
    outcome = OutageJob(whole_hub.door(), whole_hub.erp(), whole_hub.installation, silent).run()
    assert outcome.waiting >= len(outcome.names) + len(outcome.orders)  # an older name waits until the newer comes
    assert outcome.parties == {id: [name] for id, name in outcome.names.items()}
    assert {id: len(states) for id, states in outcome.sales.items()} == dict.fromkeys(outcome.orders, 1)
    assert outcome.whole
    assert outcome.ledger["accepted"] - outcome.before["accepted"] == CHANGES
    assert outcome.ledger["balanced"]
    assert outcome.ledger["dead"] == outcome.before["dead"]
