"""Reading customers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from chassis.access import visible as within_reach
from chassis.context import Subject
from chassis.masking import require_sight
from chassis.paging import Order, Page, Sealer, keyset_page, narrowed
from chassis.snapshot import Item
from contracts.errors import Invalid, NotFound
from contracts.operation import UNMASK, Permission
from services.customers.domain import reach
from services.customers.models import Customer

_SORTS = {"created_at": Customer.created_at, "updated_at": Customer.updated_at, "name": Customer.name_key}
_FOLLOW_UP = "next_follow_up_at"


def visible(subject: Subject, action: str) -> ColumnElement[bool]:
    """The one predicate: which customers `subject` may do `action` to."""
    return within_reach(subject, Permission("customer", action), owner=Customer.owner_id, team=Customer.team_id)


def get(session: Session, customer_id: str, subject: Subject) -> Customer:
    """Return a customer within the subject's reach.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    found = session.scalar(select(Customer).where(Customer.id == customer_id, visible(subject, "read")))
    if found is None:
        raise NotFound("There is no such customer", entity="customer", id=customer_id)
    return found


def listed(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer, region: str) -> Page:
    """Return one page of the customers within the subject's reach.

    Raises:
        InvalidCursor: the cursor is not one of this list.
        Forbidden: a search by phone or email, which are masked for the subject.
        Invalid: a phone or email to search for cannot be one; or a search by name, or by the next follow-up, is to be
            sorted by anything else.
    """
    query = select(Customer).where(visible(subject, "read"))
    if asked.get("q"):
        start = asked["q"].casefold()
        query = query.where(Customer.name_key >= start, Customer.name_key < start + "\U0010ffff")
    if asked.get("phone") or asked.get("email"):
        require_sight(subject, "customer")
        query = query.where(visible(subject, UNMASK))
    if asked.get("phone"):
        query = query.where(Customer.phone.equals(session, reach.phone(asked["phone"], region)))
    if asked.get("email"):
        query = query.where(Customer.email.equals(session, reach.email(asked["email"])))
    if asked.get("follow_up_before"):
        query = query.where(Customer.next_follow_up_at < asked["follow_up_before"])
    query = narrowed(query, Customer, asked, "lifecycle", "owner_id")
    order = _order(asked)
    return keyset_page(session, query, order, asked, subject, sealer, name="customers")


def _order(asked: dict[str, Any]) -> Order:
    """Return the order of the list. What begins alike lies together by name alone: by any other order, finding a page
    of a rare name would read every customer, and of a common one sort all who have it. So it is with follow-ups, and
    a customer without one has no place in their order."""
    by_name, by_follow_up = bool(asked.get("q")), bool(asked.get("follow_up_before"))
    sort = asked.get("sort", "name" if by_name else _FOLLOW_UP if by_follow_up else "-created_at")
    named = sort.removeprefix("-")
    if by_name and named != "name":
        raise Invalid.of("/sort", "invalid", "A search by the start of the name is sorted by name.")
    if by_follow_up != (named == _FOLLOW_UP):
        raise Invalid.of("/sort", "invalid", "The order next_follow_up_at and the filter follow_up_before go together.")
    column = Customer.next_follow_up_at if by_follow_up else _SORTS[named]
    return Order(column, Customer.id, sort.startswith("-"))


def snapshot(session: Session, after_id: str, limit: int) -> Sequence[Item]:
    """Return customers in order of id, for a snapshot."""
    rows = session.scalars(select(Customer).where(Customer.id > after_id).order_by(Customer.id).limit(limit))
    return [Item(row.id, row.version, row) for row in rows]
