"""What the migrations make, they can take away, and what was there goes on (tests/house holds them to the models)."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import IntegrityError

from chassis import migrations
from chassis.database import Database
from contracts.inbound import ExternalChange
from contracts.sales import ProductState
from contracts.schema import load
from services.sales.models import Product, ProductSource
from services.sales.operations import products
from tests.service.sales.selling import product_told


def test_a_downgrade_takes_away_every_table_and_sequence(db_uri: str) -> None:
    migrations.upgrade("sales", db_uri)
    command.downgrade(migrations.config("sales", db_uri), "base")
    db = Database(db_uri)
    try:
        assert inspect(db.engine).get_table_names() == ["alembic_version"]
        assert db.is_sqlite or inspect(db.engine).get_sequence_names() == []
    finally:
        db.close()


PRODUCT = text(
    "INSERT INTO product (id, version, created_at, updated_at, sku, sku_key, name, name_key, category, price, currency,"
    " tax_code, active, on_hand, reserved, stock_at, connection_id, external_id)"
    " VALUES (:sku, 3, :at, :at, :sku, :sku, 'n', 'n', '', 1, 'CNY', '', :active, 2, 0, :at, 'erp', '7')")


def test_products_that_were_known_before_their_records_had_versions_are_followed_on(db_uri: str) -> None:
    command.upgrade(migrations.config("sales", db_uri), "0001")
    db = Database(db_uri)
    try:
        with db.write() as session:
            for sku, active, at in (("OLD", False, "2026-01-02 00:00:00.000000"), ("NEW", True, "2026-01-01 00:00:00")):
                session.execute(PRODUCT, {"sku": sku, "active": active, "at": at})
        migrations.upgrade("sales", db_uri)
        told = product_told("NEW", external_id="7", version=1, on_hand="5")
        with db.write() as session:
            [source] = session.scalars(select(ProductSource))
            assert (source.version, source.sku, load(ProductState, source.state)["active"]) == (0, "NEW", True)
            products.follow(session, {**load(ExternalChange, told.data), "connection_id": "erp"}, told.entityversion)
        with db.read() as session:
            followed = {one.sku: (one.active, one.on_hand) for one in session.scalars(select(Product))}
        assert followed["NEW"] == (True, 5)
        assert followed["OLD"][0] is False
    finally:
        db.close()


ORDER = text(
    "INSERT INTO sales_order (id, version, created_at, updated_at, serial, number, customer_id, status, currency,"
    " total, line_count, note, owner_id, created_by)"
    " VALUES ('o', 2, :at, :at, 1, 'SO-1', 'c', 'confirmed', 'CNY', 1, 1, '', 'u', 'u')")
RESERVATION = text("INSERT INTO reservation (id, order_id, product_id, quantity, created_at, shipped_at)"
                   " VALUES (:id, 'o', :product, 4, :at, :shipped)")


def test_what_orders_hold_survives_the_way_up_and_what_is_still_to_go_the_way_down(db_uri: str) -> None:
    command.upgrade(migrations.config("sales", db_uri), "0002")
    db = Database(db_uri)
    at = "2026-01-02 00:00:00.000000"
    try:
        with db.write() as session:
            session.execute(PRODUCT, {"sku": "A-1", "active": True, "at": at})
            session.execute(ORDER, {"at": at})
            session.execute(RESERVATION, {"id": "r", "product": "A-1", "at": at, "shipped": None})
        migrations.upgrade("sales", db_uri)
        with db.write() as session:
            session.execute(RESERVATION, {"id": "s", "product": "A-1", "at": at, "shipped": at})
        with pytest.raises(IntegrityError), db.write() as session:
            session.execute(RESERVATION, {"id": "t", "product": "A-1", "at": at, "shipped": None})
        command.downgrade(migrations.config("sales", db_uri), "0002")
        with db.read() as session:
            assert session.execute(text("SELECT id, quantity FROM reservation")).all() == [("r", 4)]
    finally:
        db.close()
