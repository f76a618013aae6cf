"""The hub's three flows as stories that end alike whoever is killed meanwhile, and what must stand at the targets then.

The oracle is outside: what the gateway acknowledged in a story, against what the ERP, its mailing list and the calendar
server hold, read from themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.demo.calendar import properties, uid_of
from hub.demo.connection import API
from hub.demo.order import OrderJob, OrderOutcome
from hub.demo.showing import Tell
from hub.demo.subscription import SubscriptionJob, SubscriptionOutcome
from hub.demo.task import TaskJob, TaskOutcome
from tests.support.local_hub import LocalHub


@dataclass(frozen=True)
class Story:
    """One flow, there and back.

    Attributes:
        programs: the processes that have a part in it.
        lasts_s: about how long it takes when nobody is killed.
        tell: runs it once; returns what was acknowledged and seen. What it is given hears of each step that is done.
        ended: asserts that one telling ended as ever.
        stands: asserts that what it acknowledged stands at the target, once and in its newest version.
    """

    programs: tuple[str, ...]
    lasts_s: float
    tell: Callable[[LocalHub, Tell], Any]
    ended: Callable[[Any], None]
    stands: Callable[[LocalHub, Any], None]


def _closed(ledger: dict[str, Any]) -> None:
    assert ledger["balanced"]
    assert ledger["dead"] == 0


# --- an order becomes a sale, and is fulfilled when the ERP has shipped it -------------------------------------------


def _order(hub: LocalHub, tell: Tell) -> OrderOutcome:
    return OrderJob(hub.door(), hub.erp(), hub.colleague(), tell).run()


def _order_ended(outcome: OrderOutcome) -> None:
    assert outcome.sales == 1, "lost or doubled"
    assert outcome.replayed, "the same key gave another answer"
    assert outcome.refused == "invalid_transition"
    assert outcome.renamed["name"].endswith(outcome.customer["name"].rpartition(" ")[2])
    assert outcome.fulfilled["status"] == "fulfilled", "shipped there, and not told here"
    _closed(outcome.ledger)


def _order_stands(hub: LocalHub, outcome: OrderOutcome) -> None:
    erp = hub.erp()
    assert len(erp.sales(outcome.order["id"])) == 1
    assert [party["name"] for party in erp.parties(outcome.customer["id"])] == [outcome.renamed["name"]]


# --- a ticket's task stands in a calendar, and is done when it is ticked off there -----------------------------------


def _task(hub: LocalHub, tell: Tell) -> TaskOutcome:
    return TaskJob(hub.door(), hub.calendar(), tell).run()


def _task_ended(outcome: TaskOutcome) -> None:
    assert (outcome.todo["SUMMARY"], outcome.ticked["STATUS"]) == (outcome.task["title"], "COMPLETED")
    assert (outcome.done["status"], outcome.done["progress"]) == ("done", 100), "ticked off there, and not told here"
    _closed(outcome.ledger)


def _task_stands(hub: LocalHub, outcome: TaskOutcome) -> None:
    there = [todo for todo in _todos(hub.home) if todo["SUMMARY"] == outcome.task["title"]]
    assert [(todo["UID"], todo["STATUS"]) for todo in there] == [(uid_of(outcome.task["id"]), "COMPLETED")]
    asked = {"subject_entity": "ticket", "subject_id": outcome.ticket["id"]}
    here = hub.door().get(f"{API}/tasks", **asked)["items"]
    assert [(task["id"], task["status"]) for task in here] == [(outcome.task["id"], "done")]


def _todos(home: Path) -> list[dict[str, str]]:
    """Return every VTODO in any calendar of the server, as it keeps them: a folder for each owner and calendar."""
    calendars = home / "sandbox" / "radicale" / "collections" / "collection-root"
    texts = (file.read_bytes().decode().replace("\r\n ", "") for file in calendars.glob("*/*/*.ics"))
    return [properties(text) for text in texts]


# --- a contact who agrees is on the mailing list, and one who leaves it there has refused here -----------------------


def _subscription(hub: LocalHub, tell: Tell) -> SubscriptionOutcome:
    return SubscriptionJob(hub.door(), hub.erp(), hub.colleague(), tell).run()


def _subscription_ended(outcome: SubscriptionOutcome) -> None:
    assert (outcome.subscribed["email"], outcome.subscribed["active"]) == (outcome.contact["email"], True)
    assert (outcome.unsubscribed["id"], outcome.unsubscribed["active"]) == (outcome.subscribed["id"], False)
    assert outcome.refused["consent"]["email"]["state"] == "refused", "taken off there, and not told here"
    _closed(outcome.ledger)


def _subscription_stands(hub: LocalHub, outcome: SubscriptionOutcome) -> None:
    email, customer = outcome.contact["email"], outcome.contact["customer_id"]
    assert [row["active"] for row in hub.erp().subscriptions(email)] == [False], "back on the list against their will"
    here = hub.door().get(f"{API}/customers/{customer}/contacts")["items"]
    assert [(one["id"], one["consent"]["email"]["state"]) for one in here] == [(outcome.contact["id"], "refused")]


ALWAYS = ("broker", "identity", "customers", "integrations", "gateway")
STORIES = {
    "order": Story((*ALWAYS, "sales", "tryton"), 2.5, _order, _order_ended, _order_stands),
    "task": Story((*ALWAYS, "tickets", "radicale"), 1.2, _task, _task_ended, _task_stands),
    "subscription": Story((*ALWAYS, "tryton"), 1.0, _subscription, _subscription_ended, _subscription_stands),
}
