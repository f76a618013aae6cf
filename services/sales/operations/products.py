"""Following the ERP's products and its stock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from chassis import outbox
from chassis.context import Subject
from chassis.database import new_id, utcnow
from contracts.sales import SERVICE, STOCK_UPDATED, ProductState
from contracts.schema import load
from services.sales.domain import stock
from services.sales.models import Product, Reservation

US = Subject.service(SERVICE)
"""Who follows the ERP: nobody's request, the service's own deferred work."""
PRICE_UNIT = Decimal("0.0001")


@dataclass(frozen=True)
class Source:
    """The ERP's record that a product comes from."""

    connection_id: str
    external_id: str


def follow(session: Session, change: dict[str, Any]) -> None:
    """Take over what a target says of a product (`external.changed`), unless something newer is known.

    - Matched by SKU. A record that got another SKU leaves its former product behind, which is not sold any more.
    - Of two records with one SKU the active one counts: an ERP keeps a retired product's code.
    - A deleted record's product is not sold any more; orders keep pointing at it.

    Raises:
        Invalid: the record is no product as `contracts.sales.ProductState` describes it; the event is parked.
    """
    source = Source(change["connection_id"], change["external_id"])
    if change["deleted"]:
        _retire(_locked(session, source, sku=None), change["seen_at"])
        return
    state = load(ProductState, change["record"])
    known = _locked(session, source, state["sku"])
    product = next((one for one in known if one.sku == state["sku"]), None)
    if product is None:
        _insert_if_absent(session, source, state)
        known = _locked(session, source, state["sku"])
        product = next(one for one in known if one.sku == state["sku"])
    _retire((one for one in known if one is not product), state["as_of"])
    if product.version and _is_old(product, source, state):
        return
    _take_over(session, product, source, state, change["connection_id"])


def _is_old(product: Product, source: Source, state: dict[str, Any]) -> bool:
    other_record = (product.connection_id, product.external_id) != (source.connection_id, source.external_id)
    return bool(state["as_of"] <= product.stock_at or (other_record and product.active and not state["active"]))


def _take_over(session: Session, product: Product, source: Source, state: dict[str, Any], origin: str) -> None:
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
    product.connection_id, product.external_id = source.connection_id, source.external_id
    fresh = product.version == 0
    product.version += 1
    product.updated_at = utcnow()
    session.flush()
    if fresh or product.available != before:
        outbox.record(session, STOCK_UPDATED, subject=product.id, version=product.version, by=US, origin=origin, data={
            "product_id": product.id, "sku": product.sku, "on_hand": product.on_hand, "available": product.available,
            "as_of": product.stock_at})


def _released(session: Session, product_id: str, as_of: dt.datetime) -> Decimal:
    """End the reservations whose goods had left before the ERP counted; return how much that is."""
    gone = session.execute(
        update(Reservation).where(Reservation.product_id == product_id, Reservation.released_at.is_(None),
                                  Reservation.shipped_at < as_of)
        .values(released_at=utcnow()).returning(Reservation.quantity)
        .execution_options(synchronize_session=False)).scalars()
    return sum(gone, Decimal(0))


def _locked(session: Session, source: Source, sku: str | None) -> list[Product]:
    """Return, locked, the product with this SKU and those that come from this record of the ERP.

    In order of SKU, as a confirmation locks them: so the two never wait for each other in a circle.
    """
    from_there = (Product.connection_id == source.connection_id) & (Product.external_id == source.external_id)
    wanted = from_there if sku is None else from_there | (Product.sku == sku)
    return list(session.scalars(select(Product).where(wanted).order_by(Product.sku)
                                .with_for_update(key_share=True).execution_options(populate_existing=True)))


def _insert_if_absent(session: Session, source: Source, state: dict[str, Any]) -> None:
    """Add the product at version 0, which says that nothing has been taken over yet; a rival's row is left alone."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    now = utcnow()
    session.execute(dialect.insert(Product).values(
        id=new_id(), version=0, created_at=now, updated_at=now, sku=state["sku"], sku_key=state["sku"].casefold(),
        name=state["name"], name_key=state["name"].casefold(), currency=state["currency"], stock_at=state["as_of"],
        connection_id=source.connection_id, external_id=source.external_id,
    ).on_conflict_do_nothing(index_elements=[Product.sku]))


def _retire(products: Iterable[Product], as_of: dt.datetime) -> None:
    for product in products:
        if product.active and product.stock_at < as_of:
            product.active, product.stock_at = False, as_of
            product.version += 1
            product.updated_at = utcnow()


def _kept(price: Decimal | None) -> Decimal | None:
    return None if price is None else price.quantize(PRICE_UNIT, rounding=ROUND_HALF_UP)
