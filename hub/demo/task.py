"""The second job: a ticket's task stands in a colleague's calendar, and is done here when it is ticked off there."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hub.demo.calendar import COLLEAGUE, Calendar
from hub.demo.connection import API, Connection
from hub.demo.door import Door, wait_for
from hub.demo.showing import Row, Tell, ledger_row


@dataclass
class TaskOutcome:
    """What the job has seen.

    Attributes:
        ticket, task: as the hub holds them; the task as it was made.
        made_s: seconds from the 2xx of the wish at the ticket to the task in customers.
        todo: the VTODO's properties in the colleague's calendar, on arrival.
        arrived_s: seconds from the 2xx of the wish to the VTODO.
        ticked: the VTODO's properties after the colleague has ticked it off.
        done: the task as the hub holds it after that.
        done_s: seconds from the ticking off there to the done task here.
        ledger: of the connection.
    """

    ticket: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    made_s: float = 0.0
    todo: dict[str, str] = field(default_factory=dict)
    arrived_s: float = 0.0
    ticked: dict[str, str] = field(default_factory=dict)
    done: dict[str, Any] = field(default_factory=dict)
    done_s: float = 0.0
    ledger: dict[str, Any] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """The job as rows of the table."""
        return [
            Row("ticket → task", f"{self.ticket['subject']}\n{self.task['title']}, {self.task['status']}", "",
                self.made_s),
            Row("task → calendar", f"{self.task['title']}\n{self.task['id']}",
                f"{self.todo['SUMMARY']}, {self.todo['STATUS']}\n{self.todo['UID']}", self.arrived_s),
            Row("ticked off there → done", f"{self.done['status']}, {self.done['progress']} %",
                f"{self.ticked['STATUS']}, {self.ticked['PERCENT-COMPLETE']} %", self.done_s),
            ledger_row("Sandbox calendar", self.ledger),
        ]


class TaskJob:
    """One run of the job. A run that was cut off goes on with another ticket."""

    def __init__(self, door: Door, calendar: Calendar, tell: Tell) -> None:
        self._door = door
        self._calendar = calendar
        self._tell = tell
        self.outcome = TaskOutcome()

    def run(self) -> TaskOutcome:
        """Do the whole job.

        Raises:
            Refused: the hub refused a step.
            Trouble: something did not happen in time.
        """
        connection = Connection.ensure(self._door, self._calendar.wanted(), self._tell)
        self.ask(self.colleague(connection))
        self.arrive()
        self.tick_off(connection)
        self.outcome.ledger = connection.settled_ledger()
        return self.outcome

    def colleague(self, connection: Connection) -> str:
        """Return the colleague's user id, with the account that is theirs at the calendar server."""
        known = self._door.get(f"{API}/users", username=COLLEAGUE)["items"]
        user = known[0] if known else self._door.post(f"{API}/users", {"username": COLLEAGUE, "name": "张三"})
        self._door.put(f"{connection.place}/accounts/{user['id']}", {"account": COLLEAGUE})
        return str(user["id"])

    def ask(self, colleague: str) -> None:
        """Open a ticket, and want something done for it."""
        tag = uuid.uuid4().hex[:6]
        customer = self._door.post(f"{API}/customers", {"name": f"苏州示例工厂 {tag}", "phone": "+86 512 6288 0000"})
        self.outcome.ticket = self._door.post(f"{API}/tickets", {
            "subject": f"水泵停机 {tag}", "customer_id": customer["id"], "body": "今天早上又停了"})
        due = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
        ticket = self.outcome.ticket["id"]
        self._door.post(f"{API}/tickets/{ticket}/tasks", {
            "title": f"带备用水泵上门 {tag}", "assignee_id": colleague, "due_at": f"{due:%Y-%m-%dT%H:%M:%S.000000Z}"})
        self._wanted = time.monotonic()

        def made() -> dict[str, Any] | None:
            found = self._door.get(f"{API}/tasks", subject_entity="ticket", subject_id=ticket)["items"]
            return found[0] if found else None

        self.outcome.task = wait_for("the ticket's task", made)
        self.outcome.made_s = time.monotonic() - self._wanted
        subject = self.outcome.ticket["subject"]
        self._tell(f"ticket {subject} opened, and its task made after {self.outcome.made_s:.2f} s")

    def arrive(self) -> None:
        """Wait until the task stands in the colleague's calendar."""
        task = self.outcome.task["id"]
        self.outcome.todo = wait_for("the task's arrival in the calendar", lambda: self._calendar.todo(task))
        self.outcome.arrived_s = time.monotonic() - self._wanted
        self._tell(f"task in {COLLEAGUE}'s calendar after {self.outcome.arrived_s:.2f} s")

    def tick_off(self, connection: Connection) -> None:
        """Have the colleague tick the task off, and wait until it is done here."""
        task = self.outcome.task["id"]
        self._calendar.complete(task)
        ticked = time.monotonic()
        self.outcome.ticked = self._calendar.todo(task) or {}

        def done() -> dict[str, Any] | None:
            found = self._door.get(f"{API}/tasks/{task}")
            return found if found["status"] == "done" else None

        self.outcome.done = connection.pulled("the task's completion", done)
        self.outcome.done_s = time.monotonic() - ticked
        self._tell(f"ticked off there, and done here after {self.outcome.done_s:.2f} s")
