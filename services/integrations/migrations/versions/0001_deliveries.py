"""Connections, routes, records, bindings, deliveries with their attempts, and what is counted of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from chassis.database import Id, Json, UtcDateTime
from chassis.migrations import create_chassis_tables_v1, drop_chassis_tables_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything."""
    create_chassis_tables_v1(op)
    _connection()
    _record()
    _binding()
    _credential()
    _cursor()
    _delivery()
    _ledger()
    _route()
    _sighting()
    _attempt()


def downgrade() -> None:
    """Drop everything."""
    op.drop_table("attempt")
    op.drop_table("sighting")
    op.drop_table("route")
    op.drop_table("ledger")
    op.drop_table("delivery")
    op.drop_table("cursor")
    op.drop_table("credential")
    op.drop_table("binding")
    op.drop_table("record")
    op.drop_table("connection")
    drop_chassis_tables_v1(op)


def _partial(name: str, table: str, *columns: str, where: str, unique: bool = False) -> None:
    condition: dict[str, Any] = {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
    op.create_index(name, table, list(columns), unique=unique, **condition)


def _connection() -> None:
    op.create_table(
        "connection",
        sa.Column("id", Id, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("adapter", sa.String(60), nullable=False),
        sa.Column("adapter_version", sa.String(40), nullable=False),
        sa.Column("guarantee", sa.String(20), nullable=False),
        sa.Column("desired_state", sa.String(10), nullable=False),
        sa.Column("health", sa.String(16), nullable=False),
        sa.Column("pause_reason", sa.String(500)),
        sa.Column("paused_by", sa.String(80)),
        sa.Column("config", Json, nullable=False),
        sa.Column("credential_id", Id),
        sa.Column("mapping_version", sa.Integer),
        sa.Column("rate_per_s", sa.Float, nullable=False),
        sa.Column("burst", sa.Integer, nullable=False),
        sa.Column("max_in_flight", sa.Integer, nullable=False),
        sa.Column("throttled_until", UtcDateTime),
        sa.Column("consecutive_failures", sa.Integer, nullable=False),
        sa.Column("first_failure_at", UtcDateTime),
        sa.Column("last_success_at", UtcDateTime),
        sa.Column("breaker_open_until", UtcDateTime),
        sa.Column("open_count", sa.Integer, nullable=False),
        sa.Column("setup_version", sa.Integer, nullable=False,
                  comment="rises with settings and credential; a check is of one such version"),
        sa.Column("checked_version", sa.Integer),
        sa.Column("checked_at", UtcDateTime),
        sa.Column("check_ok", sa.Boolean),
        sa.Column("check_message", sa.String(500)),
        sa.Column("check_problems", Json),
        sa.Column("created_by", sa.String(80), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.UniqueConstraint("name", name="uq_connection_name"),
    )


def _record() -> None:
    op.create_table(
        "record",
        sa.Column("entity", sa.String(40), primary_key=True),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state_sealed", sa.Text, nullable=False, comment="JSON, sealed for record|entity|id"),
        sa.Column("state_hash", sa.String(64), nullable=False, comment="keyed hash of the canonical JSON"),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("seen_at", UtcDateTime, nullable=False),
    )


def _binding() -> None:
    op.create_table(
        "binding",
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), primary_key=True),
        sa.Column("entity", sa.String(40), primary_key=True),
        sa.Column("local_id", sa.String(64), primary_key=True),
        sa.Column("external_id", sa.String(200)),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("create_key", sa.String(120), nullable=False),
        sa.Column("acked_version", sa.Integer, nullable=False),
        sa.Column("remote_version", sa.String(200)),
        sa.Column("sent_hash", sa.String(64)),
        sa.Column("base_snapshot", sa.Text, comment="sealed: what both sides agreed on last"),
        sa.Column("last_verified_at", UtcDateTime),
    )
    _partial("uq_binding_external", "binding", "connection_id", "entity", "external_id",
             where="external_id IS NOT NULL", unique=True)


def _credential() -> None:
    op.create_table(
        "credential",
        sa.Column("id", Id, primary_key=True),
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("ciphertext", sa.Text, nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False, comment="untried, accepted, refused"),
        sa.Column("expires_at", UtcDateTime),
        sa.Column("refresh_owner", sa.String(120)),
        sa.Column("refresh_until", UtcDateTime),
        sa.Column("updated_by", sa.String(80), nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.UniqueConstraint("connection_id", name="uq_credential_connection_id"),
    )


def _cursor() -> None:
    op.create_table(
        "cursor",
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), primary_key=True),
        sa.Column("entity", sa.String(40), primary_key=True),
        sa.Column("direction", sa.String(8), primary_key=True),
        sa.Column("partition", sa.String(40), primary_key=True),
        sa.Column("checkpoint", sa.Text),
        sa.Column("due_at", UtcDateTime, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_error", sa.String(1000)),
        sa.Column("last_success_at", UtcDateTime),
        sa.Column("lease_owner", sa.String(120)),
        sa.Column("lease_until", UtcDateTime),
        sa.Column("fence", sa.Integer, nullable=False),
    )
    op.create_index("ix_cursor_due_at", "cursor", ["due_at"])


def _delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", Id, primary_key=True),
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), nullable=False),
        sa.Column("entity", sa.String(40), nullable=False),
        sa.Column("local_id", sa.String(64), nullable=False),
        sa.Column("op", sa.String(8), nullable=False),
        sa.Column("source_event_id", Id),
        sa.Column("source_version", sa.Integer, nullable=False),
        sa.Column("payload", sa.Text,
                  comment="sealed; null for an upsert, which takes the record as it stands when it is sent"),
        sa.Column("payload_hash", sa.String(64)),
        sa.Column("mapping_version", sa.Integer),
        sa.Column("idempotency_key", sa.String(160), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, comment="failures that count towards the last attempt"),
        sa.Column("deferrals", sa.Integer, nullable=False, comment="waits that used no attempt"),
        sa.Column("probes", sa.Integer, nullable=False, comment="look-ups since the answer was lost"),
        sa.Column("due_at", UtcDateTime, nullable=False),
        sa.Column("deadline_at", UtcDateTime),
        sa.Column("doubt_since", UtcDateTime, comment="when the answer was lost"),
        sa.Column("lease_owner", sa.String(120)),
        sa.Column("lease_until", UtcDateTime),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("error_class", sa.String(24)),
        sa.Column("last_error", sa.String(1000)),
        sa.Column("blocked_entity", sa.String(40)),
        sa.Column("blocked_id", sa.String(64)),
        sa.Column("superseded_by", Id),
        sa.Column("replay_of", Id),
        sa.Column("origin", sa.String(10), nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False, comment="0 goes first"),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("settled_at", UtcDateTime),
    )
    _partial("ix_delivery_attention", "delivery", "state", "id",
             where="state IN ('dead', 'in_doubt', 'blocked')")
    _partial("ix_delivery_blocked_due", "delivery", "due_at",
             where="state = 'blocked'")
    _partial("ix_delivery_blocked_on", "delivery", "blocked_entity", "blocked_id", "connection_id",
             where="state = 'blocked'")
    _partial("ix_delivery_doubt", "delivery", "due_at",
             where="state = 'in_doubt'")
    _partial("ix_delivery_due", "delivery", "connection_id", "priority", "due_at", "id",
             where="state IN ('pending', 'retry_wait')")
    _partial("ix_delivery_lane_facts", "delivery", "connection_id", "entity", "local_id", "id",
             where="state IN ('pending', 'retry_wait', 'blocked', 'dead') AND op <> 'upsert'")
    _partial("ix_delivery_lease", "delivery", "lease_until",
             where="lease_until IS NOT NULL")
    op.create_index("ix_delivery_record", "delivery", ["local_id", "id"])
    op.create_index("ix_delivery_state", "delivery", ["connection_id", "state", "id"])
    _partial("uq_delivery_lane_in_flight", "delivery", "connection_id", "entity", "local_id",
             where="state IN ('leased', 'in_doubt')", unique=True)
    _partial("uq_delivery_lane_waiting", "delivery", "connection_id", "entity", "local_id",
             where="state IN ('pending', 'retry_wait', 'blocked') AND op = 'upsert'", unique=True)


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), primary_key=True),
        sa.Column("accepted", sa.BigInteger, nullable=False),
        sa.Column("delivered", sa.BigInteger, nullable=False),
        sa.Column("skipped", sa.BigInteger, nullable=False),
        sa.Column("superseded", sa.BigInteger, nullable=False),
        sa.Column("dead", sa.BigInteger, nullable=False),
        sa.Column("cancelled", sa.BigInteger, nullable=False),
    )


