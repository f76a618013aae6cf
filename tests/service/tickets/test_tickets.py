"""Tickets and what is said on them, over a real broker and both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from chassis import snapshot
from chassis.context import Subject
from chassis.database import new_id
from contracts import errors
from contracts import tickets as contract
from contracts.depth import Depth
from contracts.operation import Operation
from contracts.schema import load
from tests.service.tickets.helpdesk import HelpDesk, agent
from tests.support.processes import eventually
from tests.support.rooms import ADMIN


def ids(page: dict[str, Any]) -> list[str]:
    return [item["id"] for item in page["items"]]


def refused(caught: pytest.ExceptionInfo[Any]) -> str:
    pointer: str = caught.value.fields["errors"][0]["pointer"]
    return pointer


def test_a_subject_suffices_and_what_the_customer_said_is_the_first_message(desk: HelpDesk) -> None:
    mine = agent("own", team := new_id())
    ticket = desk.ticket(mine, body="It stopped again.")
    assert desk.read(ticket, mine) == ticket
    assert {name: ticket[name] for name in ("status", "type", "priority", "channel", "product", "customer_id",
                                            "queue_id", "assignee_id", "team_id", "resolution", "reopen_count",
                                            "version", "created_by")} == {
        "status": "new", "type": "question", "priority": "normal", "channel": "other", "product": "",
        "customer_id": None, "queue_id": None, "assignee_id": None, "team_id": team, "resolution": None,
        "reopen_count": 0, "version": 1, "created_by": mine.id}
    (said,) = desk.call(contract.LIST_MESSAGES, {"id": ticket["id"]}, subject=mine)["items"]
    assert (said["direction"], said["internal"], said["body"], said["author_id"]) == (
        "inbound", False, "It stopped again.", mine.id)
    assert desk.call(contract.GET_MESSAGE, {"id": ticket["id"], "message_id": said["id"]}, subject=mine) == said


def test_every_step_raises_the_version_and_is_announced_once_with_the_whole_ticket(desk: HelpDesk) -> None:
    ticket = desk.ticket(body="planted-body")
    desk.say(ticket, "outbound")
    desk.move(ticket, "pending")
    desk.say(ticket, "inbound")
    desk.move(ticket, "resolved")
    desk.say(ticket, "inbound")
    closed = desk.move(ticket, "resolved", "closed")
    assert (closed["status"], closed["reopen_count"], closed["resolution"]) == ("closed", 1, "A new seal")
    assert closed["resolved_at"] < closed["closed_at"]
    told = desk.told_of(ticket)
    assert [(one["type"].rpartition(".")[2], one["entityversion"], one["data"]["status"]) for one in told] == [
        ("created", 1, "new"), ("replied", 2, "open"), ("updated", 3, "pending"), ("replied", 4, "open"),
        ("resolved", 5, "resolved"), ("replied", 6, "open"), ("reopened", 6, "open"), ("resolved", 7, "resolved"),
        ("closed", 8, "closed")]
    assert [one["data"]["message"]["direction"] for one in told if "message" in one["data"]] == [
        "outbound", "inbound", "inbound"]


def test_a_note_of_the_teams_own_is_no_reply(desk: HelpDesk) -> None:
    ticket = desk.ticket()
    resolved = desk.move(ticket, "resolved")
    desk.say(ticket, internal=True, body="He always calls on Mondays.")
    assert desk.read(ticket) == resolved
    desk.move(ticket, "closed")
    desk.say(ticket, internal=True)
    assert desk.said_of(ticket) == ["created", "resolved", "closed"]
    listed = {wanted: len(desk.call(contract.LIST_MESSAGES, {"id": ticket["id"], "internal": wanted})["items"])
              for wanted in (True, False)}
    assert listed == {True: 2, False: 0}
    with pytest.raises(errors.Invalid) as caught:
        load(contract.MessageWrite, {"id": ticket["id"], "body": "x", "direction": "inbound", "internal": True})
    assert refused(caught) == "/internal"


def test_nothing_is_closed_without_a_resolution(desk: HelpDesk) -> None:
    ticket = desk.ticket()
    for status in ("pending", "closed", "new"):
        with pytest.raises(errors.InvalidTransition):
            desk.move(ticket, status)
    for more in ({}, {"resolution": ""}, {"resolution": " \n"}):
        with pytest.raises(errors.Invalid) as caught:
            desk.call(contract.SET_TICKET_STATUS, {"id": ticket["id"], "status": "resolved"} | more)
        assert refused(caught) == "/resolution"
    desk.move(ticket, "resolved")
    reopened = desk.move(ticket, "open")
    assert (reopened["resolution"], reopened["resolved_at"], reopened["reopen_count"]) == (None, None, 1)
    with pytest.raises(errors.InvalidTransition):
        desk.move(ticket, "closed")
    with pytest.raises(errors.Invalid):
        desk.call(contract.SET_TICKET_STATUS, {"id": ticket["id"], "status": "pending", "resolution": "x"})
    with pytest.raises(sa.exc.IntegrityError), desk.db.write() as session:
        session.execute(sa.text(f"UPDATE ticket SET status = 'closed' WHERE id = '{ticket['id']}'"))


def test_a_closed_ticket_takes_no_reply_no_change_and_nobody(desk: HelpDesk) -> None:
    ticket = desk.ticket()
    closed = desk.move(ticket, "resolved", "closed")
    by_id = {"id": ticket["id"]}
    asked: tuple[tuple[Operation, dict[str, Any]], ...] = (
        (contract.ADD_MESSAGE, {"body": "x", "direction": "inbound"}), (contract.CLAIM_TICKET, {}),
        (contract.CHANGE_TICKET, {"expected_version": closed["version"], "changes": {"priority": "low"}}),
        (contract.ASSIGN_TICKET, {"assignee_id": ADMIN.id}), (contract.SET_TICKET_STATUS, {"status": "open"}))
    for operation, more in asked:
        with pytest.raises(errors.InvalidTransition):
            desk.call(operation, by_id | more)
    assert desk.read(ticket) == closed


def test_a_version_that_has_passed_is_refused_and_the_customers_reply_lets_it_pass(desk: HelpDesk) -> None:
    ticket = desk.ticket()
    desk.say(ticket, "inbound")
    old: tuple[tuple[Operation, dict[str, Any]], ...] = (
        (contract.CHANGE_TICKET, {"changes": {"priority": "low"}}), (contract.CLAIM_TICKET, {}),
        (contract.ASSIGN_TICKET, {"assignee_id": ADMIN.id}),
        (contract.SET_TICKET_STATUS, {"status": "resolved", "resolution": "x"}))
    for operation, more in old:
        with pytest.raises(errors.StaleVersion) as caught:
            desk.call(operation, {"id": ticket["id"], "expected_version": 1} | more)
        assert caught.value.fields == {"version": 2}
    assert desk.said_of(ticket) == ["created", "replied"]


def test_the_same_key_twice_has_one_effect_at_every_door(desk: HelpDesk) -> None:
    queue = desk.queue(ADMIN, strategy="manual")
    key = new_id()
    first, again = (desk.ask(contract.CREATE_TICKET, {"subject": "Once", "queue_id": queue["id"]}, key=key)
                    for _ in range(2))
    assert (again.replayed, again.value) == (True, first.value)
    by_id = {"id": first.value["id"]}
    asked: tuple[tuple[Operation, dict[str, Any]], ...] = (
        (contract.CLAIM_TICKET, {}), (contract.ADD_MESSAGE, {"body": "Hello"}),
        (contract.REQUEST_TASK, {"title": "Visit"}),
        (contract.SET_TICKET_STATUS, {"status": "resolved", "resolution": "x"}))
    for operation, more in asked:
        done, same = (desk.ask(operation, by_id | more, key=key) for _ in range(2))
        assert (same.replayed, same.value) == (True, done.value), operation.name
    assert desk.said_of(by_id) == ["created", "assigned", "replied", "resolved"]
    wanted = [one["data"] for one in desk.announced("task.requested") if one["data"]["subject"]["id"] == by_id["id"]]
    assert len(wanted) == 1


def test_a_wanted_task_names_ticket_customer_and_person_and_only_whoever_may_gives_it_away(desk: HelpDesk) -> None:
    keeper, mate = agent("own", team := new_id()), agent("own", team)
    customer = desk.customer(owner_id=keeper.id)
    ticket = desk.ticket(keeper, customer_id=customer)
    asked = {"id": ticket["id"], "title": "Visit", "description": "planted-task", "due_at": "2026-12-01T09:00:00Z"}
    wanted = desk.call(contract.REQUEST_TASK, asked, subject=keeper)
    assert wanted["subject"] == {"entity": "ticket", "id": ticket["id"]}
    assert (wanted["customer_id"], wanted["assignee_id"], wanted["requested_by"]) == (customer, keeper.id, keeper.id)
    told = [one for one in desk.announced("task.requested") if one["subject"] == wanted["key"]]
    assert [one["data"]["title"] for one in told] == ["Visit"]
    assert "planted-task" not in str(told)
    with pytest.raises(errors.Invalid) as caught:
        desk.call(contract.REQUEST_TASK, asked | {"assignee_id": mate.id}, subject=keeper)
    assert refused(caught) == "/assignee_id"
    with pytest.raises(errors.NotFound):
        desk.call(contract.REQUEST_TASK, asked, subject=mate)
    with pytest.raises(errors.Forbidden):
        desk.call(contract.REQUEST_TASK, asked, subject=agent("all", task="none"))


def test_a_customer_that_is_not_known_or_not_to_be_seen_is_worth_another_try(desk: HelpDesk) -> None:
    theirs = desk.customer(owner_id=new_id())
    desk_clerk = agent("own", customer="all")
    assert desk.ticket(desk_clerk, customer_id=theirs)["customer_id"] == theirs
    for by, customer in ((ADMIN, new_id()), (agent(), theirs)):
        with pytest.raises(errors.CustomerNotKnown) as caught:
            desk.ticket(by, customer_id=customer)
        assert (refused(caught), caught.value.retry_after_s) == ("/customer_id", 1.0)
    mine = agent()
    ticket = desk.ticket(mine)
    with pytest.raises(errors.CustomerNotKnown):
        desk.call(contract.CHANGE_TICKET, {"id": ticket["id"], "expected_version": 1,
                                           "changes": {"customer_id": theirs}}, subject=mine)


def test_tickets_are_listed_counted_and_filtered_alike(desk: HelpDesk) -> None:
    customer, queue = desk.customer(), desk.queue(strategy="manual")["id"]
    made = [desk.ticket(customer_id=customer, type="complaint", **({"queue_id": queue} if n else {}))
            for n in range(4)]
    desk.move(made[1], "resolved")
    desk.call(contract.CLAIM_TICKET, {"id": made[2]["id"]})
    listed, cursor = [], None
    while True:
        page = desk.call(contract.LIST_TICKETS, {"customer_id": customer, "limit": 3, "cursor": cursor})
        listed, cursor = [*listed, *ids(page)], page["next"]
        if cursor is None:
            break
    assert listed == [one["id"] for one in reversed(made)]
    for filters, expected in (
            ({"queue_id": queue}, 3), ({"assignee_id": ADMIN.id}, 1), ({"unassigned": True}, 3),
            ({"unresolved": True}, 3), ({"unresolved": False}, 1),
            ({"unassigned": False}, 1), ({"type": "feedback"}, 0), ({"priority": "normal"}, 4)):
        asked = {"customer_id": customer} | filters
        assert len(ids(desk.call(contract.LIST_TICKETS, asked))) == expected, filters
        assert sum(desk.call(contract.COUNT_TICKETS, asked).values()) == expected, filters
    assert desk.call(contract.COUNT_TICKETS, {"customer_id": customer}) == {
        "new": 2, "open": 1, "pending": 0, "resolved": 1, "closed": 0}
    assert ids(desk.call(contract.LIST_TICKETS, {"customer_id": customer, "status": "resolved"})) == [made[1]["id"]]


def test_the_trail_tells_who_changed_what_and_no_resolution(desk: HelpDesk) -> None:
    ticket = desk.ticket()
    desk.call(contract.CHANGE_TICKET, {"id": ticket["id"], "expected_version": 1, "changes": {"priority": "urgent"}})
    desk.move(ticket, "resolved")
    steps = desk.call(contract.LIST_TRAIL, {"id": ticket["id"]})["items"]
    told = [(one["version"], one["field"], one["before"], one["after"]) for one in steps]
    assert told[:2] == [(2, "priority", "normal", "urgent"), (3, "status", "new", "resolved")]
    assert (3, "resolution", None, None) in told
    assert {one["changed_by"] for one in steps} == {ADMIN.id}


# --- who sees a ticket --------------------------------------------------------------------------------------------

TEAM, BELOW, ELSEWHERE = new_id(), new_id(), new_id()


def doors(desk: HelpDesk, ticket: dict[str, Any], by: Subject) -> Iterator[bool]:
    """Whether each door that reads shows the ticket: all of them say the same."""
    said = desk.say(ticket, internal=True)
    for operation, more in ((contract.GET_TICKET, {}), (contract.LIST_MESSAGES, {}), (contract.LIST_TRAIL, {}),
                            (contract.GET_MESSAGE, {"message_id": said["id"]})):
        try:
            yield bool(desk.call(operation, {"id": ticket["id"]} | more, subject=by))
        except errors.NotFound:
            yield False
    yield ticket["id"] in ids(desk.call(contract.LIST_TICKETS, {"limit": 200}, subject=by))
    # Of nobody else's product: what is counted is this ticket or nothing.
    if ticket["customer_id"]:
        yield sum(desk.call(contract.COUNT_TICKETS, {"customer_id": ticket["customer_id"]}, subject=by).values()) == 1


@pytest.mark.parametrize(("depth", "teams", "below", "sees"), [
    ("own", (TEAM,), (), False), ("team", (TEAM,), (), True), ("team", (ELSEWHERE,), (TEAM,), False),
    ("tree", (ELSEWHERE,), (TEAM,), True), ("tree", (ELSEWHERE,), (), False), ("all", (), (), True)])
def test_whoever_has_nothing_to_do_with_a_ticket_sees_it_by_depth(
        desk: HelpDesk, depth: Depth, teams: tuple[str, ...], below: tuple[str, ...], sees: bool) -> None:
    ticket = desk.ticket(agent("own", TEAM, customer="all"), customer_id=desk.customer(owner_id=new_id()))
    assert set(doors(desk, ticket, agent(depth, *teams, below=below))) == {sees}


def test_a_ticket_is_seen_by_creator_assignee_members_of_its_queue_and_keeper_of_its_customer(desk: HelpDesk) -> None:
    creator, assignee, member, keeper = (agent("own", customer="all") for _ in range(4))
    queue = desk.queue(assignee, member, strategy="manual")
    customer = desk.customer(owner_id=keeper.id)
    ticket = desk.ticket(creator, customer_id=customer)
    desk.call(contract.ASSIGN_TICKET, {"id": ticket["id"], "queue_id": queue["id"], "assignee_id": assignee.id})
    for one in (creator, assignee, member, keeper):
        assert set(doors(desk, ticket, one)) == {True}
    desk.call(contract.REMOVE_QUEUE_MEMBER, {"id": queue["id"], "user_id": member.id})
    assert set(doors(desk, ticket, member)) == {False}
    with pytest.raises(errors.Forbidden):
        desk.read(ticket, agent("own", ticket="none"))


def test_what_is_out_of_reach_is_not_there_at_any_door_that_changes(desk: HelpDesk) -> None:
    ticket, stranger = desk.ticket(), agent("own", new_id())
    asked: tuple[tuple[Operation, dict[str, Any]], ...] = (
        (contract.ADD_MESSAGE, {"body": "x"}), (contract.CLAIM_TICKET, {}), (contract.REQUEST_TASK, {"title": "x"}),
        (contract.CHANGE_TICKET, {"expected_version": 1, "changes": {"priority": "low"}}),
        (contract.ASSIGN_TICKET, {"assignee_id": stranger.id}), (contract.SET_TICKET_STATUS, {"status": "open"}))
    for operation, more in asked:
        with pytest.raises(errors.NotFound):
            desk.call(operation, {"id": ticket["id"]} | more, subject=stranger)
    other = desk.say(desk.ticket())
    with pytest.raises(errors.NotFound):
        desk.call(contract.GET_MESSAGE, {"id": ticket["id"], "message_id": other["id"]})


def test_a_kept_answer_is_not_given_to_whoever_has_lost_the_ticket(desk: HelpDesk) -> None:
    member = agent()
    queue = desk.queue(member, strategy="manual")
    ticket = desk.ticket(queue_id=queue["id"])
    key = new_id()
    desk.call(contract.ADD_MESSAGE, {"id": ticket["id"], "body": "x"}, subject=member, key=key)
    desk.call(contract.REMOVE_QUEUE_MEMBER, {"id": queue["id"], "user_id": member.id})
    with pytest.raises(errors.NotFound):
        desk.call(contract.ADD_MESSAGE, {"id": ticket["id"], "body": "x"}, subject=member, key=key)


def test_what_is_stored_and_told_of_a_ticket_holds_no_word_of_it_in_clear(desk: HelpDesk) -> None:
    ticket = desk.ticket(body="planted-question")
    desk.say(ticket, body="planted-answer")
    desk.call(contract.SET_TICKET_STATUS, {"id": ticket["id"], "status": "resolved", "resolution": "planted-end"})
    desk.call(contract.REQUEST_TASK, {"id": ticket["id"], "title": "Visit", "description": "planted-task"})
    with desk.db.read() as session:
        rows = [str(row) for table in ("ticket", "message", "outbox", "idempotency", "field_change")
                for row in session.connection().exec_driver_sql(f"SELECT * FROM {table}")]
    assert rows
    assert not [row for row in rows if "planted-" in row]


def test_a_snapshot_tells_every_ticket_as_it_is(desk: HelpDesk) -> None:
    ticket = desk.move(desk.ticket(), "resolved")
    with desk.db.write() as session:
        snapshot.request(session, "ticket")
    eventually(lambda: "snapshot" in desk.said_of(ticket))
    told = desk.told_of(ticket)[-1]
    assert (told["entityversion"], told["data"]["status"]) == (ticket["version"], "resolved")
