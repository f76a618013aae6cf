"""Whose a ticket is: given out, claimed and assigned, also by many at once, on both databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import eventlet
import pytest
from sqlalchemy import update

from chassis import migrations
from chassis.context import Subject
from chassis.database import Database, new_id
from contracts import errors
from contracts import tickets as contract
from services.tickets.models import Queue, Ticket
from tests.service.tickets.helpdesk import HelpDesk, agent
from tests.support.processes import Processes, eventually
from tests.support.rooms import Rooms


def at_once(calls: Sequence[Callable[..., Any]]) -> Counter[str]:
    """Make all calls at the same time, each under a key of its own; return how each ended.

    As a client does, a call that could not be answered in time is repeated with its key.
    """

    def one(call: Callable[..., Any]) -> str:
        key = new_id()
        for _ in range(10):
            try:
                call(key=key)
            except (errors.Unavailable, errors.DeadlineExceeded, errors.DuplicateInFlight) as error:
                eventlet.sleep(error.retry_after_s or 1)
            except errors.HubError as error:
                return error.code
            else:
                return "done"
        return "unanswered"

    return Counter(thread.wait() for thread in [eventlet.spawn(one, call) for call in calls])


def claiming(desk: HelpDesk, ticket: dict[str, Any], by: Subject) -> Callable[..., Any]:
    return lambda **options: desk.call(contract.CLAIM_TICKET, {"id": ticket["id"]}, subject=by, **options)


def owners(desk: HelpDesk, tickets: Sequence[dict[str, Any]]) -> list[str | None]:
    return [desk.read(ticket)["assignee_id"] for ticket in tickets]


def test_of_fifty_who_claim_one_ticket_at_once_one_has_it(desk: HelpDesk) -> None:
    agents = [agent() for _ in range(50)]
    ticket = desk.ticket(queue_id=desk.queue(*agents, strategy="manual")["id"])
    assert at_once([claiming(desk, ticket, one) for one in agents]) == {"done": 1, "conflict": 49}
    taken = desk.read(ticket)
    assert taken["assignee_id"] in {one.id for one in agents}
    assert (taken["status"], taken["version"]) == ("open", 2)
    assert desk.said_of(ticket) == ["created", "assigned"]


def test_one_who_claims_fifty_at_once_has_as_many_as_the_queue_allows(desk: HelpDesk) -> None:
    mine = agent()
    queue = desk.queue(mine, strategy="manual", max_open=5)["id"]
    tickets = [desk.ticket(queue_id=queue) for _ in range(20)]
    assert at_once([claiming(desk, one, mine) for one in tickets]) == {"done": 5, "conflict": 15}
    assert Counter(owners(desk, tickets)) == {mine.id: 5, None: 15}


def test_two_processes_on_one_postgresql_give_one_ticket_to_one_and_nobody_too_much(
        processes: Processes, amqp_uri: str, postgres_uri: str) -> None:
    rooms = Rooms(processes.home, amqp_uri, DB_URI_TICKETS=postgres_uri)
    migrations.upgrade("tickets", postgres_uri)
    env = {"AMQP_URI": amqp_uri, "DB_URI_TICKETS": postgres_uri}
    first, second = processes.room("tickets", env), processes.room("tickets", env)
    desk = HelpDesk(rooms, amqp_uri, Database(postgres_uri))
    try:
        agents = [agent() for _ in range(25)]
        ticket = desk.ticket(queue_id=desk.queue(*agents, strategy="manual")["id"])
        assert at_once([claiming(desk, ticket, one) for one in agents * 2]) in (
            {"done": 1, "conflict": 49}, {"done": 2, "conflict": 48})  # the one who has it may ask again
        queue = desk.queue(*agents[:5], max_open=3)["id"]
        made: list[dict[str, Any]] = []
        opening = [lambda **options: made.append(desk.call(
            contract.CREATE_TICKET, {"subject": "x", "queue_id": queue}, **options))] * 30
        resolving = [lambda **options: desk.call(contract.SET_TICKET_STATUS, {
            "id": ticket["id"], "status": "resolved", "resolution": "x"}, **options)]
        assert at_once(opening + resolving) == {"done": 31}
        assert sorted(Counter(owners(desk, made)).values()) == [3, 3, 3, 3, 3, 15]
        assert first.alive()
        assert second.alive()
    finally:
        desk.db.close()
        rooms.stop_all()


def test_tickets_that_come_in_at_once_are_spread_and_no_member_has_too_many(desk: HelpDesk) -> None:
    agents = [agent() for _ in range(4)]
    queue = desk.queue(*agents, strategy="least_open", max_open=3)["id"]
    made: list[dict[str, Any]] = []
    ended = at_once([lambda **options: made.append(
        desk.call(contract.CREATE_TICKET, {"subject": "x", "queue_id": queue}, **options))] * 20)
    assert ended == {"done": 20}
    spread = Counter(owners(desk, made))
    assert spread == {None: 8} | {one.id: 3 for one in agents}


def test_a_queue_gives_in_turn_and_what_waits_goes_to_whoever_gets_room(desk: HelpDesk) -> None:
    one, two = agent(), agent()
    queue = desk.queue(one, two, max_open=1)
    tickets = [desk.ticket(queue_id=queue["id"]) for _ in range(4)]
    assert owners(desk, tickets) == [one.id, two.id, None, None]
    assert tickets[0]["version"] == 2
    desk.move(tickets[1], "resolved")
    assert owners(desk, tickets) == [one.id, two.id, two.id, None]
    three = agent()
    desk.call(contract.ADD_QUEUE_MEMBER, {"id": queue["id"], "user_id": three.id})
    assert owners(desk, tickets) == [one.id, two.id, two.id, three.id]
    assert desk.said_of(tickets[3]) == ["created", "assigned"]
    last = desk.ticket(queue_id=queue["id"])
    desk.call(contract.CHANGE_QUEUE, {"id": queue["id"], "expected_version": 2, "changes": {"max_open": None}})
    assert owners(desk, [last]) == [one.id]


def test_a_ticket_that_somebody_held_while_its_queue_gave_out_is_given_soon_after(desk: HelpDesk) -> None:
    mine = agent()
    queue = desk.queue(mine, max_open=1)["id"]
    first, waits = (desk.ticket(queue_id=queue) for _ in range(2))
    with desk.db.write() as session:
        if desk.db.is_sqlite:  # where nobody can hold one ticket alone: room that no call has made
            session.execute(update(Queue).where(Queue.id == queue).values(max_open=2))
        else:
            assert session.get(Ticket, waits["id"], with_for_update={"key_share": True}) is not None
            desk.move(first, "resolved")
            assert owners(desk, [waits]) == [None]
    eventually(lambda: owners(desk, [waits]) == [mine.id])
    assert desk.said_of(waits) == ["created", "assigned"]


def test_a_ticket_is_handed_on_within_its_queue_put_back_and_moved(desk: HelpDesk) -> None:
    one, two, elsewhere = agent(), agent(), agent()
    team = new_id()
    queue, other = desk.queue(one, two, strategy="manual"), desk.queue(elsewhere, team_id=team)
    ticket = desk.ticket(queue_id=queue["id"])
    by_id = {"id": ticket["id"]}
    assert desk.call(contract.ASSIGN_TICKET, by_id | {"assignee_id": one.id})["assignee_id"] == one.id
    assert desk.call(contract.ASSIGN_TICKET, by_id | {"assignee_id": two.id}, subject=one)["assignee_id"] == two.id
    with pytest.raises(errors.Invalid) as caught:
        desk.call(contract.ASSIGN_TICKET, by_id | {"assignee_id": elsewhere.id})
    assert caught.value.fields["errors"][0]["code"] == "no_member"
    assert desk.call(contract.ASSIGN_TICKET, by_id | {"assignee_id": None})["assignee_id"] is None
    moved = desk.call(contract.ASSIGN_TICKET, by_id | {"queue_id": other["id"]})
    assert (moved["queue_id"], moved["team_id"], moved["assignee_id"]) == (other["id"], team, elsewhere.id)
    assert desk.said_of(ticket) == ["created", "assigned", "assigned", "updated", "updated", "assigned"]


def test_without_a_queue_a_ticket_is_given_only_within_reach(desk: HelpDesk) -> None:
    mine, mate = agent(), agent()
    ticket = desk.ticket(mine)
    asked = {"id": ticket["id"], "assignee_id": mate.id}
    with pytest.raises(errors.Invalid) as caught:
        desk.call(contract.ASSIGN_TICKET, asked, subject=mine)
    assert caught.value.fields["errors"][0]["pointer"] == "/assignee_id"
    assert desk.call(contract.ASSIGN_TICKET, asked | {"assignee_id": mine.id}, subject=mine)["assignee_id"] == mine.id
    assert desk.call(contract.ASSIGN_TICKET, asked)["assignee_id"] == mate.id


def test_a_queue_that_is_closed_or_out_of_sight_takes_no_ticket(desk: HelpDesk) -> None:
    queue = desk.queue()
    for by, id in ((agent(), queue["id"]), (agent("all"), new_id())):
        with pytest.raises(errors.Invalid) as caught:
            desk.ticket(by, queue_id=id)
        assert caught.value.fields["errors"][0]["pointer"] == "/queue_id"
    desk.call(contract.CHANGE_QUEUE, {"id": queue["id"], "expected_version": 1, "changes": {"active": False}})
    ticket = desk.ticket()
    with pytest.raises(errors.Invalid):
        desk.call(contract.ASSIGN_TICKET, {"id": ticket["id"], "queue_id": queue["id"]})
    with pytest.raises(errors.Invalid):
        desk.call(contract.ASSIGN_TICKET, {"id": ticket["id"], "queue_id": new_id()})


def test_queues_are_kept_by_whoever_may_and_read_by_their_members(desk: HelpDesk) -> None:
    team, below = new_id(), new_id()
    manager, member, stranger = agent("tree", team, below=[below]), agent(), agent("team", new_id())
    queue = desk.call(contract.CREATE_QUEUE, {"name": new_id(), "team_id": below, "members": [member.id] * 2},
                      subject=manager)
    assert (queue["members"], queue["strategy"], queue["active"]) == ([member.id], "round_robin", True)
    for by in (manager, member):
        assert desk.call(contract.GET_QUEUE, {"id": queue["id"]}, subject=by) == queue
        listed = desk.call(contract.LIST_QUEUES, {"limit": 200}, subject=by)["items"]
        assert queue["id"] in [one["id"] for one in listed]
    with pytest.raises(errors.NotFound):
        desk.call(contract.GET_QUEUE, {"id": queue["id"]}, subject=stranger)
    for by in (member, stranger):
        with pytest.raises(errors.NotFound):
            desk.call(contract.ADD_QUEUE_MEMBER, {"id": queue["id"], "user_id": by.id}, subject=by)
    for team_id in (None, new_id()):
        with pytest.raises(errors.Invalid):
            desk.call(contract.CREATE_QUEUE, {"name": new_id(), "team_id": team_id}, subject=manager)
    with pytest.raises(errors.StaleVersion):
        desk.call(contract.CHANGE_QUEUE, {"id": queue["id"], "expected_version": 9, "changes": {"max_open": 1}})
    with pytest.raises(errors.AlreadyExists):
        desk.queue(name=queue["name"])


def test_two_queues_made_at_once_with_one_name_are_one(desk: HelpDesk) -> None:
    name = new_id()
    ended = at_once([lambda **options: desk.call(contract.CREATE_QUEUE, {"name": name}, **options)] * 4)
    assert ended == {"done": 1, "already_exists": 3}


def test_joining_twice_and_leaving_twice_changes_nothing_more(desk: HelpDesk) -> None:
    queue, mine = desk.queue(), agent()
    asked = {"id": queue["id"], "user_id": mine.id}
    joined = [desk.call(contract.ADD_QUEUE_MEMBER, asked) for _ in range(2)]
    assert [(one["version"], one["members"]) for one in joined] == [(2, [mine.id])] * 2
    for _ in range(2):
        desk.call(contract.REMOVE_QUEUE_MEMBER, asked)
    left = desk.call(contract.GET_QUEUE, {"id": queue["id"]})
    assert (left["version"], left["members"]) == (3, [])
