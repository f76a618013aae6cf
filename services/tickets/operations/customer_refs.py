"""Keeping the small copy of customers."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from chassis.projection import keep_newest
from services.tickets.models import CustomerRef

_COPIED = ("name", "owner_id", "team_id")


def follow(session: Session, customer_id: str, version: int, data: dict[str, Any]) -> None:
    """Take over a customer as of `version`, unless a newer one is known."""
    keep_newest(session, CustomerRef, {"id": customer_id}, version, {name: data.get(name) for name in _COPIED})
