"""What other systems and services tell of tasks and consent, over a real broker and both databases.

Everything is told as integrations tells it; `There` is one record of another system.
"""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pytest

from chassis.database import new_id
from contracts import customers as contract
from contracts.envelope import Envelope
from contracts.tasks import task_requested
from services.integrations.domain.takeovers import TAKEN
from tests.service.customers.desk import CALENDAR, Desk, There, person, told

EIGHT = dt.datetime(2026, 11, 22, 8, tzinfo=dt.UTC)
DONE: dict[str, Any] = {"title": "Call back", "status": "done", "progress": 100, "completed_at": "2026-11-22T08:00:00Z"}
OPEN: dict[str, Any] = {"title": "Call back", "status": "open", "progress": 0}
STANDING = ("status", "progress", "completed_at")


def five_times_shuffled(envelopes: list[Envelope], seed: int) -> list[Envelope]:
    """Each event five times, twice under an id of its own, in any order."""
    fold = [*envelopes * 3, *(Envelope(**{**vars(one), "id": new_id()}) for one in envelopes * 2)]
    random.Random(seed).shuffle(fold)
    return fold


def of_tasks_born_there(desk: Desk, there: There) -> list[dict[str, Any]]:
    listed = desk.call(contract.LIST_TASKS, {"assignee_id": there.keys["account_user_id"]})["items"]
    return [task for task in listed if task["external_ref"]["external_id"] == there.external_id]


def test_a_task_completed_there_is_completed_here_and_the_event_carries_its_origin(desk: Desk) -> None:
    task = desk.task()
    there = There("task", task["id"])
    desk.hear(there.says(1, STANDING, **DONE))
    here = desk.read(task)
    assert (here["status"], here["progress"], here["completed_at"]) == ("done", 100, EIGHT)
    created, completed = desk.announced(task["id"])
    assert (created["origin"], completed["origin"]) == ("hub", there.connection_id)
    assert (completed["type"], completed["entityversion"]) == ("customers.task.completed", 2)


def test_only_the_fields_that_changed_there_are_taken_over(desk: Desk) -> None:
    task = desk.task(title="Ours", description="ours")
    there = There("task", task["id"])
    desk.hear(there.says(1, ["priority"], title="Theirs", description="theirs", priority="high", status="cancelled"))
    here = desk.read(task)
    assert (here["title"], here["description"], here["priority"], here["status"]) == ("Ours", "ours", "high", "open")
    assert desk.announced(task["id"])[-1]["data"]["changed"] == ["priority"]


def test_what_is_reopened_and_removed_there_is_reopened_and_cancelled_here(desk: Desk) -> None:
    task = desk.task()
    desk.call(contract.COMPLETE_TASK, {"id": task["id"]})
    there = There("task", task["id"])
    desk.hear(there.says(1, STANDING, **OPEN | {"status": "in_progress", "progress": 40}))
    assert (desk.read(task)["status"], desk.read(task)["progress"]) == ("in_progress", 40)
    desk.hear(there.says(2, deleted=True))
    here = desk.read(task)
    assert (here["status"], here["cancel_reason"]) == ("cancelled", f"deleted in {CALENDAR}")
    assert desk.said(task["id"])[2:] == ["task.reopened", "task.cancelled"]


def test_a_done_task_that_is_tidied_away_there_stays_done(desk: Desk) -> None:
    task = desk.task()
    desk.call(contract.COMPLETE_TASK, {"id": task["id"]})
    there = There("task", task["id"])
    desk.hear(there.says(1, deleted=True))
    assert desk.read(task)["status"] == "done"
    assert desk.said(there.external_id) == []


def test_a_step_that_the_rules_refuse_is_said_with_its_reason_and_changes_nothing(desk: Desk) -> None:
    task = desk.task()
    desk.call(contract.CANCEL_TASK, {"id": task["id"]})
    there = There("task", task["id"])
    desk.hear(*[there.says(1, ["title", *STANDING], **DONE)] * 2)
    assert (desk.read(task)["status"], desk.read(task)["version"]) == ("cancelled", 2)
    (refusal,) = desk.announced(there.external_id)
    assert (refusal["type"], refusal["origin"]) == ("customers.external.refused", there.connection_id)
    assert refusal["data"] == {
        "connection_id": there.connection_id, "entity": "task", "external_id": there.external_id,
        "local_id": task["id"], "fields": ["title", *STANDING], "code": "invalid_transition",
        "reason": "A task that is cancelled cannot become done", "remote_version": "etag-1"}


