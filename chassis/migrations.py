"""Migrations of one service's database: explicit, before the rollout; at start only for the embedded default.

Each service's `migrations/env.py` is one line that calls `run`. `alembic -n sales upgrade head` runs one from a shell.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from chassis.audit.tables import AUDIT_CHAIN, GENESIS, TABLES, THE_CHAIN, guards, unguard
from chassis.crypto import DATA_KEY
from chassis.database import CHASSIS, LOCK_TIMEOUT_S, Database
from chassis.idempotency import IDEMPOTENCY
from chassis.inbox import INBOX
from chassis.outbox import OUTBOX
from chassis.revision import folder
from chassis.snapshot import SNAPSHOT_RUN

CHASSIS_V1 = (OUTBOX, INBOX, IDEMPOTENCY, DATA_KEY, SNAPSHOT_RUN)


def create_chassis_tables_v1(op: Any) -> None:
    """Create the tables that the chassis needs, as of its first version; called by a service's first migration."""
    CHASSIS.create_all(op.get_bind(), tables=list(CHASSIS_V1), checkfirst=False)


def drop_chassis_tables_v1(op: Any) -> None:
    """Undo `create_chassis_tables_v1`."""
    CHASSIS.drop_all(op.get_bind(), tables=list(CHASSIS_V1), checkfirst=False)


def create_audit_tables_v1(op: Any) -> None:
    """Create the tables of the audit trail, empty, and the triggers that keep hands off them.

    SQLite changes a column by making the table anew, which loses its triggers: a later migration that does so to one of
    these makes them again.
    """
    connection = op.get_bind()
    CHASSIS.create_all(connection, tables=list(TABLES), checkfirst=False)
    op.bulk_insert(AUDIT_CHAIN, [{"id": THE_CHAIN, "seq": 0, "hash": GENESIS}])
    for statement in guards(connection.dialect.name):
        connection.exec_driver_sql(statement)


def drop_audit_tables_v1(op: Any) -> None:
    """Undo `create_audit_tables_v1`; the trail is lost."""
    connection = op.get_bind()
    CHASSIS.drop_all(connection, tables=list(TABLES), checkfirst=False)
    for statement in unguard(connection.dialect.name):
        connection.exec_driver_sql(statement)


def add_index(op: Any, name: str, table: str, columns: list[str], *, where: str | None = None,
              unique: bool = False) -> None:
    """Create an index on a table that may be large, while a PostgreSQL that serves goes on reading and writing it.

    Do so before anything else in a migration: what stands before it is committed with it. Ended half-way it can be run
    again (https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY).

    Args:
        op: alembic's.
        name: of the index; new, so that the version which still runs keeps the index that it goes by.
        table: its name.
        columns: their names.
        where: the rows that it holds, as SQL; all of them without.
        unique: no two of those rows may be equal in the columns.
    """
    rows = sa.text(where) if where else None
    if op.get_bind().dialect.name != "postgresql":
        op.create_index(name, table, columns, unique=unique, sqlite_where=rows)
        return
    with op.get_context().autocommit_block():
        # It waits for every transaction that is open; the two seconds that a request waits would not do.
        op.execute("SET lock_timeout = '10min'")
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, unique=unique, postgresql_where=rows, postgresql_concurrently=True)
        op.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S:g}s'")


def config(room: str, db_uri: str) -> Config:
    """Return the alembic configuration of a room."""
    settings = Config()
    settings.set_main_option("script_location", str(folder(room)))
    settings.set_main_option("path_separator", "os")
    settings.attributes["db_uri"] = db_uri
    return settings


def run(room: str, *metadata: sa.MetaData) -> None:
    """Run what alembic was asked for; called by a service's `env.py`.

    Args:
        room: the service.
        metadata: of the service's own tables; the chassis' are added.
    """
    from alembic import context

    uri = context.config.attributes.get("db_uri") or os.environ.get(f"DB_URI_{room.upper()}") \
        or f"sqlite:///{os.environ.get('HUB_HOME', '.hub')}/db/{room}.sqlite"
    make_folder(uri)
    db = Database(uri)
    try:
        with db.engine.connect() as connection:
            if db.is_sqlite:
                # A column is changed by making the table anew, which references to the old one would forbid
                # (https://www.sqlite.org/lang_altertable.html#otheralter); they are checked at the end instead.
                connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
                # The sqlite3 module commits before DDL by itself; an explicit BEGIN keeps a migration whole.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                # An index over a million rows takes longer than any request may.
                connection.exec_driver_sql("SET statement_timeout = 0")
                connection.commit()
            context.configure(connection=connection, target_metadata=[CHASSIS, *metadata], render_as_batch=db.is_sqlite,
                              compare_type=True, transactional_ddl=True, transaction_per_migration=True)
            context.run_migrations()
            if db.is_sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                raise RuntimeError(f"a migration of {room} left rows whose reference is gone; nothing was changed")
            connection.commit()
    finally:
        db.close()


def make_folder(uri: str) -> None:
    """Make the folder of a SQLite file, for its owner alone."""
    url = sa.make_url(uri)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)


def upgrade(room: str, db_uri: str) -> None:
    """Bring a room's database to the newest version."""
    command.upgrade(config(room, db_uri), "head")
