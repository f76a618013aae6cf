"""What the migrations make, they can take away, and their tables are in use meanwhile."""

from __future__ import annotations

import subprocess
import sys

import sqlalchemy as sa
from alembic import command

from chassis import migrations
from chassis.database import Database, new_id
from tests.support.processes import eventually

ADD = sa.text("INSERT INTO customer (id, version, created_by, created_at, updated_at, name, name_key, kind, source,"
              " level, lifecycle, tags, preferences, consent) VALUES (:id, 1, :id, now(), now(), 'n', 'n', 'person',"
              " '', '', 'prospect', '[]', '{}', '{}')")
WAITING = sa.text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND datname ="
                  " current_database() AND wait_event_type = 'Lock'")


def test_a_downgrade_leaves_nothing_behind(db_uri: str) -> None:
    migrations.make_folder(db_uri)
    migrations.upgrade("customers", db_uri)
    command.downgrade(migrations.config("customers", db_uri), "base")
    db = Database(db_uri)
    try:
        with db.engine.connect() as connection:
            assert sa.inspect(connection).get_table_names() == ["alembic_version"]
    finally:
        db.close()


def test_customers_are_made_while_their_indexes_are(postgres_uri: str) -> None:
    command.upgrade(migrations.config("customers", postgres_uri), "0004")
    db = Database(postgres_uri)
    upgrade = "import sys; from chassis import migrations; migrations.upgrade('customers', sys.argv[1])"
    try:
        with db.engine.connect() as long, db.engine.connect() as other:
            long.execute(ADD, {"id": new_id()})
            with subprocess.Popen([sys.executable, "-c", upgrade, postgres_uri]) as migration:
                def waits() -> bool:
                    with other.begin():
                        return bool(other.scalar(WAITING))

                eventually(waits, 30)
                with other.begin():
                    other.execute(ADD, {"id": new_id()})
                long.commit()
                assert migration.wait(30) == 0
    finally:
        db.close()
