"""A database that the migrations made is the one that the models speak of, on both engines."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from chassis import migrations, revision
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


@pytest.mark.parametrize("room", ROOMS)
def test_the_file_of_a_migration_begins_with_its_revision_and_the_last_is_the_newest(room: str) -> None:
    scripts = ScriptDirectory.from_config(migrations.config(room, ""))
    assert revision.newest(room) == scripts.get_current_head()
    for script in scripts.walk_revisions():
        assert Path(script.path).name.partition("_")[0] == script.revision


def test_a_process_that_serves_carries_neither_what_migrates_nor_a_resolver() -> None:
    code = ("import sys; import chassis.launcher; [chassis.launcher.room_module(room) for room in sys.argv[1:]];"
            "sys.exit(bool({'alembic', 'dns'} & sys.modules.keys()))")
    served = subprocess.run([sys.executable, "-W", "ignore", "-c", code, *ROOMS], cwd=ROOT, check=False)
    assert served.returncode == 0
