"""What the ERP ships of orders, and reservations that end in parts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from chassis.database import ByteOrdered, ExactDecimal, Id, UtcDateTime

revision = "0003"
down_revision = "0002"

WHOLE = "uq_reservation_order_id_product_id"
"""An order held each product once; now it may hold what has left, and what is to go."""
PROMISED = "uq_reservation_promised"
STILL_TO_GO = sa.text("shipped_at IS NULL")


def upgrade() -> None:
    """Add the tables; nothing is known to have been shipped so far."""
    op.create_table(
        "order_source",
        sa.Column("connection_id", Id, primary_key=True),
        sa.Column("external_id", ByteOrdered(200), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("order_id", sa.String(100)),
    )
    op.create_table(
        "shipment",
        sa.Column("id", Id, primary_key=True),
        sa.Column("order_id", Id, sa.ForeignKey("sales_order.id", name="fk_shipment_order_id"), nullable=False),
        sa.Column("connection_id", Id, nullable=False),
        sa.Column("external_id", ByteOrdered(200), nullable=False),
        sa.Column("number", sa.String(100)),
        sa.Column("state", sa.String(40), nullable=False),
        sa.Column("done_at", UtcDateTime),
        sa.UniqueConstraint("order_id", "connection_id", "external_id",
                            name="uq_shipment_order_id_connection_id_external_id"),
    )
    op.create_table(
        "shipment_line",
        sa.Column("shipment_id", Id, sa.ForeignKey("shipment.id", name="fk_shipment_line_shipment_id"),
                  primary_key=True),
        sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sku", sa.String(100), nullable=False),
        sa.Column("quantity", ExactDecimal, nullable=False),
    )
    op.add_column("sales_order", sa.Column("fulfilled_at", UtcDateTime))
    with op.batch_alter_table("reservation", copy_from=_reservation(sa.UniqueConstraint(
            "order_id", "product_id", name=WHOLE))) as altered:
        altered.drop_constraint(WHOLE, type_="unique")
    op.create_index(PROMISED, "reservation", ["order_id", "product_id"], unique=True, sqlite_where=STILL_TO_GO,
                    postgresql_where=STILL_TO_GO)


def downgrade() -> None:
    """Undo it: what an order holds of a product counts as one again, as far as nothing of it has left."""
    op.execute("DELETE FROM reservation WHERE shipped_at IS NOT NULL AND released_at IS NOT NULL")
    op.execute("DELETE FROM reservation WHERE shipped_at IS NOT NULL AND EXISTS (SELECT 1 FROM reservation AS other "
               "WHERE other.order_id = reservation.order_id AND other.product_id = reservation.product_id "
               "AND other.id <> reservation.id AND (other.shipped_at IS NULL OR other.id < reservation.id))")
    op.drop_index(PROMISED, "reservation")
    with op.batch_alter_table("reservation", copy_from=_reservation()) as altered:
        altered.create_unique_constraint(WHOLE, ["order_id", "product_id"])
    with op.batch_alter_table("sales_order") as altered:
        altered.drop_column("fulfilled_at")
    for table in ("shipment_line", "shipment", "order_source"):
        op.drop_table(table)


def _reservation(*unique: sa.UniqueConstraint) -> sa.Table:
    """The table in full, for SQLite makes it anew."""
    still_open = sa.text("released_at IS NULL")
    return sa.Table(
        "reservation", sa.MetaData(),
        sa.Column("id", Id, primary_key=True),
        sa.Column("order_id", Id, sa.ForeignKey("sales_order.id", name="fk_reservation_order_id"), nullable=False),
        sa.Column("product_id", Id, sa.ForeignKey("product.id", name="fk_reservation_product_id"), nullable=False),
        sa.Column("quantity", ExactDecimal, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("shipped_at", UtcDateTime),
        sa.Column("released_at", UtcDateTime),
        sa.CheckConstraint("quantity > 0", name="ck_reservation_quantity"),
        *unique,
        sa.Index("ix_reservation_open", "product_id", sqlite_where=still_open, postgresql_where=still_open),
    )