def test_a_task_born_there_becomes_one_task_of_the_accounts_user(desk: Desk) -> None:
    user = person(customer="none")
    there = There("task", account=user.id)
    desk.hear(there.says(1, **OPEN, description="at length", due_at="2026-11-22T08:00:00Z", priority="low"))
    (task,) = of_tasks_born_there(desk, there)
    assert desk.read(task, user) == task
    assert {name: task[name] for name in ("title", "description", "due_at", "priority", "assignee_id", "created_by")} \
        == {"title": "Call back", "description": "at length", "due_at": EIGHT,
            "priority": "low", "assignee_id": user.id, "created_by": "customers"}
    (created,) = desk.announced(task["id"])
    assert (created["origin"], created["data"]["external_ref"]) == (
        there.connection_id, {"connection_id": there.connection_id, "external_id": there.external_id})


def test_a_task_already_done_there_is_born_done_here(desk: Desk) -> None:
    there = There("task", account=new_id())
    desk.hear(there.says(1, **DONE | {"progress": 0, "completed_at": None}))
    (task,) = of_tasks_born_there(desk, there)
    assert (task["status"], task["progress"], task["completed_at"] is None) == ("done", 100, False)


@pytest.mark.parametrize("seed", range(3))
def test_told_five_times_in_any_order_the_newest_word_on_each_field_stands(desk: Desk, seed: int) -> None:
    task = desk.task()
    there = There("task", task["id"])
    desk.hear(*five_times_shuffled([
        there.says(1, ["title"], **OPEN | {"title": "first"}),
        there.says(2, ["progress", "status"], **OPEN | {"title": "first", "progress": 30, "status": "in_progress"}),
        there.says(3, ["title"], **OPEN | {"title": "second", "progress": 30, "status": "in_progress"}),
        there.says(4, STANDING, **DONE | {"title": "second"}),
        there.says(5, ["priority"], **DONE | {"title": "second", "priority": "high"}),
    ], seed))
    here = desk.read(task)
    assert (here["title"], here["status"], here["progress"], here["priority"]) == ("second", "done", 100, "high")
    assert desk.said(task["id"]).count("task.completed") == 1
    assert here["version"] == len(desk.said(task["id"])) <= 6


@pytest.mark.parametrize("seed", range(3))
def test_told_five_times_in_any_order_one_task_is_born(desk: Desk, seed: int) -> None:
    there = There("task", account=new_id())
    desk.hear(*five_times_shuffled([
        there.says(1, **OPEN), there.says(2, ["title"], **OPEN | {"title": "second"}),
        there.says(3, STANDING, **DONE | {"title": "second"})], seed))
    (task,) = of_tasks_born_there(desk, there)
    assert (task["title"], task["status"]) == ("second", "done")
    assert desk.said(task["id"]).count("task.created") == 1


def test_told_by_many_at_once_one_task_is_born_and_ends_as_it_is_there(desk: Desk) -> None:
    there = There("task", account=new_id())
    desk.flood(five_times_shuffled([
        there.says(1, **OPEN), there.says(2, ["title"], **OPEN | {"title": "second"}),
        there.says(3, STANDING, **DONE | {"title": "second"})], seed=7))
    (task,) = of_tasks_born_there(desk, there)
    assert (task["title"], task["status"]) == ("second", "done")
    versions = [one["entityversion"] for one in desk.announced(task["id"])]
    assert versions == list(range(1, task["version"] + 1))


def test_what_is_gone_there_before_it_was_heard_of_is_not_born_late(desk: Desk) -> None:
    there = There("task", account=new_id())
    desk.hear(there.says(2, deleted=True), there.says(1, **OPEN))
    assert of_tasks_born_there(desk, there) == []


