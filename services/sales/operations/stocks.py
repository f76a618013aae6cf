"""Telling what is available."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chassis import outbox
from chassis.context import Subject
from contracts.sales import SERVICE, STOCK_UPDATED
from services.sales.models import Product

US = Subject.service(SERVICE)
"""Who follows the ERP: nobody's request, the service's own deferred work."""


def announce(session: Session, product: Product, *, origin: str) -> None:
    """Announce what is available of a product by what the ERP counted or shipped; `origin` is who told of that."""
    outbox.record(session, STOCK_UPDATED, subject=product.id, version=product.version, by=US, origin=origin, data={
        "product_id": product.id, "sku": product.sku, "on_hand": product.on_hand, "available": product.available,
        "as_of": product.stock_at})
