"""Use cases on orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload
from sqlalchemy.orm.attributes import set_committed_value

from chassis import outbox
from chassis.context import Subject
from chassis.database import utcnow
from chassis.masking import refuse_hidden
from contracts import sales as contract
from contracts.errors import CustomerNotKnown, Invalid, NotFound, StaleVersion
from services.sales.domain import money, shipments
from services.sales.domain import orders as rules
from services.sales.domain.lines import Line, draw_up
from services.sales.models import Order, OrderLine, Shipment
from services.sales.operations import reservations
from services.sales.queries import customer_refs, orders, products


def create(session: Session, asked: dict[str, Any], by: Subject) -> Order:
    """Draft an order that belongs to its creator; nothing is reserved or announced yet.

    Raises:
        Invalid: every line that cannot be sold as asked is named.
        CustomerNotKnown: all else is right, but sales has not heard of the customer within the subject's reach.
    """
    customer = customer_refs.find(session, asked["customer_id"], by, "create")
    lines = _drawn_up(session, asked["lines"], asked["currency"], asked["customer_id"], known=customer is not None)
    now, serial = utcnow(), orders.next_serial(session)
    order = Order(
        serial=serial, number=rules.number(now.year, serial), currency=asked["currency"], note=asked.get("note", ""),
        customer_id=asked["customer_id"], owner_id=by.id, created_by=by.id, created_at=now, updated_at=now,
        team_id=by.teams[0] if by.teams else customer.team_id if customer else None)
    session.add(order)
    order.ship_to = asked.get("ship_to")
    order.shipments = []
    _put_lines(order, lines)
    session.flush()
    return order


def change(session: Session, asked: dict[str, Any], by: Subject) -> Order:
    """Change a draft. New lines, or another currency, are priced anew; the other lines keep what they copied.

    Raises:
        NotFound: there is no such order within reach.
        StaleVersion: it has changed since the caller read it.
        InvalidTransition: it is no draft any more.
        Invalid: every line that cannot be sold as asked is named; or where it goes, which is masked for the subject.
        CustomerNotKnown: sales has not heard of the new customer within the subject's reach.
    """
    order = for_write(session, asked["id"], by, "change", asked["expected_version"])
    rules.require_draft(order.status)
    changes = asked["changes"]
    refuse_hidden(by, contract.Order, changes, owner=order.owner_id, team=order.team_id)
    before = _told(order)
    if "customer_id" in changes or "lines" in changes or "currency" in changes:
        _rewrite(session, order, changes, by)
    if "note" in changes:
        order.note = changes["note"]
    if "ship_to" in changes:
        order.ship_to = changes["ship_to"]
    if _told(order) != before:
        _touch(order)
    session.flush()
    return order


def confirm(session: Session, asked: dict[str, Any], by: Subject) -> Order:
    """Confirm a draft order, reserve its stock and tell the hub, in one transaction.

    Raises:
        NotFound: there is no such order within reach.
        StaleVersion: it has changed since the caller read it.
        InvalidTransition: the order is not a draft; one that is confirmed already is not announced again.
        InsufficientStock: a line exceeds what is available; nothing is reserved.
        Invalid: a product is not sold any more.
    """
    order = for_write(session, asked["id"], by, "confirm", asked["expected_version"])
    confirmed = rules.move(order.status, rules.CONFIRMED)
    reservations.reserve(session, order.id, order.lines)
    order.status, order.confirmed_at = confirmed, _touch(order)
    session.flush()
    outbox.record(session, contract.ORDER_CONFIRMED, subject=order.id, version=order.version, data=order, by=by)
    return order


def cancel(session: Session, asked: dict[str, Any], by: Subject) -> Order:
    """Cancel an order and give its stock back. A draft that was never announced is not called back either.

    Raises:
        NotFound: there is no such order within reach.
        StaleVersion: it has changed since the caller read it.
        InvalidTransition: the order is fulfilled or cancelled already, or goods of it have left.
    """
    order = for_write(session, asked["id"], by, "cancel", asked["expected_version"])
    shipments.require_nothing_gone(order.status, [shipment.state for shipment in order.shipments])
    cancelled = rules.move(order.status, rules.CANCELLED)
    announced = order.confirmed_at is not None
    if announced:
        reservations.release(session, order.id)
    order.status, order.cancel_reason, order.cancelled_at = cancelled, asked["reason"], _touch(order)
    session.flush()
    if announced:
        outbox.record(session, contract.ORDER_CANCELLED, subject=order.id, version=order.version, data=order, by=by)
    return order


def for_write(session: Session, order_id: str, by: Subject, action: str, expected_version: int | None) -> Order:
    """Return the order with its lines, locked, if the subject may do `action` to it.

    Raises:
        NotFound: there is none, or it is out of reach.
        StaleVersion: it is not at `expected_version`; None asks for no particular one.
    """
    query = (select(Order).where(Order.id == order_id, orders.visible(by, action))
             .with_for_update(of=Order, key_share=True).options(selectinload(Order.lines)))
    order = session.scalar(query)
    if order is None:
        raise NotFound("There is no such order", entity="order", id=order_id)
    if expected_version is not None and order.version != expected_version:
        raise StaleVersion("The order has changed since you read it; read it again", version=order.version)
    _read_shipments(session, order)
    return order


def _read_shipments(session: Session, order: Order) -> None:
    """Load an order's shipments; a draft has none, and is not asked about."""
    shipped = (session.scalars(select(Shipment).where(Shipment.order_id == order.id).order_by(Shipment.id)).all()
               if order.status != rules.DRAFT else ())
    set_committed_value(order, "shipments", list(shipped))


