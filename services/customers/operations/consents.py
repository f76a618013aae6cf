"""Consent of customers and contacts: what is asked becomes what is held, and is announced on its own."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from chassis import outbox
from chassis.context import Subject
from chassis.database import utcnow
from contracts import customers as contract
from services.customers.domain import consent
from services.customers.domain.consent import Consents
from services.customers.models import Contact, Customer
from services.customers.operations import activities

HUB = "hub"
"""The source of what a person said here."""


def spoken(asked: dict[str, Any], held: Consents) -> dict[str, Any]:
    """Return what was asked, its `consent` (channel → state) grown to all that is then held, with time and source."""
    if "consent" not in asked:
        return asked
    now = utcnow()
    for channel, state in asked["consent"].items():
        held = consent.say(held, channel, state, now, HUB)
    return {**asked, "consent": dict(held)}


def announce(session: Session, record: Customer | Contact, before: Consents, by: Subject, origin: str = HUB) -> None:
    """Announce the channels of which something else is held than `before`, and write them on the timeline."""
    changed = [channel for channel in contract.CHANNELS
               if consent.state_of(record.consent, channel) != consent.state_of(before, channel)]
    if not changed:
        return
    entity = record.__tablename__
    outbox.record(session, contract.CONSENT_CHANGED, subject=record.id, version=record.version, by=by, origin=origin,
                  data={"entity": entity, "changed": changed, "customer": None, "contact": None, entity: record})
    customer_id = record.customer_id if isinstance(record, Contact) else record.id
    for channel in changed:
        said = record.consent[channel]
        activities.note(session, {"entity": entity, "id": record.id}, customer_id,
                        f"consent.{said['state']}: {channel}, {said['source']}", by, origin)
