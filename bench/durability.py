"""Both sides must survive the same power cut, or a comparison says nothing: their settings are held equal."""

from __future__ import annotations

from typing import Any

from chassis.database import Database


def of_product(db_uri: str) -> dict[str, Any]:
    """Return the settings of the connections that the product opens."""
    db = Database(db_uri, pool_size=1)
    asked = ("PRAGMA", "journal_mode", "synchronous") if db.is_sqlite else ("SHOW", "fsync", "synchronous_commit")
    try:
        with db.engine.connect() as connection:
            return {name: connection.exec_driver_sql(f"{asked[0]} {name}").scalar() for name in asked[1:]}
    finally:
        db.close()


def assert_equal(floor: dict[str, Any], product: dict[str, Any]) -> dict[str, Any]:
    """Return the database settings that both have.

    Raises:
        AssertionError: floor and product differ, or would lose what they acknowledged in a power cut.
    """
    for name, value in product.items():
        assert floor[name] == value, f"{name}: the floor has {floor[name]}, the product {value}"
    durable = {"journal_mode": "wal", "synchronous": 2, "fsync": "on", "synchronous_commit": "on"}
    assert all(value == durable[name] for name, value in product.items()), product
    return dict(product)
