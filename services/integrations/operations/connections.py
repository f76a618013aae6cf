"""Setting up connections, and starting and stopping them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from sqlalchemy.orm import Session

from chassis.audit import trail
from chassis.context import Subject
from chassis.database import new_id, now_of
from contracts.errors import AlreadyExists, Conflict, Invalid, InvalidTransition, StaleVersion
from hub_adapter.client import HttpPolicy
from hub_adapter.port import AdapterSpec, CheckResult
from services.integrations.adapters import registry
from services.integrations.domain.breaker import Breaker
from services.integrations.models import Connection, Credential, Delivery, LedgerRow
from services.integrations.operations import announcements, credentials, readiness
from services.integrations.queries import adapters, connections

RATE_WHERE_UNKNOWN_PER_S = 50.0
"""Requests a second to a target whose adapter names no limit."""


def create(session: Session, request: Mapping[str, Any], *, by: Subject) -> Connection:
    """Set up a connection to an external system. It is active at once, and idle until a route is.

    Raises:
        Invalid: no such adapter is installed, or the config is not what it asks for; each fault with its pointer.
        AlreadyExists: another connection has this name.
    """
    spec = _spec(request["adapter"])
    _require_valid(spec, request["config"])
    _require_free_name(session, request["name"])
    now = now_of(session)
    limits = spec.limits
    connection = Connection(
        id=new_id(), name=request["name"], kind=request.get("kind", "other"), adapter=spec.name,
        adapter_version=spec.version, guarantee=adapters.guarantee(spec), config=request["config"],
        rate_per_s=request.get("rate_per_s", limits.rate_per_s or RATE_WHERE_UNKNOWN_PER_S),
        burst=request.get("burst", limits.burst), max_in_flight=request.get("max_in_flight", limits.max_in_flight),
        created_by=by.id, created_at=now, updated_at=now)
    session.add(connection)
    session.flush()
    session.add(LedgerRow(connection_id=connection.id))
    session.flush()
    return connection


def change(session: Session, request: Mapping[str, Any], *, by: Subject) -> Connection:
    """Change a connection; a new config or pace is used from the next call on, and needs a new check.

    A new address takes the credential away and pauses the connection: else whoever may change settings could have the
    secret sent to a host of their own, and read what nobody may read.

    Raises:
        NotFound: there is none, or it is out of reach.
        StaleVersion: it has changed since the caller read it.
        Invalid, AlreadyExists: as for `create`.
    """
    connection = connections.for_write(session, request["id"], by, "change")
    if connection.version != request["expected_version"]:
        raise StaleVersion("The connection has changed since you read it", version=connection.version)
    changes = request["changes"]
    moved = False
    if "config" in changes:
        spec = _spec(connection.adapter)
        _require_valid(spec, changes["config"], "/changes/config")
        moved = spec.moved(connection.config, changes["config"])
    if changes.get("name", connection.name) != connection.name:
        _require_free_name(session, changes["name"])
    trail.before(session, **{name: getattr(connection, name) for name in changes})
    for name, value in changes.items():
        setattr(connection, name, value)
    if {"config", "rate_per_s", "burst"} & set(changes):
        connection.setup_version += 1
    _touch(session, connection)
    if moved and credentials.withdraw(session, connection):
        _wait_for_credential(session, connection, by)
    return connection


def _wait_for_credential(session: Session, connection: Connection, by: Subject) -> None:
    """Hold a connection whose address has changed: a secret goes only where whoever put it meant it to go."""
    connection.health = "auth_failed"
    if connection.desired_state == "active":
        connection.desired_state, connection.paused_by, connection.pause_code = "paused", by.id, "address"
        connection.pause_reason = "its address has changed: put the credential again, check, resume"
    session.flush()
    announcements.health_changed(session, connection, by)


def pause(session: Session, request: Mapping[str, Any], *, by: Subject) -> Connection:
    """Make no further call over a connection. One row changes, however many deliveries wait.

    Pausing again with another reason keeps the newer one; without a reason it changes nothing.

    Raises:
        NotFound: there is none, or it is out of reach.
        InvalidTransition: it is stopped, and would accept changes again.
    """
    connection = connections.for_write(session, request["id"], by, "operate")
    if connection.desired_state == "stopped":
        raise InvalidTransition(f"{connection.name} is stopped: resume it first", state="stopped")
    return _hold(session, connection, "paused", request["reason"] or None, by)


def stop(session: Session, request: Mapping[str, Any], *, by: Subject) -> Connection:
    """Take a connection out of use: no further call, and nothing more is accepted. What waits stays as it is.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    connection = connections.for_write(session, request["id"], by, "operate")
    return _hold(session, connection, "stopped", request["reason"] or None, by)


