"""Use cases on activities."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from chassis import outbox
from chassis.context import Subject
from chassis.database import utcnow
from contracts import customers as contract
from contracts.errors import Invalid
from services.customers.models import Activity
from services.customers.queries import engagement

CLOCKS_DIFFER = dt.timedelta(minutes=5)
"""By how much a client's clock may be ahead of ours."""


def log(session: Session, asked: dict[str, Any], by: Subject) -> Activity:
    """Log what somebody did, and announce it.

    Raises:
        NotFound: there is no such customer or contact within reach.
        Invalid: it lies in the future, or the customer is not the subject's.
    """
    now = utcnow()
    occurred_at = asked.get("occurred_at") or now
    if occurred_at > now + CLOCKS_DIFFER:
        raise Invalid.of("/occurred_at", "in_future", "Must not lie in the future.")
    customer_id = engagement.customer_of(session, asked["subject"], asked.get("customer_id"), by)
    activity = Activity(subject=asked["subject"], customer_id=customer_id, kind=asked["kind"], content=asked["content"],
                        occurred_at=occurred_at, user_id=by.id, team_id=by.teams[0] if by.teams else None,
                        next_follow_up_at=asked["next_follow_up_at"], created_at=now)
    return _added(session, activity, by, "hub")


def note(session: Session, about: Mapping[str, str], customer_id: str, content: str, by: Subject, origin: str) -> None:
    """Write down, for the timeline of a customer, what happened to one of its records.

    Args:
        session: the transaction in which it happened.
        about: the record.
        customer_id: whose timeline.
        content: `what_happened: details`, for programs to translate.
        by: who did it.
        origin: the connection that caused it, or `hub`.
    """
    now = utcnow()
    _added(session, Activity(subject=about, customer_id=customer_id, kind="system", content=content, occurred_at=now,
                             user_id=by.id, created_at=now), by, origin)


def _added(session: Session, activity: Activity, by: Subject, origin: str) -> Activity:
    session.add(activity)
    session.flush()
    outbox.record(session, contract.ACTIVITY_LOGGED, subject=activity.id, version=1, data=activity, by=by,
                  origin=origin)
    return activity
