"""What the first migration makes, it can take away (that it makes what the models say is held by tests/house)."""

from __future__ import annotations

from alembic import command
from sqlalchemy import inspect

from chassis import migrations
from chassis.database import Database


def test_a_downgrade_takes_away_every_table_and_sequence(db_uri: str) -> None:
    migrations.upgrade("sales", db_uri)
    command.downgrade(migrations.config("sales", db_uri), "base")
    db = Database(db_uri)
    try:
        assert inspect(db.engine).get_table_names() == ["alembic_version"]
        assert db.is_sqlite or inspect(db.engine).get_sequence_names() == []
    finally:
        db.close()
