"""Reading orders."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, true
from sqlalchemy.orm import Session, selectinload

from chassis.access import Among
from chassis.access import visible as within_reach
from chassis.context import Subject
from chassis.paging import Order as Sorting
from chassis.paging import Page, Sealer, keyset_page, narrowed
from chassis.snapshot import Item
from contracts.errors import NotFound
from contracts.operation import UNMASK, Permission
from services.sales.models import CustomerRef, Order
from services.sales.models.order import ORDER_SERIAL
from services.sales.queries import customer_refs

_SORTS = {"created_at": Order.created_at, "updated_at": Order.updated_at, "number": Order.serial}


def visible(subject: Subject, action: str) -> ColumnElement[bool]:
    """The one predicate: the orders to which `subject` may do `action`.

    An order is within reach through its own owner and team, and through those of its customer.
    """
    if subject.depth("order", action) == "all":
        return true()
    own = within_reach(subject, Permission("order", action), owner=Order.owner_id, team=Order.team_id)
    theirs = select(CustomerRef.id).where(customer_refs.visible(subject, action))
    return or_(own, Among(Order.customer_id, theirs))


def get(session: Session, order_id: str, subject: Subject) -> Order:
    """Return an order within the subject's reach, with its lines and shipments.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    query = (select(Order).where(Order.id == order_id, visible(subject, "read"))
             .options(selectinload(Order.lines), selectinload(Order.shipments)))
    found = session.scalar(query)
    if found is None:
        raise NotFound("There is no such order", entity="order", id=order_id)
    return found


def unmasked(session: Session, ids: Collection[str], subject: Subject) -> Collection[str]:
    """Return those of some orders of which the subject may see phone and street, through their customer too."""
    return session.scalars(select(Order.id).where(Order.id.in_(ids), visible(subject, UNMASK))).all()


def listed(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the orders within the subject's reach, without their lines.

    Raises:
        InvalidCursor: the cursor is not one of this list.
    """
    query = select(Order).where(visible(subject, "read"))
    query = narrowed(query, Order, asked, "status", "customer_id", "number")
    sorting = Sorting.asked(asked["sort"], _SORTS, Order.id)
    return keyset_page(session, query, sorting, asked, subject, sealer, name="orders")


def snapshot(session: Session, after_id: str, limit: int) -> Sequence[Item]:
    """Return the orders that were ever announced, in order of id, for a snapshot; a draft is nobody else's business."""
    query = (select(Order).where(Order.id > after_id, Order.confirmed_at.is_not(None)).order_by(Order.id).limit(limit)
             .options(selectinload(Order.lines), selectinload(Order.shipments)))
    return [Item(row.id, row.version, row) for row in session.scalars(query)]


def next_serial(session: Session) -> int:
    """Return the next order's serial number: unique, rising, with gaps where a draft was rolled back.

    PostgreSQL takes it from a sequence, which no transaction holds until its end, so two drafts never wait for each
    other. SQLite has one writer at a time, which may look at the last row.
    """
    if session.get_bind().dialect.name == "postgresql":
        return session.execute(select(ORDER_SERIAL.next_value())).scalar_one()
    return session.execute(select(func.coalesce(func.max(Order.serial), 0) + 1)).scalar_one()
