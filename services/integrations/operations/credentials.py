"""The secrets with which connections sign in: they are put, never shown."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.audit import trail
from chassis.context import Subject
from chassis.crypto import Keyring
from chassis.database import now_of
from contracts.errors import Invalid
from hub_adapter.port import Refreshed
from services.integrations.adapters import registry
from services.integrations.models import Connection, Credential
from services.integrations.queries import connections


def put(session: Session, keyring: Keyring, request: Mapping[str, Any], *, by: Subject) -> dict[str, Any]:
    """Replace a connection's credential; the connection has to be checked anew.

    Raises:
        NotFound: there is no such connection in the caller's sight.
        Invalid: a secret that the adapter does not know, or one that it needs and that is missing.
    """
    connection = connections.for_write(session, request["id"], by, "change")
    _require_fields(registry.load(connection.adapter).spec.secret_fields, request["secrets"])
    sealed = keyring.seal(json.dumps(request["secrets"], ensure_ascii=False), _aad(connection.id))
    credential = session.scalars(sa.select(Credential).where(Credential.connection_id == connection.id)).one_or_none()
    if credential is None:
        credential = Credential(connection_id=connection.id, version=0)
        session.add(credential)
    credential.version += 1
    credential.ciphertext, credential.key_id = sealed, sealed.split(".")[1]
    credential.status, credential.updated_by, credential.updated_at = "untried", by.id, now_of(session)
    credential.expires_at = credential.refresh_owner = credential.refresh_until = None
    session.flush()
    connection.credential_id = credential.id
    connection.setup_version += 1
    connection.updated_at = credential.updated_at
    return {"connection_id": connection.id, "version": credential.version, "status": credential.status,
            "expires_at": credential.expires_at, "updated_at": credential.updated_at}


def withdraw(session: Session, connection: Connection) -> bool:
    """Forget a connection's credential for good; return whether there was one. A new check is needed."""
    had = connection.credential_id is not None
    session.execute(sa.delete(Credential).where(Credential.connection_id == connection.id))
    connection.credential_id = None
    connection.setup_version += 1
    return had


@dataclass(frozen=True)
class State:
    """Where a connection's credential stands: of which set-up, whether it was refused, who refreshes it until when."""

    setup_version: int
    refused: bool
    refresh_until: dt.datetime | None


def state_of(session: Session, connection_id: str) -> State:
    """Return where the credential of a connection stands."""
    row = session.execute(
        sa.select(Connection.setup_version, Credential.status, Credential.refresh_until)
        .outerjoin(Credential, Credential.connection_id == Connection.id).where(Connection.id == connection_id)).one()
    return State(row.setup_version, row.status in (None, "refused"), row.refresh_until)


def begin_refresh(session: Session, connection_id: str, setup_version: int, owner: str, until: dt.datetime,
                  now: dt.datetime) -> bool:
    """Take the refresh of a credential that still is the refused one; tell whether it is ours to make."""
    connection = session.get_one(Connection, connection_id, with_for_update={"key_share": True})
    if connection.setup_version != setup_version:
        return False
    free = sa.or_(Credential.refresh_until.is_(None), Credential.refresh_until <= now)
    taken = session.execute(
        sa.update(Credential).where(Credential.connection_id == connection_id, free)
        .values(refresh_owner=owner, refresh_until=until).returning(Credential.id))
    return taken.first() is not None


def end_refresh(session: Session, connection_id: str, owner: str, *, refused: bool) -> None:
    """Let go a refresh that failed; one that was refused is not tried again until a person has put a credential."""
    session.execute(
        sa.update(Credential).where(Credential.connection_id == connection_id, Credential.refresh_owner == owner)
        .values(refresh_owner=None, refresh_until=None, **({"status": "refused"} if refused else {})))


def refreshed(session: Session, keyring: Keyring, connection_id: str, owner: str, fresh: Refreshed,
              now: dt.datetime) -> bool:
    """Keep a fresh credential, unless a person has put another one meanwhile; tell whether it was kept.

    A check that was passed with the one before it still counts.
    """
    connection = session.get_one(Connection, connection_id, with_for_update={"key_share": True})
    credential = session.scalars(sa.select(Credential).where(Credential.connection_id == connection_id)).one_or_none()
    if credential is None or credential.refresh_owner != owner:
        return False
    secrets = secrets_of(session, keyring, connection_id) | dict(fresh.secrets)
    sealed = keyring.seal(json.dumps(secrets, ensure_ascii=False), _aad(connection_id))
    credential.version += 1
    credential.ciphertext, credential.key_id = sealed, sealed.split(".")[1]
    credential.status, credential.expires_at, credential.updated_at = "accepted", fresh.expires_at, now
    credential.refresh_owner = credential.refresh_until = None
    trail.record(session, "integrations.refresh_credential", by=Subject.service("integrations"), entity="connection",
                 record_id=connection_id, details={"version": credential.version})
    if connection.checked_version == connection.setup_version:
        connection.checked_version = connection.setup_version + 1
    connection.setup_version += 1
    return True


def secrets_of(session: Session, keyring: Keyring, connection_id: str) -> dict[str, str]:
    """Return the opened secrets of a connection, empty if it has none. For the engine alone."""
    found = session.execute(sa.select(Credential.ciphertext).where(Credential.connection_id == connection_id))
    sealed = found.scalar_one_or_none()
    secrets: dict[str, str] = json.loads(keyring.open(sealed, _aad(connection_id))) if sealed else {}
    return secrets


def _require_fields(known: tuple[str, ...], given: Mapping[str, str]) -> None:
    errors = [{"pointer": f"/secrets/{name}", "code": "unknown_field", "message": "The adapter knows no such secret."}
              for name in given if name not in known]
    errors += [{"pointer": f"/secrets/{name}", "code": "required", "message": "The adapter needs this secret."}
               for name in known if name not in given]
    if errors:
        raise Invalid("The credential does not fit the adapter", errors=errors)


def _aad(connection_id: str) -> str:
    return f"credential|ciphertext|{connection_id}"
