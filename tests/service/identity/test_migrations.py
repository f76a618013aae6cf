"""The migrations make what the models say, and take it away again."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from chassis import migrations
from chassis.database import CHASSIS
from services.identity.models import Base, Role


# SQLite cannot show an index over an expression; PostgreSQL, where the same test runs, can.
@pytest.mark.filterwarnings("ignore:.*expression-based index")
@pytest.mark.filterwarnings("ignore:.*reflection of expression")
def test_a_migrated_database_is_what_the_models_say(identity: Any) -> None:
    with identity.db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [change for change in compare_metadata(context, [CHASSIS, Base.metadata]) if not _unseen(change)] == []


def _unseen(change: Any) -> bool:
    return change[0] == "add_index" and change[1].name == "uq_team_parent_name"


def test_a_downgrade_leaves_nothing_behind(identity: Any, settings: Any) -> None:
    identity.db.close()
    command.downgrade(migrations.config("identity", settings.db_uri), "base")
    with identity.db.engine.connect() as connection:
        assert set(sa.inspect(connection).get_table_names()) <= {"alembic_version"}


def test_an_upgrade_gives_built_in_roles_their_rights_to_tickets_and_keeps_what_an_administrator_said(
        identity: Any, settings: Any) -> None:
    asked = migrations.config("identity", settings.db_uri)
    identity.db.close()
    command.downgrade(asked, "0001")
    before = {"manager": {"ticket": {"*": "tree"}}, "sales": {"ticket": {"read": "all"}}, "admin": {"*": {"*": "all"}}}
    with identity.db.engine.begin() as connection:
        for name, depths in before.items():
            connection.execute(sa.update(Role).where(Role.name == name).values(depths=depths, version=5))
    command.upgrade(asked, "head")
    with identity.db.engine.connect() as connection:
        rows = connection.execute(sa.select(Role.name, Role.depths, Role.version).where(Role.name.in_(before)))
        after = {name: (depths, version) for name, depths, version in rows}
    assert after == {
        "manager": ({"ticket": {"*": "tree"}, "queue": {"read": "all", "*": "tree"}}, 6),
        "sales": ({"ticket": {"read": "all"}, "queue": {"read": "all"}}, 6), "admin": ({"*": {"*": "all"}}, 5)}
