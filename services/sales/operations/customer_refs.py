"""Keeping the small copy of customers."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.sales.models import CustomerRef

_COPIED = ("name", "lifecycle", "owner_id", "team_id")


def follow(session: Session, customer_id: str, version: int, data: dict[str, Any]) -> None:
    """Take over a customer as of `version`, unless a newer one is known.

    One statement decides, so that two events about one customer, met at once by two workers, leave the newer.
    """
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    insert = dialect.insert(CustomerRef).values(
        id=customer_id, version=version, **{name: data.get(name) for name in _COPIED})
    changes = {name: insert.excluded[name] for name in ("version", *_COPIED)}
    session.execute(insert.on_conflict_do_update(
        index_elements=[CustomerRef.id], set_=changes, where=insert.excluded.version > CustomerRef.version))
