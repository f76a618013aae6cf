"""Users, teams, roles, credentials and sign-ins; the built-in roles as data."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from chassis.database import NAMING, Id, Json, UtcDateTime, utcnow
from chassis.migrations import create_chassis_tables_v1, drop_chassis_tables_v1
from services.identity.domain.roles import BUILT_IN

revision = "0001"
down_revision = None

# The tables as they were at this version. Declared, not created one by one, so that constraints get their names.
SCHEMA = sa.MetaData(naming_convention=NAMING)


def _id() -> list[sa.Column[Any]]:
    return [sa.Column("id", Id, primary_key=True), sa.Column("created_at", UtcDateTime, nullable=False)]


def _versioned() -> list[sa.Column[Any]]:
    return [
        *_id(),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    ]


def _of_user(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, Id, sa.ForeignKey("user_account.id", ondelete="CASCADE"), **options)


def _of_team(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, Id, sa.ForeignKey("team.id", ondelete="CASCADE"), **options)


ACCESS_VERSION = sa.Table(
    "access_version",
    SCHEMA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("value", sa.Integer, nullable=False),
)
ROLE = sa.Table(
    "role",
    SCHEMA,
    *_versioned(),
    sa.Column("name", sa.String(40), nullable=False, unique=True),
    sa.Column("title", sa.String(120), nullable=False),
    sa.Column("built_in", sa.Boolean, nullable=False),
    sa.Column("depths", Json, nullable=False),
)
TEAM = sa.Table(
    "team",
    SCHEMA,
    *_versioned(),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("parent_id", Id, sa.ForeignKey("team.id"), index=True),
)
sa.Index("uq_team_parent_name", sa.func.coalesce(TEAM.c.parent_id, sa.text("''")), TEAM.c.name, unique=True)
sa.Table(
    "team_path",
    SCHEMA,
    _of_team("ancestor_id", primary_key=True),
    _of_team("descendant_id", primary_key=True, index=True),
    sa.Column("distance", sa.Integer, nullable=False),
)
sa.Table(
    "user_account",
    SCHEMA,
    *_versioned(),
    sa.Column("username", sa.String(64), nullable=False, unique=True),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("email_sealed", sa.Text),
    sa.Column("email_index", sa.String(64), unique=True),
    sa.Column("phone_sealed", sa.Text),
    sa.Column("locale", sa.String(10), nullable=False),
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("disabled_at", UtcDateTime),
    sa.Column("password_hash", sa.String(200)),
    sa.Column("password_changed_at", UtcDateTime),
    sa.Column("must_change_password", sa.Boolean, nullable=False),
    sa.Column("last_sign_in_at", UtcDateTime),
    sa.Column("created_by", sa.String(64), nullable=False),
)
sa.Table(
    "team_member",
    SCHEMA,
    _of_user("user_id", primary_key=True),
    sa.Column("team_id", Id, sa.ForeignKey("team.id"), primary_key=True, index=True),
    sa.Column("position", sa.Integer, nullable=False),
)
sa.Table(
    "user_role",
    SCHEMA,
    _of_user("user_id", primary_key=True),
    sa.Column("role_id", Id, sa.ForeignKey("role.id"), primary_key=True, index=True),
)
sa.Table(
    "session",
    SCHEMA,
    *_id(),
    _of_user("user_id", nullable=False, index=True),
    sa.Column("token_sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("user_agent", sa.String(200), nullable=False),
    sa.Column("last_seen_at", UtcDateTime, nullable=False),
    sa.Column("idle_expires_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False, index=True),
    sa.Column("revoked_at", UtcDateTime),
)
sa.Table(
    "api_key",
    SCHEMA,
    *_id(),
    _of_user("owner_id", nullable=False, index=True),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("prefix", sa.String(40), nullable=False, unique=True),
    sa.Column("key_sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("scopes", Json),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("last_used_at", UtcDateTime),
    sa.Column("revoked_at", UtcDateTime),
    sa.Column("created_by", sa.String(64), nullable=False),
)
sa.Table(
    "login_event",
    SCHEMA,
    sa.Column("id", Id, primary_key=True),
    _of_user("user_id", nullable=True, index=True),
    sa.Column("outcome", sa.String(20), nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("user_agent", sa.String(200), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False, index=True),
)
sa.Table(
    "sign_in_guard",
    SCHEMA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("last_at", UtcDateTime, nullable=False, index=True),
    sa.Column("locked_until", UtcDateTime),
)


def upgrade() -> None:
    """Create the first tables and roles."""
    create_chassis_tables_v1(op)
    SCHEMA.create_all(op.get_bind(), checkfirst=False)
    now = utcnow()
    op.bulk_insert(ACCESS_VERSION, [{"id": 1, "value": 1}])
    op.bulk_insert(
        ROLE,
        [
            {"id": id, "created_at": now, "version": 1, "updated_at": now, "name": name, "title": title,
             "built_in": True, "depths": depths}
            for name, (id, title, depths) in BUILT_IN.items()
        ],
    )  # fmt: skip


def downgrade() -> None:
    """Drop everything."""
    SCHEMA.drop_all(op.get_bind(), checkfirst=False)
    drop_chassis_tables_v1(op)
