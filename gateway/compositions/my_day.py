"""What is mine to do today."""

from marshmallow import fields

from contracts import customers, tickets
from contracts.schema import Request
from gateway.composition import Fact, Part, compose, me, now, tomorrow


class MyDay(Request):
    """Your own tasks, tickets and customers that want you today; the day is the company's, in `time_zone`.

    A task is `overdue` once its time has passed, and `due_today` until then. A part that did not come, for a service is
    away or you may not read it, is null and named in `missing`.
    """


MY_DAY = compose(
    "get_my_day", MyDay, "What is yours to do today.", summary="Read what is yours to do today",
    facts={
        "date": Fact(fields.Date(required=True), lambda asking: asking.now.date()),
        "time_zone": Fact(fields.String(required=True, metadata={
            "description": "IANA name of the company's time zone, in which the day ends."}),
            lambda asking: str(asking.now.tzinfo)),
    },
    parts=(
        Part("overdue", customers.LIST_TASKS, {"assignee_id": me, "unfinished": True, "due_before": now}, "/tasks"),
        Part("due_today", customers.LIST_TASKS,
             {"assignee_id": me, "unfinished": True, "due_from": now, "due_before": tomorrow}, "/tasks"),
        Part("tickets", tickets.LIST_TICKETS, {"assignee_id": me, "unresolved": True, "sort": "created_at"},
             "/tickets"),
        Part("follow_ups", customers.LIST_CUSTOMERS,
             {"owner_id": me, "follow_up_before": tomorrow, "sort": "next_follow_up_at"}, "/customers"),
    ),
)
