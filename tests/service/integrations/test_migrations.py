"""A database with rows comes to the newest version whole."""

from __future__ import annotations

from alembic import command
from sqlalchemy import text

from chassis import migrations
from chassis.database import Database, utcnow

ROWS = (
    "INSERT INTO connection (id, name, kind, adapter, adapter_version, guarantee, desired_state, health, config,"
    " rate_per_s, burst, max_in_flight, consecutive_failures, open_count, created_by, created_at, updated_at, version,"
    " setup_version) VALUES ('c', 'C', 'erp', 'tryton', '1', 'effectively_once', 'active', 'ok', '{}', 1, 1, 1, 0, 0,"
    " 'u', :now, :now, 3, 1)",
    "INSERT INTO ledger (connection_id, accepted, delivered, skipped, superseded, dead, cancelled)"
    " VALUES ('c', 1, 1, 0, 0, 0, 0)",
)


def test_rows_that_others_refer_to_survive_a_table_made_anew(db_uri: str) -> None:
    command.upgrade(migrations.config("integrations", db_uri), "0001")
    db = Database(db_uri)
    try:
        with db.write() as session:
            for row in ROWS:
                session.execute(text(row), {"now": utcnow().isoformat(sep=" ")})
        migrations.upgrade("integrations", db_uri)
        with db.read() as session:
            joined = text("SELECT name, version FROM connection JOIN ledger ON connection_id = id")
            found = session.execute(joined).one()
        assert tuple(found) == ("C", 3)
    finally:
        db.close()
