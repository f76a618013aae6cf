"""Products, orders, reservations and the small copy of customers."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from chassis.database import ByteOrdered, ExactDecimal, Id, Json, UtcDateTime
from chassis.migrations import create_chassis_tables_v1, drop_chassis_tables_v1

revision = "0001"
down_revision = None


def _record() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", Id, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    ]


def upgrade() -> None:
    """Create the first tables."""
    create_chassis_tables_v1(op)
    _customer_refs()
    _products()
    _orders()
    _reservations()


def _customer_refs() -> None:
    op.create_table(
        "customer_ref",
        sa.Column("id", Id, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("lifecycle", sa.String(20), nullable=False),
        sa.Column("owner_id", Id),
        sa.Column("team_id", Id),
    )
    op.create_index("ix_customer_ref_owner_id", "customer_ref", ["owner_id", "id"])
    op.create_index("ix_customer_ref_team_id", "customer_ref", ["team_id", "id"])


def _products() -> None:
    op.create_table(
        "product", *_record(),
        sa.Column("sku", ByteOrdered(100), nullable=False),
        sa.Column("sku_key", ByteOrdered(200), nullable=False),
        sa.Column("name", sa.String(500), nullable=False),
        sa.Column("name_key", ByteOrdered(1000), nullable=False),
        sa.Column("category", sa.String(200), nullable=False),
        sa.Column("price", ExactDecimal),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("tax_code", sa.String(40), nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("on_hand", ExactDecimal),
        sa.Column("reserved", ExactDecimal, nullable=False),
        sa.Column("stock_at", UtcDateTime, nullable=False),
        sa.Column("connection_id", Id, nullable=False),
        sa.Column("external_id", sa.String(200), nullable=False),
        sa.CheckConstraint("reserved >= 0", name="ck_product_reserved"),
        sa.UniqueConstraint("sku", name="uq_product_sku"),
    )
    op.create_index("ix_product_sku_key", "product", ["sku_key"])
    op.create_index("ix_product_name_key", "product", ["name_key"])
    op.create_index("ix_product_name_id", "product", ["name", "id"])
    op.create_index("ix_product_source", "product", ["connection_id", "external_id"])


def _orders() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.schema.CreateSequence(sa.Sequence("order_serial")))
    op.create_table(
        "sales_order", *_record(),
        sa.Column("serial", sa.BigInteger, nullable=False),
        sa.Column("number", sa.String(30), nullable=False),
        sa.Column("customer_id", Id, nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("total", ExactDecimal, nullable=False),
        sa.Column("line_count", sa.Integer, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("ship_street_sealed", sa.Text),
        sa.Column("ship_phone_sealed", sa.Text),
        sa.Column("ship_locality", Json),
        sa.Column("owner_id", Id, nullable=False),
        sa.Column("team_id", Id),
        sa.Column("created_by", Id, nullable=False),
        sa.Column("confirmed_at", UtcDateTime),
        sa.Column("cancelled_at", UtcDateTime),
        sa.Column("cancel_reason", sa.String(300)),
        sa.UniqueConstraint("serial", name="uq_sales_order_serial"),
        sa.UniqueConstraint("number", name="uq_sales_order_number"),
    )
    for column in ("created_at", "updated_at"):
        op.create_index(f"ix_sales_order_{column}_id", "sales_order", [column, "id"])
    for column in ("status", "customer_id", "owner_id", "team_id"):
        op.create_index(f"ix_sales_order_{column}_created_at", "sales_order", [column, "created_at", "id"])
    op.create_table(
        "order_line",
        sa.Column("order_id", Id, sa.ForeignKey("sales_order.id", name="fk_order_line_order_id"), primary_key=True),
        sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("product_id", Id, sa.ForeignKey("product.id", name="fk_order_line_product_id"), nullable=False),
        sa.Column("sku", sa.String(100), nullable=False),
        sa.Column("name", sa.String(500), nullable=False),
        sa.Column("quantity", ExactDecimal, nullable=False),
        sa.Column("unit_price", ExactDecimal, nullable=False),
        sa.Column("tax_code", sa.String(40), nullable=False),
        sa.Column("amount", ExactDecimal, nullable=False),
    )


def _reservations() -> None:
    op.create_table(
        "reservation",
        sa.Column("id", Id, primary_key=True),
        sa.Column("order_id", Id, sa.ForeignKey("sales_order.id", name="fk_reservation_order_id"), nullable=False),
        sa.Column("product_id", Id, sa.ForeignKey("product.id", name="fk_reservation_product_id"), nullable=False),
        sa.Column("quantity", ExactDecimal, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("shipped_at", UtcDateTime),
        sa.Column("released_at", UtcDateTime),
        sa.CheckConstraint("quantity > 0", name="ck_reservation_quantity"),
        sa.UniqueConstraint("order_id", "product_id", name="uq_reservation_order_id_product_id"),
    )
    still_open = sa.text("released_at IS NULL")
    op.create_index("ix_reservation_open", "reservation", ["product_id"], sqlite_where=still_open,
                    postgresql_where=still_open)


def downgrade() -> None:
    """Undo it; the data is lost."""
    for table in ("reservation", "order_line", "sales_order", "product", "customer_ref"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(sa.schema.DropSequence(sa.Sequence("order_serial")))
    drop_chassis_tables_v1(op)