def _rewrite(session: Session, order: Order, changes: dict[str, Any], by: Subject) -> None:
    """Set customer, currency and lines anew, all checked together."""
    customer_id = changes.get("customer_id", order.customer_id)
    known = customer_id == order.customer_id or customer_refs.find(session, customer_id, by, "change") is not None
    currency = changes.get("currency", order.currency)
    if "lines" in changes or currency != order.currency:
        asked = changes["lines"] if "lines" in changes else [_as_asked(line) for line in order.lines]
        _put_lines(order, _drawn_up(session, asked, currency, customer_id, known=known))
    elif not known:
        raise CustomerNotKnown.of(customer_id)
    order.customer_id, order.currency = customer_id, currency


def _drawn_up(session: Session, asked: Sequence[dict[str, Any]], currency: str, customer_id: str, *,
              known: bool) -> list[Line]:
    """Return the lines, or refuse with everything that is wrong at once."""
    lines, refused = draw_up(asked, currency, products.by_sku(session, [one["sku"] for one in asked]))
    if not refused and not known:
        raise CustomerNotKnown.of(customer_id)
    if not known:
        refused = [*CustomerNotKnown.of(customer_id).fields["errors"], *refused]
    if refused:
        raise Invalid("The order cannot be drawn up as asked", errors=refused)
    return lines


def _put_lines(order: Order, lines: Sequence[Line]) -> None:
    order.lines = [OrderLine(**asdict(line)) for line in lines]
    order.total = money.total(line.amount for line in lines)
    order.line_count = len(lines)


def _as_asked(line: OrderLine) -> dict[str, Any]:
    """Return a line to be drawn up again in another currency: without its price, which was in the old one."""
    return {name: getattr(line, name) for name in ("sku", "quantity", "tax_code")}


def _told(order: Order) -> tuple[Any, ...]:
    """What of an order a change can touch, to tell a change of nothing."""
    lines = [(line.product_id, line.name, line.quantity, line.unit_price, line.tax_code) for line in order.lines]
    return order.customer_id, order.currency, order.note, order.ship_to, lines


def _touch(order: Order) -> Any:
    """Raise the version; return the time of the change."""
    order.version += 1
    order.updated_at = utcnow()
    return order.updated_at
