"""A database that the migrations made is the one that the models speak of, on both engines."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from chassis import migrations
from chassis.database import CHASSIS, Database

ROOT = Path(__file__).resolve().parents[2]
ROOMS = sorted(env.parent.parent.name for env in (ROOT / "services").glob("*/migrations/env.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_migrations_make_what_the_models_say(room: str, db_uri: str) -> None:
    migrations.make_folder(db_uri)
    migrations.upgrade(room, db_uri)
    base = importlib.import_module(f"services.{room}.models").Base
    db = Database(db_uri)
    try:
        with db.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            both = sa.MetaData()
            for table in (*CHASSIS.sorted_tables, *base.metadata.sorted_tables):
                table.to_metadata(both)
            assert compare_metadata(context, both) == []
    finally:
        db.close()
