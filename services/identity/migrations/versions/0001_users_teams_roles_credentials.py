"""Users, teams, roles, credentials and sign-ins; the built-in roles as data."""

import sqlalchemy as sa
from alembic import op

from chassis.database import Id, Json, UtcDateTime, utcnow
from chassis.migrations import create_chassis_tables_v1, drop_chassis_tables_v1
from services.identity.domain.roles import BUILT_IN

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables and roles."""
    create_chassis_tables_v1(op)
    _create_roles()
    _create_teams()
    _create_users()
    _create_memberships()
    _create_credentials()
    _create_sign_ins()


def downgrade() -> None:
    """Drop everything."""
    for table in (
        "login_event", "sign_in_guard", "api_key", "session", "user_role", "team_member", "user_account", "team_path",
        "team", "role", "access_version",
    ):  # fmt: skip
        op.drop_table(table)
    drop_chassis_tables_v1(op)


def _id() -> list[sa.Column]:
    return [sa.Column("id", Id, primary_key=True), sa.Column("created_at", UtcDateTime, nullable=False)]


def _versioned() -> list[sa.Column]:
    return [
        *_id(),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    ]


def _user(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, Id, sa.ForeignKey("user_account.id", ondelete="CASCADE"), nullable=nullable)


def _create_roles() -> None:
    versions = op.create_table(
        "access_version",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.Integer, nullable=False),
    )
    op.bulk_insert(versions, [{"id": 1, "value": 1}])
    roles = op.create_table(
        "role",
        *_versioned(),
        sa.Column("name", sa.String(40), nullable=False, unique=True),
        sa.Column("title", sa.String(120), nullable=False),
        sa.Column("built_in", sa.Boolean, nullable=False),
        sa.Column("depths", Json, nullable=False),
    )
    now = utcnow()
    op.bulk_insert(
        roles,
        [
            {"id": id, "created_at": now, "version": 1, "updated_at": now, "name": name, "title": title,
             "built_in": True, "depths": depths}
            for name, (id, title, depths) in BUILT_IN.items()
        ],
    )  # fmt: skip


def _create_teams() -> None:
    op.create_table(
        "team",
        *_versioned(),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("parent_id", Id, sa.ForeignKey("team.id"), index=True),
    )
    parent = sa.func.coalesce(sa.column("parent_id"), sa.text("''"))
    op.create_index("uq_team_parent_name", "team", [parent, "name"], unique=True)
    op.create_table(
        "team_path",
        sa.Column("ancestor_id", Id, sa.ForeignKey("team.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("descendant_id", Id, sa.ForeignKey("team.id", ondelete="CASCADE"), primary_key=True, index=True),
        sa.Column("distance", sa.Integer, nullable=False),
    )


def _create_users() -> None:
    op.create_table(
        "user_account",
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


def _create_memberships() -> None:
    op.create_table(
        "team_member",
        sa.Column("user_id", Id, sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("team_id", Id, sa.ForeignKey("team.id"), primary_key=True, index=True),
        sa.Column("position", sa.Integer, nullable=False),
    )
    op.create_table(
        "user_role",
        sa.Column("user_id", Id, sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("role_id", Id, sa.ForeignKey("role.id"), primary_key=True, index=True),
    )


def _create_credentials() -> None:
    op.create_table(
        "session",
        *_id(),
        _user("user_id"),
        sa.Column("token_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("user_agent", sa.String(200), nullable=False),
        sa.Column("last_seen_at", UtcDateTime, nullable=False),
        sa.Column("idle_expires_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False, index=True),
        sa.Column("revoked_at", UtcDateTime),
    )
    op.create_index("ix_session_user_id", "session", ["user_id"])
    op.create_table(
        "api_key",
        *_id(),
        _user("owner_id"),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("prefix", sa.String(40), nullable=False, unique=True),
        sa.Column("key_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("scopes", Json),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("last_used_at", UtcDateTime),
        sa.Column("revoked_at", UtcDateTime),
        sa.Column("created_by", sa.String(64), nullable=False),
    )
    op.create_index("ix_api_key_owner_id", "api_key", ["owner_id"])


def _create_sign_ins() -> None:
    op.create_table(
        "login_event",
        sa.Column("id", Id, primary_key=True),
        _user("user_id", nullable=True),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("user_agent", sa.String(200), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False, index=True),
    )
    op.create_index("ix_login_event_user_id", "login_event", ["user_id"])
    op.create_table(
        "sign_in_guard",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_at", UtcDateTime, nullable=False, index=True),
        sa.Column("locked_until", UtcDateTime),
    )
