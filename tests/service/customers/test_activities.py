"""Activities, the timeline and consent, over a real broker and both databases."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from chassis.database import new_id, utcnow
from contracts import customers as contract
from contracts import errors
from tests.service.customers.desk import Desk, person


def about(customer: dict[str, Any]) -> dict[str, str]:
    return {"entity": "customer", "id": customer["id"]}


def hours_ago(hours: int) -> str:
    return (utcnow() - dt.timedelta(hours=hours)).isoformat()


def contents(page: dict[str, Any]) -> list[str]:
    return [item["content"] for item in page["items"]]


def test_what_was_done_reads_back_and_is_announced_with_its_text_sealed(desk: Desk) -> None:
    mine = person()
    customer = desk.customer(mine)
    logged = desk.call(contract.LOG_ACTIVITY, {
        "subject": about(customer), "kind": "call", "content": "谈了报价",
        "next_follow_up_at": "2026-12-01T01:00:00Z"}, subject=mine)
    assert desk.call(contract.GET_ACTIVITY, {"id": logged["id"]}, subject=mine) == logged
    assert (logged["customer_id"], logged["user_id"], logged["content"]) == (customer["id"], mine.id, "谈了报价")
    (event,) = desk.announced(logged["id"])
    assert (event["type"], event["data"]["next_follow_up_at"]) == ("customers.activity.logged",
                                                                   "2026-12-01T01:00:00.000000Z")
    assert "谈了报价" not in str(event)


def test_nothing_is_logged_ahead_of_time_or_by_people_in_the_name_of_the_hub(desk: Desk) -> None:
    asked = {"subject": {"entity": "order", "id": new_id()}, "kind": "visit"}
    with pytest.raises(errors.Invalid) as caught:
        desk.call(contract.LOG_ACTIVITY, {**asked, "occurred_at": hours_ago(-1)})
    assert caught.value.fields["errors"][0]["pointer"] == "/occurred_at"
    with pytest.raises(errors.Invalid):
        desk.rooms.caller.call(contract.LOG_ACTIVITY, {**asked, "kind": "system", "content": "",
                                                       "next_follow_up_at": None},
                               subject=person(), request_id=new_id())


def test_the_same_key_twice_logs_one_activity(desk: Desk) -> None:
    asked = {"subject": {"entity": "ticket", "id": (ticket := new_id())}, "kind": "email"}
    first, again = (desk.ask(contract.LOG_ACTIVITY, asked, key="logged") for _ in range(2))
    assert (again.replayed, again.value) == (True, first.value)
    assert len(desk.call(contract.LIST_ACTIVITIES, {"subject_id": ticket})["items"]) == 1


def test_the_timeline_is_newest_first_filtered_by_kind_and_whole_over_pages(desk: Desk) -> None:
    customer = desk.customer()
    for hours, kind in ((3, "call"), (1, "visit"), (2, "call")):
        desk.call(contract.LOG_ACTIVITY, {"subject": about(customer), "kind": kind, "content": str(hours),
                                          "occurred_at": hours_ago(hours)})
    task = desk.task(customer_id=customer["id"], title="Send the offer")
    desk.call(contract.COMPLETE_TASK, {"id": task["id"]})
    seen, cursor = [], None
    while True:
        page = desk.call(contract.GET_TIMELINE, {"id": customer["id"], "limit": 2, "cursor": cursor})
        seen += contents(page)
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ["task.completed: Send the offer", "1", "2", "3"]
    assert contents(desk.call(contract.GET_TIMELINE, {"id": customer["id"], "kind": "call"})) == ["2", "3"]
    by_people = desk.call(contract.LIST_ACTIVITIES_OF_CUSTOMER, {"id": customer["id"]})
    assert contents(by_people) == ["1", "2", "3"]


def test_activities_are_seen_by_their_author_their_team_and_whoever_sees_the_customer(desk: Desk) -> None:
    author, owner, mate = person("own", team := new_id()), person(), person("team", team)
    customer = desk.customer(owner)
    free = desk.call(contract.LOG_ACTIVITY, {"subject": {"entity": "order", "id": new_id()}, "kind": "note"},
                     subject=author)["id"]
    bound = desk.call(contract.LOG_ACTIVITY, {"subject": about(customer), "kind": "note"})["id"]
    for subject, seen in ((author, {free}), (mate, {free}), (owner, {bound}), (person(), set())):
        listed = desk.call(contract.LIST_ACTIVITIES, subject=subject)["items"]
        assert {one["id"] for one in listed} & {free, bound} == seen
        for id in {free, bound} - seen:
            with pytest.raises(errors.NotFound):
                desk.call(contract.GET_ACTIVITY, {"id": id}, subject=subject)
    for operation in (contract.GET_TIMELINE, contract.LIST_ACTIVITIES_OF_CUSTOMER):
        with pytest.raises(errors.NotFound):
            desk.call(operation, {"id": customer["id"]}, subject=author)
    with pytest.raises(errors.NotFound):
        desk.call(contract.LOG_ACTIVITY, {"subject": about(customer), "kind": "note"}, subject=author)


# --- consent ------------------------------------------------------------------------------------------------------


def test_consent_set_here_carries_its_time_and_source_and_leaves_the_other_channels(desk: Desk) -> None:
    contact = desk.contact(consent={"phone": "refused"})
    changed = desk.call(contract.CHANGE_CONTACT, {"id": contact["id"], "expected_version": 1,
                                                  "changes": {"consent": {"email": "granted"}}})
    assert {channel: (said["state"], said["source"]) for channel, said in changed["consent"].items()} == {
        "phone": ("refused", "hub"), "email": ("granted", "hub")}
    assert changed["consent"]["phone"] == contact["consent"]["phone"]
    told = desk.announced(contact["id"])
    assert [one["type"].partition(".")[2] for one in told] == ["contact.created", "consent.changed", "contact.updated",
                                                               "consent.changed"]
    assert told[2]["data"]["consent"] == told[3]["data"]["contact"]["consent"]
    assert (told[3]["data"]["entity"], told[3]["data"]["changed"]) == ("contact", ["email"])
    assert contents(desk.call(contract.GET_TIMELINE, {"id": contact["customer_id"]})) == [
        "consent.granted: email, hub", "consent.refused: phone, hub"]


def test_a_customer_grants_and_withdraws_and_the_history_keeps_both(desk: Desk) -> None:
    customer = desk.customer(consent={"wechat": "granted"})
    assert customer["consent"]["wechat"]["state"] == "granted"
    withdrawn = desk.call(contract.CHANGE_CUSTOMER, {"id": customer["id"], "expected_version": 1,
                                                     "changes": {"consent": {"wechat": "refused"}}})
    assert (withdrawn["version"], withdrawn["consent"]["wechat"]["state"]) == (2, "refused")
    with desk.db.read() as session:
        (kept,) = session.connection().exec_driver_sql(
            f"SELECT before, after FROM field_change WHERE record_id = '{customer['id']}'").all()
    assert "granted" in str(kept[0])
    assert "refused" in str(kept[1])
    assert desk.said(customer["id"]) == ["customer.created", "consent.changed", "customer.updated", "consent.changed"]


def test_saying_again_what_is_held_is_no_change(desk: Desk) -> None:
    contact = desk.contact(consent={"email": "granted"})
    again = desk.call(contract.CHANGE_CONTACT, {"id": contact["id"], "expected_version": 1,
                                                "changes": {"consent": {"email": "granted"}}})
    assert (again["version"], again["consent"]) == (1, contact["consent"])


def test_a_channel_or_a_word_that_does_not_exist_is_refused_at_its_own_name(desk: Desk) -> None:
    schema = contract.CHANGE_CONTACT.request()
    for asked, at in (({"fax": "granted"}, "fax"), ({"email": "maybe"}, "email")):
        refused: Any = schema.validate({"id": new_id(), "expected_version": 1, "changes": {"consent": asked}})
        assert list(refused["changes"]["consent"]) == [at]
