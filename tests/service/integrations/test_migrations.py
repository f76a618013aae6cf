"""A database with rows comes to the newest version whole."""

from __future__ import annotations

from alembic import command
from sqlalchemy import text

from chassis import migrations
from chassis.database import Database, utcnow
from services.integrations.models import Run

ROWS = (
    "INSERT INTO connection (id, name, kind, adapter, adapter_version, guarantee, desired_state, health, config,"
    " rate_per_s, burst, max_in_flight, consecutive_failures, open_count, created_by, created_at, updated_at, version,"
    " setup_version) VALUES ('c', 'C', 'erp', 'tryton', '1', 'effectively_once', 'active', 'ok', '{}', 1, 1, 1, 0, 0,"
    " 'u', :now, :now, 3, 1)",
    "INSERT INTO ledger (connection_id, accepted, delivered, skipped, superseded, dead, cancelled)"
    " VALUES ('c', 1, 1, 0, 0, 0, 0)",
)
RUN_THAT_ASKS = (
    "INSERT INTO run (id, version, connection_id, entity, kind, state, filter, options, position, counts, reason,"
    " created_by, failures, fence, due_at, created_at) VALUES ('r', 1, 'c', 'customer', 'match', 'awaiting_approval',"
    " '{}', '{}', '{}', '{\"seen\": 3}', '', 'u', 0, 1, :now, :now)",
    *("INSERT INTO finding (id, version, run_id, kind, candidates, fields, state, created_at)"
      f" VALUES ('f{n}', 1, 'r', 'new', '[]', '[]', '{state}', :now)"
      for n, state in enumerate(("decided", "decided", "skipped"))),
)

ROWS_OF_THE_RELEASE_BEFORE = (
    "INSERT INTO route (id, version, connection_id, entity, direction, state, conflict_policy, created_by, created_at,"
    " updated_at) VALUES ('w', 1, 'c', 'customer', 'push', 'draft', NULL, 'u', :now, :now)",
    "INSERT INTO binding (connection_id, entity, local_id, state, create_key, acked_version, sent_hash)"
    " VALUES ('c', 'customer', '1', 'bound', 'customer-1', 1, 'h')",
)


def test_rows_that_others_refer_to_survive_a_table_made_anew(db_uri: str) -> None:
    command.upgrade(migrations.config("integrations", db_uri), "0001")
    db = Database(db_uri)
    try:
        with db.write() as session:
            for row in ROWS:
                session.execute(text(row), {"now": utcnow().isoformat(sep=" ")})
        command.upgrade(migrations.config("integrations", db_uri), "0017")
        with db.write() as session:
            for row in RUN_THAT_ASKS:
                session.execute(text(row), {"now": utcnow().isoformat(sep=" ")})
        migrations.upgrade("integrations", db_uri)
        with db.write() as session:
            # Its processes end after the migration has run.
            for row in ROWS_OF_THE_RELEASE_BEFORE:
                session.execute(text(row), {"now": utcnow().isoformat(sep=" ")})
            asking = session.get_one(Run, "r")
            assert asking.counts == {"seen": 3, "to_confirm": 2}, "a run that asked goes on asking"
            assert asking.worked_s is None, "nobody has measured its work"
            joined = text("SELECT name, version FROM connection JOIN ledger ON connection_id = id")
            found = session.execute(joined).one()
        assert tuple(found) == ("C", 3)
    finally:
        db.close()
