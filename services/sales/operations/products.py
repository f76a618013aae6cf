"""Following the ERP's products and its stock."""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from chassis.database import new_id, utcnow
from chassis.projection import keep_newest
from contracts.sales import ProductState
from contracts.schema import load
from services.sales.domain import stock
from services.sales.models import Product, ProductSource, Reservation
from services.sales.operations import stocks

PRICE_UNIT = Decimal("0.0001")


def follow(session: Session, change: dict[str, Any], version: int) -> None:
    """Take over what a target says of a product (`external.changed`), unless something newer of its record is known.

    - Newer is what has the higher version of the record; clocks have no say.
    - Matched by SKU. A record that got another SKU leaves its former product behind, which is not sold any more.
    - Of several records with one SKU an active one counts: an ERP keeps a retired product's code. Of several active
      ones the first does, in whatever order they are told.
    - A deleted record's product is not sold any more; orders keep pointing at it.

    Args:
        session: the transaction of the event.
        change: as `contracts.inbound.ExternalChange` describes it.
        version: of the record after the change.

    Raises:
        Invalid: the record is no product as `contracts.sales.ProductState` describes it; the event is parked.
    """
    state = None if change["deleted"] else load(ProductState, change["record"])
    if not _is_news(session, change, version, state):
        return
    sku = state["sku"] if state else None
    products = _locked(session, change, sku)
    if state and all(product.sku != sku for product in products):
        _insert_if_absent(session, change, state)
        products = _locked(session, change, sku)
    for product in products:
        _choose(session, product, change)


def _is_news(session: Session, change: dict[str, Any], version: int, state: dict[str, Any] | None) -> bool:
    """Keep what the record says; tell whether it is newer than what was kept. Its row stays locked until the end."""
    record = {"connection_id": change["connection_id"], "external_id": change["external_id"]}
    return keep_newest(session, ProductSource, record, version, {
        "sku": state["sku"] if state else None, "active": bool(state and state["active"]),
        "state": change["record"] if state else None})


def _choose(session: Session, product: Product, change: dict[str, Any]) -> None:
    """Make a locked product what the record says that counts for its SKU; without one it is not sold any more."""
    source = session.execute(
        select(ProductSource.connection_id, ProductSource.external_id, ProductSource.state)
        .where(ProductSource.sku == product.sku)
        .order_by(ProductSource.active.desc(), ProductSource.connection_id, func.length(ProductSource.external_id),
                  ProductSource.external_id).limit(1)).first()
    if source is None:
        _retire(product, change["seen_at"])
        return
    known = product.version > 0 and source[:2] == (product.connection_id, product.external_id)
    if known and source[:2] != (change["connection_id"], change["external_id"]):
        return  # what this record says does not count, and what counts has not changed
    product.connection_id, product.external_id = source.connection_id, source.external_id
    _take_over(session, product, load(ProductState, source.state))


def _take_over(session: Session, product: Product, state: dict[str, Any]) -> None:
    """Write the ERP's state into a locked product, and announce what is available if that has changed."""
    before = product.available if product.version else None
    product.reserved -= _released(session, product.id, state["as_of"])
    product.on_hand = stock.counted(state["on_hand"])
    product.stock_at = state["as_of"]
    product.name, product.name_key = state["name"], state["name"].casefold()
    product.price = _kept(state["price"])
    product.currency = state["currency"]
    product.category, product.tax_code = state["category"] or "", state["tax_code"] or ""
    product.active = state["active"]
    fresh = product.version == 0
    product.version += 1
    product.updated_at = utcnow()
    session.flush()
    if fresh or product.available != before:
        stocks.announce(session, product, origin=product.connection_id)


def _released(session: Session, product_id: str, as_of: dt.datetime) -> Decimal:
    """End the reservations whose goods had left before the ERP counted; return how much that is."""
    gone = session.execute(
        update(Reservation).where(Reservation.product_id == product_id, Reservation.released_at.is_(None),
                                  Reservation.shipped_at < as_of)
        .values(released_at=utcnow()).returning(Reservation.quantity)
        .execution_options(synchronize_session=False)).scalars()
    return sum(gone, Decimal(0))


def _locked(session: Session, change: dict[str, Any], sku: str | None) -> list[Product]:
    """Return, locked, the product with this SKU and those that come from this record of the ERP.

    In order of SKU, as a confirmation locks them: so the two never wait for each other in a circle.
    """
    from_there = (Product.connection_id == change["connection_id"]) & (Product.external_id == change["external_id"])
    wanted = from_there if sku is None else from_there | (Product.sku == sku)
    return list(session.scalars(select(Product).where(wanted).order_by(Product.sku)
                                .with_for_update(key_share=True).execution_options(populate_existing=True)))


def _insert_if_absent(session: Session, change: dict[str, Any], state: dict[str, Any]) -> None:
    """Add the product at version 0, which says that nothing has been taken over yet; a rival's row is left alone."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    now = utcnow()
    session.execute(dialect.insert(Product).values(
        id=new_id(), version=0, created_at=now, updated_at=now, sku=state["sku"], sku_key=state["sku"].casefold(),
        name=state["name"], name_key=state["name"].casefold(), currency=state["currency"], stock_at=state["as_of"],
        connection_id=change["connection_id"], external_id=change["external_id"],
    ).on_conflict_do_nothing(index_elements=[Product.sku]))


def _retire(product: Product, as_of: dt.datetime) -> None:
    if product.active:
        product.active, product.stock_at = False, as_of
        product.version += 1
        product.updated_at = utcnow()


def _kept(price: Decimal | None) -> Decimal | None:
    return None if price is None else price.quantize(PRICE_UNIT, rounding=ROUND_HALF_UP)
