"""Promising stock, and giving it back."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import case, insert, literal, select, update
from sqlalchemy.orm import Session

from chassis.database import ExactDecimal, new_id, utcnow
from contracts.errors import Invalid
from services.sales.domain import stock
from services.sales.domain.lines import refusal
from services.sales.models import OrderLine, Product, Reservation


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


def release(session: Session, order_id: str) -> None:
    """Give back what an order still holds."""
    still_open = (Reservation.order_id == order_id) & Reservation.released_at.is_(None)
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