def test_a_task_removed_here_is_not_born_again_by_a_late_word_from_there(desk: Desk) -> None:
    there = There("task", account=new_id())
    desk.hear(there.says(1, **OPEN))
    (task,) = of_tasks_born_there(desk, there)
    desk.call(contract.DELETE_TASK, {"id": task["id"], "expected_version": 1})
    desk.hear(there.says(2, ["title"], **OPEN | {"title": "late"}), there.says(3, deleted=True))
    assert of_tasks_born_there(desk, there) == []


def test_a_record_in_nobodys_account_is_no_task_until_it_is_somebodys(desk: Desk) -> None:
    there = There("task")
    desk.hear(there.says(1, **OPEN))
    there.keys["account_user_id"] = new_id()
    assert of_tasks_born_there(desk, there) == []
    desk.hear(there.says(2, ["title"], **OPEN))
    assert len(of_tasks_born_there(desk, there)) == 1


def test_two_connections_may_use_one_external_id(desk: Desk) -> None:
    one, other = There("task", account=(user := new_id())), There("task", account=user)
    other.external_id = one.external_id
    desk.hear(one.says(1, **OPEN), other.says(1, **OPEN))
    assert len(of_tasks_born_there(desk, one)) == 2


def test_what_is_not_kept_here_is_not_ours(desk: Desk) -> None:
    product = There("product")
    desk.hear(product.says(1, sku="A-1"))
    assert desk.said(product.external_id) == []


# --- consent ------------------------------------------------------------------------------------------------------


def test_integrations_offers_to_take_over_what_is_taken_over_here_and_nothing_else(desk: Desk) -> None:
    task, contact = desk.task(), desk.contact(name="Ours")
    theirs = DONE | {"title": "Theirs", "description": "theirs", "due_at": "2026-12-01T08:00:00Z", "priority": "high"}
    desk.hear(There("task", task["id"]).says(1, sorted(theirs), **theirs))
    desk.hear(There("contact", contact["id"]).says(
        1, ["consent", "email", "name"], name="Theirs", email="theirs@example.com",
        consent={"email": {"state": "refused", "at": None}}))

    followed = desk.call(contract.GET_CONTACT, {"id": contact["id"]})
    for entity, before, now in [("task", task, desk.read(task)), ("contact", contact, followed)]:
        assert {name for name in now if now[name] != before[name]} - {"version", "updated_at"} == TAKEN[entity]


def says_consent(there: There, version: int, **channels: str) -> Envelope:
    return there.says(version, ["consent"], consent={
        channel: {"state": state, "at": "2026-11-22T08:00:00Z"} for channel, state in channels.items()})


def state(desk: Desk, contact: dict[str, Any], channel: str = "email") -> str | None:
    held = desk.call(contract.GET_CONTACT, {"id": contact["id"]})["consent"]
    return held[channel]["state"] if channel in held else None


def test_a_grant_there_counts_where_nobody_refused_and_carries_time_and_source(desk: Desk) -> None:
    contact = desk.contact()
    there = There("contact", contact["id"])
    desk.hear(says_consent(there, 1, email="granted"))
    held = desk.call(contract.GET_CONTACT, {"id": contact["id"]})
    assert held["consent"] == {"email": {"state": "granted", "at": EIGHT, "source": CALENDAR}}
    told_here = desk.announced(contact["id"])[1:]
    assert [(one["type"], one["origin"]) for one in told_here] == [
        ("customers.contact.updated", there.connection_id), ("customers.consent.changed", there.connection_id)]


def test_a_refusal_there_wins_over_a_grant_here(desk: Desk) -> None:
    contact = desk.contact(consent={"email": "granted", "phone": "granted"})
    desk.hear(says_consent(There("contact", contact["id"]), 1, email="refused", phone="granted"))
    assert (state(desk, contact), state(desk, contact, "phone")) == ("refused", "granted")


