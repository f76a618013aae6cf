"""Applying a change: the history of each field, the version, the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from chassis import history
from chassis.context import Subject
from chassis.history import check_version
from services.customers.models import Contact, Customer, FieldChange, Task

__all__ = ["SEALED", "apply", "check_version"]

SEALED = {"phone", "email", "wechat_id", "address", "description"}
"""Fields whose history tells that they changed, not what they were."""


def apply(session: Session, record: Customer | Contact | Task, changes: Mapping[str, Any], by: Subject) -> list[str]:
    """Set what differs, write the history and raise the version.

    Returns:
        Names of the fields that changed; an empty list means that nothing was written.
    """
    return history.apply(session, FieldChange, record, changes, by, sealed=SEALED)
