"""Reading products. They belong to nobody: whoever may read one may read all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.paging import Order, Page, Sealer, keyset_page
from contracts.errors import NotFound
from services.sales.models import Product

_SORTS = {"sku": Product.sku, "name": Product.name}


def get(session: Session, product_id: str) -> Product:
    """Return a product.

    Raises:
        NotFound: there is none.
    """
    found = session.get(Product, product_id)
    if found is None:
        raise NotFound("There is no such product", entity="product", id=product_id)
    return found


def listed(session: Session, asked: dict[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of products.

    Raises:
        InvalidCursor: the cursor is not one of this list.
    """
    query = select(Product)
    if asked.get("q"):
        start = asked["q"].casefold()
        query = query.where(or_(_starts(Product.name_key, start), _starts(Product.sku_key, start)))
    if asked.get("sku"):
        query = query.where(Product.sku == asked["sku"])
    if "active" in asked:
        query = query.where(Product.active == asked["active"])
    order = Order.asked(asked["sort"], _SORTS, Product.id)
    return keyset_page(session, query, order, asked, subject, sealer, name="products")


def by_sku(session: Session, skus: Iterable[str]) -> dict[str, Product]:
    """Return the products with these SKUs."""
    return {one.sku: one for one in session.scalars(select(Product).where(Product.sku.in_(sorted(set(skus)))))}


def _starts(key: Any, start: str) -> ColumnElement[bool]:
    found: ColumnElement[bool] = key.between(start, start + "\U0010ffff")
    return found
