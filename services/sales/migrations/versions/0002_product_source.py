"""What each record of the ERP says of a product, by the version of the record and not by anybody's clock."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from alembic import op

from chassis.database import ByteOrdered, ExactDecimal, Id, Json, UtcDateTime

revision = "0002"
down_revision = "0001"

PRODUCT = sa.table(
    "product", sa.column("sku", ByteOrdered(100)), sa.column("name", sa.String), sa.column("category", sa.String),
    sa.column("price", ExactDecimal), sa.column("currency", sa.String), sa.column("tax_code", sa.String),
    sa.column("active", sa.Boolean), sa.column("on_hand", ExactDecimal), sa.column("stock_at", UtcDateTime),
    sa.column("connection_id", Id), sa.column("external_id", sa.String))


def upgrade() -> None:
    """Add the table; what is known of a product counts as its record's version 0, so whatever is told next is newer."""
    source = op.create_table(
        "product_source",
        sa.Column("connection_id", Id, primary_key=True),
        sa.Column("external_id", ByteOrdered(200), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("sku", ByteOrdered(100)),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("state", Json),
    )
    op.create_index("ix_product_source_sku", "product_source", ["sku"])
    # A record that got another SKU left its former product behind, unsold: the sold one is what it says now.
    newest_last = sa.select(PRODUCT).order_by(PRODUCT.c.active, PRODUCT.c.stock_at)
    known = {(row.connection_id, row.external_id): _source(row) for row in op.get_bind().execute(newest_last)}
    if known:
        op.bulk_insert(source, list(known.values()))


def downgrade() -> None:
    """Forget it; products stay as they are."""
    op.drop_table("product_source")


def _source(row: Any) -> dict[str, Any]:
    state = {name: _plain(getattr(row, name)) for name in
             ("sku", "name", "category", "price", "currency", "tax_code", "active", "on_hand")}
    return {"connection_id": row.connection_id, "external_id": row.external_id, "version": 0, "sku": row.sku,
            "active": row.active, "state": state | {"as_of": _plain(row.stock_at)}}


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value
