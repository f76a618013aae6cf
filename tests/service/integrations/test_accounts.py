"""A task lands in its assignee's account, waits until there is one, and follows when it is given to somebody else."""

from __future__ import annotations

import pytest

from chassis.database import new_id
from contracts.errors import AlreadyExists, Invalid, NotFound
from services.integrations.operations import accounts
from tests.service.integrations.conftest import ADMIN, Hub
from tests.service.integrations.test_two_ways import ANN, connect, row_of, task
from tests.support.fake_target import FakeTarget

BOB = new_id()


def put(hub: Hub, connection_id: str, user_id: str, account: str) -> None:
    with hub.db.write() as session:
        accounts.put(session, {"id": connection_id, "user_id": user_id, "account": account}, by=ADMIN)
    hub.engine.wake([connection_id])


def test_a_task_waits_for_the_account_of_its_assignee_and_then_goes_there(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub, assignee_id=BOB)
    hub.until(id, "blocked")
    [delivery] = hub.deliveries(id)
    put_it = f"PUT /connections/{connection_id}/accounts/{BOB}"
    assert delivery.last_error == f"the user {BOB} has no account there: {put_it}"

    put(hub, connection_id, BOB, "bob")

    hub.until(id, "delivered")
    assert row_of(target, id).account == "bob"


def test_a_task_that_is_given_to_somebody_else_moves_to_the_other_account(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")
    put(hub, connection_id, BOB, "bob")

    task(hub, 2, id, assignee_id=BOB)

    hub.until(id, "delivered", "delivered")
    assert [(row.key, row.account) for row in target.of("task")] == [(id, "bob")]


def test_a_task_of_nobody_is_taken_away_and_never_brought(hub: Hub, target: FakeTarget) -> None:
    connect(hub, target, "task")
    hub.run()
    id = task(hub)
    hub.until(id, "delivered")

    task(hub, 2, id, assignee_id=None)
    hub.until(id, "delivered", "delivered")
    assert target.of("task") == []

    task(hub, 3, id, assignee_id=None)
    hub.until(id, "delivered", "delivered", "skipped")
    task(hub, 4, id, assignee_id=ANN)
    hub.until(id, "delivered", "delivered", "skipped", "delivered")
    assert [row.account for row in target.of("task")] == ["ann"]


def test_an_account_is_one_users_alone_and_can_be_forgotten(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "task")
    with pytest.raises(AlreadyExists, match="ann is the account of another user"):
        put(hub, connection_id, BOB, "ann")
    put(hub, connection_id, ANN, "ann.li")

    with hub.db.write() as session:
        asked = {"id": connection_id, "user_id": ANN}
        assert accounts.get(session, asked, by=ADMIN)["account"] == "ann.li"
        accounts.delete(session, asked, by=ADMIN)
        with pytest.raises(NotFound):
            accounts.get(session, asked, by=ADMIN)


def test_a_target_without_accounts_takes_none(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")

    with pytest.raises(Invalid):
        put(hub, connection_id, ANN, "ann")