def _route() -> None:
    op.create_table(
        "route",
        sa.Column("id", Id, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), nullable=False),
        sa.Column("entity", sa.String(40), nullable=False),
        sa.Column("direction", sa.String(8), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("filter", Json),
        sa.Column("mapping_version", sa.Integer),
        sa.Column("conflict_policy", sa.String(20)),
        sa.Column("created_by", sa.String(80), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("updated_at", UtcDateTime, nullable=False),
        sa.UniqueConstraint("connection_id", "entity", name="uq_route_connection_id_entity"),
    )
    op.create_index("ix_route_entity_state", "route", ["entity", "state"])


def _sighting() -> None:
    op.create_table(
        "sighting",
        sa.Column("connection_id", Id, sa.ForeignKey("connection.id"), primary_key=True),
        sa.Column("entity", sa.String(40), primary_key=True),
        sa.Column("external_id", sa.String(200), primary_key=True),
        sa.Column("remote_version", sa.String(200), nullable=False),
        sa.Column("version", sa.Integer, nullable=False, comment="ours: rises with every change that was told"),
        sa.Column("seen_at", UtcDateTime, nullable=False),
    )


def _attempt() -> None:
    op.create_table(
        "attempt",
        sa.Column("id", Id, primary_key=True),
        sa.Column("delivery_id", Id, sa.ForeignKey("delivery.id"), nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("action", sa.String(8), nullable=False, comment="write, delete or find"),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("outcome", sa.String(16)),
        sa.Column("error_class", sa.String(24)),
        sa.Column("http_status", sa.Integer),
        sa.Column("retry_after_s", sa.Float),
        sa.Column("duration_ms", sa.Integer),
        sa.Column("request_preview_sealed", sa.Text),
        sa.Column("response_preview_sealed", sa.Text),
        sa.Column("trace_id", sa.String(64)),
        sa.UniqueConstraint("delivery_id", "n", name="uq_attempt_delivery_id_n"),
    )