def test_a_refusal_here_wins_over_a_grant_there_and_is_said_to_have(desk: Desk) -> None:
    contact = desk.contact(consent={"email": "refused"})
    there = There("contact", contact["id"])
    desk.hear(*[says_consent(there, 1, email="granted")] * 2)
    assert state(desk, contact) == "refused"
    (refusal,) = desk.announced(there.external_id)
    assert (refusal["data"]["code"], refusal["data"]["fields"], refusal["data"]["local_id"]) == (
        "consent_refused", ["consent"], contact["id"])


@pytest.mark.parametrize("seed", range(3))
def test_told_five_times_in_any_order_a_refusal_among_grants_wins(desk: Desk, seed: int) -> None:
    contact = desk.contact()
    there = There("contact", contact["id"])
    desk.hear(*five_times_shuffled([says_consent(there, 1, email="granted"), says_consent(there, 2, email="refused"),
                                    says_consent(there, 3, email="granted")], seed))
    assert state(desk, contact) == "refused"


def test_a_grant_by_a_person_here_is_not_undone_by_the_old_refusal_told_again(desk: Desk) -> None:
    contact = desk.contact()
    there = There("contact", contact["id"])
    desk.hear(says_consent(there, 1, email="refused"))
    desk.call(contract.CHANGE_CONTACT, {"id": contact["id"], "expected_version": 2,
                                        "changes": {"consent": {"email": "granted"}}})
    desk.hear(says_consent(there, 1, email="refused"))
    assert state(desk, contact) == "granted"
    desk.hear(says_consent(there, 2, email="refused"))
    assert state(desk, contact) == "refused"


def test_a_customers_consent_is_followed_too_and_a_removal_there_is_no_word_on_consent(desk: Desk) -> None:
    customer = desk.customer(consent={"email": "granted"})
    there = There("customer", customer["id"])
    desk.hear(there.says(1, deleted=True))
    assert desk.call(contract.GET_CUSTOMER, {"id": customer["id"]})["consent"] == customer["consent"]
    desk.hear(says_consent(there, 2, email="refused"))
    assert desk.call(contract.GET_CUSTOMER, {"id": customer["id"]})["consent"]["email"]["state"] == "refused"
    assert desk.said(customer["id"])[2:] == ["customer.updated", "consent.changed"]


def test_a_subscriber_that_is_no_contact_of_ours_changes_nothing(desk: Desk) -> None:
    for there in (There("contact"), There("contact", new_id())):
        desk.hear(says_consent(there, 1, email="refused"))
        assert desk.said(there.external_id) == []


# --- tasks that other services want -------------------------------------------------------------------------------


def wanted(key: str, **more: Any) -> Envelope:
    return told(task_requested("tickets"), key, 1, {"key": key, "title": "Call back", "assignee_id": new_id()} | more)


def test_a_task_is_made_once_however_often_it_is_wanted(desk: Desk) -> None:
    contact, agent, assignee = desk.contact(), person(customer="none"), person(customer="none")
    key = f"tickets:{new_id()}"
    desk.hear(*[wanted(key, assignee_id=assignee.id, requested_by=agent.id, description="at length",
                       subject={"entity": "contact", "id": contact["id"]}) for _ in range(5)])
    listed = desk.call(contract.LIST_TASKS, {"assignee_id": assignee.id}, subject=agent)["items"]
    (task,) = listed
    assert (task["requested_by_key"], task["customer_id"], task["created_by"], task["description"]) == (
        key, contact["customer_id"], agent.id, "at length")
    assert desk.read(task, assignee) == task
    assert desk.said(task["id"]) == ["task.created"]


def test_a_wanted_task_that_was_removed_is_not_made_again(desk: Desk) -> None:
    key, assignee = f"tickets:{new_id()}", new_id()
    desk.hear(wanted(key, assignee_id=assignee))
    (task,) = desk.call(contract.LIST_TASKS, {"assignee_id": assignee})["items"]
    assert task["created_by"] == "tickets"
    desk.call(contract.DELETE_TASK, {"id": task["id"], "expected_version": 1})
    desk.hear(wanted(key, assignee_id=assignee))
    assert desk.call(contract.LIST_TASKS, {"assignee_id": assignee})["items"] == []
