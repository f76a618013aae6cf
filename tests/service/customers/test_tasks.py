"""Tasks, over a real broker and both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chassis.database import new_id
from contracts import customers as contract
from contracts import errors
from contracts.operation import Operation
from tests.service.customers.desk import Desk, person


def ids(page: dict[str, Any]) -> set[str]:
    return {item["id"] for item in page["items"]}


def test_a_title_suffices_and_the_task_is_its_creators_own(desk: Desk) -> None:
    mine = person("own", team := new_id())
    task = desk.task(mine)
    assert desk.read(task, mine) == task
    assert {name: task[name] for name in ("status", "progress", "priority", "assignee_id", "created_by", "team_id",
                                          "due_at", "subject", "customer_id", "external_ref", "version")} == {
        "status": "open", "progress": 0, "priority": "normal", "assignee_id": mine.id, "created_by": mine.id,
        "team_id": team, "due_at": None, "subject": None, "customer_id": None, "external_ref": None, "version": 1}


def test_every_step_raises_the_version_and_is_announced_once_with_the_whole_task(desk: Desk) -> None:
    task = desk.task(description="问一下合同", due_at="2026-11-23T08:00:00Z")
    by_id = {"id": task["id"]}
    desk.call(contract.CHANGE_TASK, {**by_id, "expected_version": 1, "changes": {"progress": 40}})
    done = desk.call(contract.COMPLETE_TASK, by_id)
    assert (done["status"], done["progress"]) == ("done", 100)
    assert done["completed_at"] is not None
    reopened = desk.call(contract.REOPEN_TASK, by_id)
    assert (reopened["status"], reopened["progress"], reopened["completed_at"]) == ("open", 0, None)
    cancelled = desk.call(contract.CANCEL_TASK, {**by_id, "reason": "no need"})
    assert (cancelled["status"], cancelled["cancel_reason"], cancelled["version"]) == ("cancelled", "no need", 5)
    desk.call(contract.DELETE_TASK, {**by_id, "expected_version": 5})
    with pytest.raises(errors.NotFound):
        desk.read(task)
    told = desk.announced(task["id"])
    assert [(one["type"].partition(".")[2], one["entityversion"], one["data"]["changed"]) for one in told] == [
        ("task.created", 1, []), ("task.updated", 2, ["status", "progress"]),
        ("task.completed", 3, ["status", "progress", "completed_at"]),
        ("task.reopened", 4, ["status", "progress", "completed_at"]),
        ("task.cancelled", 5, ["status", "cancel_reason"]), ("task.deleted", 6, [])]
    assert {one["origin"] for one in told} == {"hub"}
    assert all(one["data"]["id"] == task["id"] and "问一下合同" not in str(one) for one in told)


@pytest.mark.parametrize(("steps", "refused"), [
    ((contract.COMPLETE_TASK,), contract.COMPLETE_TASK),
    ((contract.COMPLETE_TASK,), contract.CANCEL_TASK),
    ((), contract.REOPEN_TASK),
    ((contract.CANCEL_TASK,), contract.COMPLETE_TASK),
    ((contract.CANCEL_TASK,), contract.REOPEN_TASK),
])
def test_a_step_that_does_not_lead_on_is_refused_and_announces_nothing(
        desk: Desk, steps: tuple[Operation, ...], refused: Operation) -> None:
    by_id = {"id": desk.task()["id"]}
    for step in steps:
        desk.call(step, by_id)
    with pytest.raises(errors.InvalidTransition):
        desk.call(refused, by_id)
    assert len(desk.announced(by_id["id"])) == 1 + len(steps)


def test_a_done_task_is_corrected_but_not_moved_and_a_cancelled_one_is_neither(desk: Desk) -> None:
    task = desk.task()
    desk.call(contract.COMPLETE_TASK, {"id": task["id"]})
    asked = {"id": task["id"], "expected_version": 2}
    assert desk.call(contract.CHANGE_TASK, {**asked, "changes": {"title": "Called"}})["title"] == "Called"
    for changes in ({"progress": 10}, {"status": "open"}):
        with pytest.raises(errors.InvalidTransition):
            desk.call(contract.CHANGE_TASK, {**asked, "expected_version": 3, "changes": changes})
    other = desk.task()
    desk.call(contract.CANCEL_TASK, {"id": other["id"]})
    with pytest.raises(errors.InvalidTransition):
        desk.call(contract.CHANGE_TASK, {"id": other["id"], "expected_version": 2, "changes": {"title": "x"}})


def test_a_version_that_has_passed_is_refused_at_every_door_that_takes_one(desk: Desk) -> None:
    task = desk.task()
    desk.call(contract.CHANGE_TASK, {"id": task["id"], "expected_version": 1, "changes": {"title": "Other"}})
    old = {"id": task["id"], "expected_version": 1}
    for operation, asked in ((contract.CHANGE_TASK, {**old, "changes": {"title": "late"}}), (contract.DELETE_TASK, old),
                             (contract.COMPLETE_TASK, old), (contract.CANCEL_TASK, old), (contract.REOPEN_TASK, old)):
        with pytest.raises(errors.StaleVersion) as caught:
            desk.call(operation, asked)
        assert caught.value.fields == {"version": 2}
    assert desk.said(task["id"]) == ["task.created", "task.updated"]


def test_the_same_key_twice_makes_one_task_and_completes_it_once(desk: Desk) -> None:
    mine = person()
    first, again = (desk.ask(contract.CREATE_TASK, {"title": "Once"}, subject=mine, key="k") for _ in range(2))
    assert (again.replayed, again.value) == (True, first.value)
    by_id = {"id": first.value["id"]}
    done, same = (desk.ask(contract.COMPLETE_TASK, by_id, subject=mine, key="done") for _ in range(2))
    assert (same.replayed, same.value) == (True, done.value)
    assert desk.said(by_id["id"]) == ["task.created", "task.completed"]


def test_a_task_about_a_contact_or_customer_belongs_to_that_customer(desk: Desk) -> None:
    contact = desk.contact()
    for entity, id in (("contact", contact["id"]), ("customer", contact["customer_id"])):
        assert desk.task(subject={"entity": entity, "id": id})["customer_id"] == contact["customer_id"]
    order = {"entity": "order", "id": new_id()}
    assert desk.task(subject=order, customer_id=contact["customer_id"])["customer_id"] == contact["customer_id"]
    with pytest.raises(errors.Invalid) as caught:
        desk.task(subject={"entity": "contact", "id": contact["id"]}, customer_id=desk.customer()["id"])
    assert caught.value.fields["errors"][0]["pointer"] == "/customer_id"


def test_nobody_puts_a_task_on_a_customer_they_do_not_see(desk: Desk) -> None:
    customer, stranger = desk.customer(), person()
    for more in ({"customer_id": customer["id"]}, {"subject": {"entity": "customer", "id": customer["id"]}},
                 {"subject": {"entity": "contact", "id": desk.contact()["id"]}}):
        with pytest.raises(errors.NotFound):
            desk.task(stranger, **more)


def test_giving_a_task_to_somebody_else_takes_the_right_to(desk: Desk) -> None:
    team, below = new_id(), new_id()
    colleague, rep = person("own", team), person("own", team)
    with pytest.raises(errors.Invalid) as caught:
        desk.task(rep, assignee_id=colleague.id)
    assert caught.value.fields["errors"][0]["pointer"] == "/assignee_id"
    with pytest.raises(errors.Invalid) as caught:
        desk.task(rep, team_id=below)
    assert caught.value.fields["errors"][0]["pointer"] == "/team_id"
    manager = person("tree", team, below=[below])
    assert desk.task(manager, assignee_id=colleague.id, team_id=below)["assignee_id"] == colleague.id
    with pytest.raises(errors.Invalid):
        desk.task(manager, assignee_id=colleague.id, team_id=new_id())
    own = desk.task(rep)
    for changes in ({"assignee_id": colleague.id}, {"team_id": None}, {"team_id": below}):
        with pytest.raises(errors.Invalid):
            desk.call(contract.CHANGE_TASK, {"id": own["id"], "expected_version": 1, "changes": changes}, subject=rep)


# --- who sees a task ----------------------------------------------------------------------------------------------

TEAM, BELOW, ELSEWHERE = new_id(), new_id(), new_id()


def doors(desk: Desk, task: dict[str, Any], by: Any) -> Iterator[bool]:
    """Whether each door that reads shows the task: all of them say the same."""
    try:
        yield desk.read(task, by)["id"] == task["id"]
    except errors.NotFound:
        yield False
    yield task["id"] in ids(desk.call(contract.LIST_TASKS, {"sort": "-created_at"}, subject=by))


@pytest.mark.parametrize(("depth", "teams", "sees"), [
    ("own", (), False), ("own", (TEAM,), False), ("team", (TEAM,), True), ("team", (ELSEWHERE,), False),
    ("tree", (ELSEWHERE,), False), ("all", (), True), ("none", (TEAM,), None)])
def test_who_is_neither_assignee_nor_creator_sees_a_task_by_depth(desk: Desk, depth: Any, teams: tuple[str, ...],
                                                                  sees: bool | None) -> None:
    task = desk.task(person("own", TEAM))
    viewer = person(depth, *teams, customer="none")
    if sees is None:
        with pytest.raises(errors.Forbidden):
            desk.read(task, viewer)
    else:
        assert set(doors(desk, task, viewer)) == {sees}


def test_the_depth_tree_reaches_the_tasks_of_the_teams_below_and_team_does_not(desk: Desk) -> None:
    task = desk.task(person("own", BELOW))
    assert set(doors(desk, task, person("tree", TEAM, below=[BELOW], customer="none"))) == {True}
    assert set(doors(desk, task, person("team", TEAM, below=[BELOW], customer="none"))) == {False}


def test_a_task_is_seen_and_worked_on_by_its_assignee_and_its_creator(desk: Desk) -> None:
    creator, assignee = person(customer="none"), person(customer="none")
    task = desk.task(creator)
    desk.call(contract.CHANGE_TASK, {"id": task["id"], "expected_version": 1, "changes": {"assignee_id": assignee.id}})
    for one in (creator, assignee):
        assert set(doors(desk, task, one)) == {True}
    desk.call(contract.COMPLETE_TASK, {"id": task["id"]}, subject=assignee)
    desk.call(contract.REOPEN_TASK, {"id": task["id"]}, subject=creator)


def test_a_task_is_seen_by_whoever_sees_its_customer_and_worked_on_by_whoever_may_change_that(desk: Desk) -> None:
    owner = person()
    customer = desk.customer(owner)
    task = desk.task(customer_id=customer["id"])
    assert set(doors(desk, task, owner)) == {True}
    desk.call(contract.COMPLETE_TASK, {"id": task["id"]}, subject=owner)
    looker = person()
    looker.depths["customer"]["*"] = "none"  # type: ignore[index]
    looker.depths["customer"]["read"] = "all"  # type: ignore[index]
    assert set(doors(desk, task, looker)) == {True}
    for operation in (contract.REOPEN_TASK, contract.CANCEL_TASK):
        with pytest.raises(errors.NotFound):
            desk.call(operation, {"id": task["id"]}, subject=looker)
    with pytest.raises(errors.NotFound):
        desk.call(contract.DELETE_TASK, {"id": task["id"], "expected_version": 2}, subject=looker)
    assert set(doors(desk, task, person())) == {False}
    assert set(doors(desk, desk.task(), looker)) == {False}, "a task without a customer is nobody's by that way"


def test_without_any_right_to_tasks_a_customer_shows_none(desk: Desk) -> None:
    owner = person("own", task="none")
    desk.task(customer_id=desk.customer(owner)["id"])
    with pytest.raises(errors.Forbidden):
        desk.call(contract.LIST_TASKS, subject=owner)


def test_the_tasks_of_a_customer_are_listed_by_what_is_due_first_and_filtered(desk: Desk) -> None:
    customer = desk.customer()["id"]
    order = {"entity": "order", "id": new_id()}
    late = desk.task(customer_id=customer, due_at="2026-12-24T08:00:00Z", subject=order)["id"]
    undated = desk.task(customer_id=customer)["id"]
    soon = desk.task(customer_id=customer, due_at="2026-11-23T08:00:00Z")["id"]
    listed, cursor = [], None
    while True:
        page = desk.call(contract.LIST_TASKS_OF_CUSTOMER, {"id": customer, "limit": 1, "cursor": cursor})
        listed += [task["id"] for task in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert listed == [soon, late, undated]
    newest = desk.call(contract.LIST_TASKS, {"customer_id": customer, "sort": "-created_at"})["items"]
    assert [task["id"] for task in newest] == [soon, undated, late]
    assert ids(desk.call(contract.LIST_TASKS, {"subject_entity": "order", "subject_id": order["id"]})) == {late}
    desk.call(contract.COMPLETE_TASK, {"id": soon})
    assert ids(desk.call(contract.LIST_TASKS, {"customer_id": customer, "status": "done"})) == {soon}
    with pytest.raises(errors.NotFound):
        desk.call(contract.LIST_TASKS_OF_CUSTOMER, {"id": customer}, subject=person())


def test_a_date_that_is_taken_away_puts_a_task_last(desk: Desk) -> None:
    customer = desk.customer()["id"]
    first = desk.task(customer_id=customer, due_at="2026-11-23T08:00:00Z")
    second = desk.task(customer_id=customer, due_at="2026-11-24T08:00:00Z")
    desk.call(contract.CHANGE_TASK, {"id": first["id"], "expected_version": 1, "changes": {"due_at": None}})
    listed = desk.call(contract.LIST_TASKS, {"customer_id": customer})["items"]
    assert [task["id"] for task in listed] == [second["id"], first["id"]]


def test_what_is_stored_of_a_task_or_activity_holds_no_text_in_clear(desk: Desk) -> None:
    task = desk.task(description="planted-description")
    desk.call(contract.CHANGE_TASK, {"id": task["id"], "expected_version": 1,
                                     "changes": {"description": "planted-later"}}, key=new_id())
    desk.call(contract.LOG_ACTIVITY, {"subject": {"entity": "order", "id": new_id()}, "kind": "note",
                                      "content": "planted-content"}, key=new_id())
    with desk.db.read() as session:
        rows = [str(row) for table in ("task", "activity", "outbox", "idempotency", "field_change")
                for row in session.connection().exec_driver_sql(f"SELECT * FROM {table}")]
    assert rows
    assert not [row for row in rows if "planted-" in row]


def test_what_is_unfinished_is_found_by_when_it_is_due_and_what_has_no_date_is_due_at_no_time(desk: Desk) -> None:
    mine = person("own")
    dates = {"early": "2026-11-21T08:00:00Z", "noon": "2026-11-22T12:00:00Z", "late": "2026-11-23T00:00:00Z"}
    made = {name: desk.task(mine, due_at=at)["id"] for name, at in dates.items()} | {"undated": desk.task(mine)["id"]}
    done = desk.task(mine, due_at=dates["noon"])["id"]
    desk.call(contract.COMPLETE_TASK, {"id": done}, subject=mine)

    def found(**asked: Any) -> set[str]:
        names = {id: name for name, id in made.items()} | {done: "done"}
        return {names[id] for id in ids(desk.call(contract.LIST_TASKS, asked, subject=mine))}

    assert found(unfinished=True) == set(made)
    assert found(unfinished=False) == {"done"}
    assert found(unfinished=True, due_from=dates["noon"], due_before=dates["late"]) == {"noon"}
    assert found(due_before=dates["noon"]) == {"early"}
    assert found(due_from="2020-01-01T00:00:00Z") == {"early", "noon", "late", "done"}
