"""The third job: a contact who agrees is put on the mailing list, and one who leaves it there has refused here."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from hub.demo.colleague import Colleague
from hub.demo.connection import API, Connection
from hub.demo.door import Door, wait_for
from hub.demo.erp import Erp
from hub.demo.showing import Row, Tell, ledger_row


@dataclass
class SubscriptionOutcome:
    """What the job has seen.

    Attributes:
        contact: as the hub holds it, with consent granted.
        subscribed: the list's row on arrival.
        subscribed_s: seconds from the 2xx of the consent to the row on the list.
        unsubscribed: the list's row after the person was taken off there.
        refused: the contact as the hub holds it after that.
        refused_s: seconds from there to the refused consent here.
        ledger: of the connection.
    """

    contact: dict[str, Any] = field(default_factory=dict)
    subscribed: dict[str, Any] = field(default_factory=dict)
    subscribed_s: float = 0.0
    unsubscribed: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, Any] = field(default_factory=dict)
    refused_s: float = 0.0
    ledger: dict[str, Any] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """The job as rows of the table."""
        return [
            Row("contact → subscriber", f"{self.contact['email']}\nconsent {_said(self.contact)}",
                f"{self.subscribed['email']}\n{_state(self.subscribed)}", self.subscribed_s),
            Row("unsubscribed there → refused", f"consent {_said(self.refused)}",
                f"{self.unsubscribed['email']}\n{_state(self.unsubscribed)}", self.refused_s),
            ledger_row("Sandbox mailing list", self.ledger),
        ]


class SubscriptionJob:
    """One run of the job. A run that was cut off goes on with another contact."""

    def __init__(self, door: Door, erp: Erp, colleague: Colleague, tell: Tell) -> None:
        self._door = door
        self._erp = erp
        self._colleague = colleague
        self._tell = tell
        self.outcome = SubscriptionOutcome()

    def run(self) -> SubscriptionOutcome:
        """Do the whole job.

        Raises:
            Refused: the hub refused a step.
            Trouble: something did not happen in time.
        """
        connection = Connection.ensure(self._door, self._erp.wanted_mailing_list(), self._tell)
        self.subscribe()
        self.unsubscribe(connection)
        self.outcome.ledger = connection.settled_ledger()
        return self.outcome

    def subscribe(self) -> None:
        """Make a contact who agrees to mail, and wait until they are on the list."""
        tag = uuid.uuid4().hex[:6]
        email = f"reader-{tag}@example.com"
        customer = self._door.post(f"{API}/customers", {"name": f"杭州示例商行 {tag}", "phone": "+86 571 8700 0000"})
        self.outcome.contact = self._door.post(f"{API}/contacts", {
            "customer_id": customer["id"], "name": "李娜", "email": email, "consent": {"email": "granted"}})
        granted = time.monotonic()
        self.outcome.subscribed = wait_for("the subscription", lambda: self._row(email, active=True))
        self.outcome.subscribed_s = time.monotonic() - granted
        self._tell(f"{email} agrees to mail, and is on the list after {self.outcome.subscribed_s:.2f} s")

    def unsubscribe(self, connection: Connection) -> None:
        """Have the person taken off the list there, and wait until their consent is refused here."""
        email, place = self.outcome.contact["email"], f"{API}/contacts/{self.outcome.contact['id']}"
        self._colleague.unsubscribe(email)
        left = time.monotonic()
        self.outcome.unsubscribed = self._row(email, active=False) or {}

        def refused() -> dict[str, Any] | None:
            contact = self._door.get(place)
            return contact if contact["consent"]["email"]["state"] == "refused" else None

        self.outcome.refused = connection.pulled("the refusal's way back", refused)
        self.outcome.refused_s = time.monotonic() - left
        self._tell(f"unsubscribed there, and consent refused here after {self.outcome.refused_s:.2f} s")

    def _row(self, email: str, *, active: bool) -> dict[str, Any] | None:
        rows = self._erp.subscriptions(email)
        return rows[0] if len(rows) == 1 and rows[0]["active"] == active else None


def _said(contact: dict[str, Any]) -> str:
    said = contact["consent"]["email"]
    return f"{said['state']}, said in {said['source']}"


def _state(row: dict[str, Any]) -> str:
    return "on the list" if row["active"] else "off the list"
