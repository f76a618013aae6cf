"""A ticket wants something done: it stands among the tasks of the person, through the gateway alone."""

from __future__ import annotations

from typing import Any

from chassis.database import new_id
from hub.demo.door import wait_for
from tests.support.local_hub import LocalHub


def test_a_task_wanted_for_a_ticket_stands_in_customers_assigned_to_the_person(whole_hub: LocalHub) -> None:
    door, mark = whole_hub.door(), new_id()
    person = door.post("/api/v1/users", {"username": f"li-na-{mark[-12:]}", "name": "Li Na"})["id"]
    queue = door.post("/api/v1/queues", {"name": mark, "members": [person], "max_open": 5})
    customer = door.post("/api/v1/customers", {"name": "上海示例有限公司", "phone": "+86 138 0013 8000"})
    ticket = door.post("/api/v1/tickets", {"subject": "水泵停机", "customer_id": customer["id"],
                                           "queue_id": queue["id"], "body": "今天早上又停了"})
    assert (ticket["assignee_id"], ticket["status"]) == (person, "new")
    asked = {"title": "带备用水泵上门", "assignee_id": person, "due_at": "2026-12-01T09:00:00.000000Z"}
    wanted = door.post(f"/api/v1/tickets/{ticket['id']}/tasks", asked, key=mark)
    assert door.post(f"/api/v1/tickets/{ticket['id']}/tasks", asked, key=mark) == wanted

    def stands() -> Any:
        return door.get("/api/v1/tasks", subject_entity="ticket", subject_id=ticket["id"])["items"] or None

    (task,) = wait_for("the task", stands)
    told = ("title", "assignee_id", "due_at", "customer_id", "subject", "requested_by_key", "status")
    assert {name: task[name] for name in told} == asked | {
        "customer_id": customer["id"], "subject": {"entity": "ticket", "id": ticket["id"]},
        "requested_by_key": wanted["key"], "status": "open"}
    assert [one["id"] for one in door.get(f"/api/v1/customers/{customer['id']}/tasks")["items"]] == [task["id"]]
