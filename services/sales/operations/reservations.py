"""Promising stock, and giving it back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import case, insert, literal, select, update
from sqlalchemy.orm import Session

from chassis.database import ExactDecimal, new_id, utcnow
from contracts.errors import Invalid
from services.sales.domain import stock
from services.sales.domain.lines import refusal
from services.sales.models import OrderLine, Product, Reservation
from services.sales.operations import stocks


def reserve(session: Session, order_id: str, lines: Sequence[OrderLine]) -> None:
    """Promise an order all that its lines ask, or nothing.

    The products' rows are locked until the transaction ends, so two confirmations never see the same last piece.

    Raises:
        InsufficientStock: names every product that falls short.
        Invalid: a product is not sold any more; names every such line.
    """
    asked: dict[str, Decimal] = {}
    for line in lines:
        asked[line.product_id] = asked.get(line.product_id, Decimal(0)) + line.quantity
    products = _locked(session, asked)
    retired = {one.id for one in products if not one.active}
    refused = [refusal(f"/lines/{line.line - 1}/sku", "inactive", f"{line.sku} is not sold any more.")
               for line in lines if line.product_id in retired]
    if refused:
        raise Invalid("The order holds products that are not sold any more", errors=refused)
    stock.require(stock.Demand(one.sku, asked[one.id], stock.available(one.on_hand, one.reserved)) for one in products)
    _add_to_reserved(session, asked)
    now = utcnow()
    session.execute(insert(Reservation), [
        {"id": new_id(), "order_id": order_id, "product_id": id, "quantity": quantity, "created_at": now}
        for id, quantity in asked.items()])


@dataclass(frozen=True, kw_only=True)
class Left:
    """Goods that have left the warehouse, `at` by the clock of who counts it."""

    product_id: str
    quantity: Decimal
    at: dt.datetime


def let_go(session: Session, order_id: str, left: Sequence[Left], connection_id: str) -> None:
    """Part what has left from what an order holds; end at once what a later count knows already.

    Args:
        session: the transaction.
        order_id: whose goods they are.
        left: what has left; of more than the order holds, only that.
        connection_id: who told of it.
    """
    held = {row.product_id: row for row in session.scalars(
        select(Reservation).where(Reservation.order_id == order_id, Reservation.shipped_at.is_(None),
                                  Reservation.released_at.is_(None)))}
    # All that the order holds, not only what has left: the rest may be given back in this very transaction.
    products = {one.id: one for one in session.scalars(
        select(Product).where(Product.id.in_({*held, *(one.product_id for one in left)})).order_by(Product.sku)
        .with_for_update(key_share=True).execution_options(populate_existing=True))}
    before = {id: product.available for id, product in products.items()}
    for one in left:
        part = _parted(session, held, one)
        if part is not None and one.at < products[one.product_id].stock_at:
            part.released_at = utcnow()
            products[one.product_id].reserved -= part.quantity
    for id, product in products.items():
        if product.available != before[id]:
            product.version += 1
            product.updated_at = utcnow()
            stocks.announce(session, product, origin=connection_id)
    session.flush()


def _parted(session: Session, held: dict[str, Reservation], left: Left) -> Reservation | None:
    """Return the reservation of what has left, apart from what is still to go; None if nothing of it was held."""
    row = held.get(left.product_id)
    if row is None:
        return None
    if left.quantity >= row.quantity:
        row.shipped_at = left.at
        return held.pop(left.product_id)
    row.quantity -= left.quantity
    part = Reservation(order_id=row.order_id, product_id=row.product_id, quantity=left.quantity, shipped_at=left.at)
    session.add(part)
    return part


def release(session: Session, order_id: str) -> None:
    """Give back what an order still holds, except for what has left: that ends with the next count."""
    still_open = ((Reservation.order_id == order_id) & Reservation.released_at.is_(None)
                  & Reservation.shipped_at.is_(None))
    held = {row.product_id: -row.quantity for row in session.execute(
        select(Reservation.product_id, Reservation.quantity).where(still_open))}
    if held:
        _locked(session, held)
        session.execute(update(Reservation).where(still_open).values(released_at=utcnow())
                        .execution_options(synchronize_session=False))
        _add_to_reserved(session, held)


def _locked(session: Session, ids: Any) -> Sequence[Any]:
    """Lock products, always in order of SKU, so that two orders never wait for each other in a circle.

    `FOR NO KEY UPDATE`: a draft that refers to a product need not wait.
    """
    columns = (Product.id, Product.sku, Product.active, Product.on_hand, Product.reserved)
    return session.execute(select(*columns).where(Product.id.in_(list(ids))).order_by(Product.sku)
                           .with_for_update(key_share=True)).all()


def _add_to_reserved(session: Session, changes: dict[str, Decimal]) -> None:
    """Change all products in one statement."""
    by = case({id: literal(quantity, ExactDecimal) for id, quantity in changes.items()}, value=Product.id)
    session.execute(update(Product).where(Product.id.in_(list(changes)))
                    .values(reserved=Product.reserved + by, version=Product.version + 1, updated_at=utcnow())
                    .execution_options(synchronize_session=False))