def _hold(session: Session, connection: Connection, state: str, reason: str | None, by: Subject) -> Connection:
    held = connection.desired_state == state
    if not held or (reason is not None and reason != connection.pause_reason):
        connection.desired_state, connection.paused_by, connection.pause_reason = state, by.id, reason
        announcements.health_changed(session, connection, by)
        _touch(session, connection)
    return connection


def resume(session: Session, request: Mapping[str, Any], *, by: Subject) -> Connection:
    """Let deliveries flow again, and forget what was seen of the target before.

    One that is active and whose target is down is checked at once instead of at its time.

    Raises:
        NotFound: there is none, or it is out of reach.
        Conflict: its credential was refused or taken away, and no check has passed since; `gaps` says what is missing.
    """
    connection = connections.for_write(session, request["id"], by, "operate")
    if connection.health == "auth_failed" and (gaps := readiness.gaps(connection)):
        raise Conflict(f"{connection.name} is not ready", gaps=gaps)
    if connection.desired_state != "active":
        if connection.pause_code == "in_doubt":
            _look_again(session, connection)
        connection.desired_state, connection.health = "active", "ok"
        connection.pause_reason = connection.pause_code = connection.paused_by = connection.throttled_until = None
        connection.breaker, connection.refused_records = Breaker(), None
        announcements.health_changed(session, connection, by)
        _touch(session, connection)
    elif connection.breaker_open_until is not None:
        connection.breaker = connection.breaker.checking(now_of(session))
    return connection


def _look_again(session: Session, connection: Connection) -> None:
    """Look for all that is in doubt from the start: whoever resumes has seen to it that the target can be asked."""
    session.execute(
        sa.update(Delivery).where(Delivery.connection_id == connection.id, sa.text("delivery.state = 'in_doubt'"))
        .values(probes=0, due_at=now_of(session)))


def checked(session: Session, connection_id: str, setup_version: int, result: CheckResult,
            at: dt.datetime) -> dict[str, Any]:
    """Keep what a check found, and return it. It counts for the settings and credential it was made with."""
    connection = session.get_one(Connection, connection_id, with_for_update={"key_share": True})
    found = "1 problem was" if len(result.problems) == 1 else f"{len(result.problems)} problems were"
    message = "The target can be worked with." if result.ok else f"{found} found."
    if result.error_class is not None:
        message = f"The target could not be asked ({result.error_class})."
    connection.checked_version, connection.checked_at = setup_version, at
    connection.check_ok, connection.check_message = result.ok and result.error_class is None, message
    connection.check_problems = [{"field": p.field, "message": p.message[:500]} for p in result.problems]
    refused = result.error_class == "auth"
    session.execute(sa.update(Credential).where(Credential.connection_id == connection_id).values(
        status="refused" if refused else "accepted" if connection.check_ok else Credential.status))
    shown = connection.check
    if shown is None:
        raise AssertionError("a check was kept just now")
    return shown


def _spec(name: str) -> AdapterSpec:
    try:
        return registry.load(name).spec
    except registry.UnknownAdapter as error:
        raise Invalid.of("/adapter", "unknown", str(error)) from error
    except registry.BrokenAdapter as error:
        raise Invalid.of("/adapter", "broken", str(error)) from error


def _require_valid(spec: AdapterSpec, config: Mapping[str, Any], pointer: str = "/config") -> None:
    validator = Draft202012Validator(dict(spec.config_schema))
    refused = [_refusal(fault, pointer) for fault in sorted(validator.iter_errors(config), key=lambda f: f.json_path)]
    private = f"{pointer}/allow_private"
    if not any(fault["pointer"].startswith(private) for fault in refused):
        try:
            HttpPolicy.of(config)
        except (TypeError, ValueError) as error:
            refused.append({"pointer": private, "code": "not_allowed", "message": str(error)[:300]})
    if refused:
        raise Invalid(f"The config is not what the adapter {spec.name} asks for", errors=refused)


def _refusal(fault: ValidationError, pointer: str) -> dict[str, str]:
    steps = [str(step).replace("~", "~0").replace("/", "~1") for step in fault.absolute_path]
    return {"pointer": "/".join([pointer, *steps]), "code": str(fault.validator), "message": fault.message[:300]}


def _require_free_name(session: Session, name: str) -> None:
    if session.scalar(sa.select(Connection.id).where(Connection.name == name)) is not None:
        raise AlreadyExists(f"There is a connection named {name!r}", name=name)


def _touch(session: Session, connection: Connection) -> None:
    connection.version += 1
    connection.updated_at = now_of(session)
    session.flush()
