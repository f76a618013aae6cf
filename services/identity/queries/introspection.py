"""Whose credential is this? The question the gateway asks for every caller it does not have in its cache."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session as DbSession

from contracts.errors import Unauthenticated
from services.identity.domain import rights
from services.identity.models import ApiKey, Session, User
from services.identity.queries.rights import of_user


def claims_of(db_session: DbSession, credential_sha256: str, now: dt.datetime) -> dict[str, Any]:
    """Return what `contracts.credentials.Claims` says of the credential with this SHA-256.

    A session whose password must be changed first gives no rights: only the operations open to everybody are left.

    Raises:
        Unauthenticated: unknown, expired, revoked, or its user is disabled. All alike: a guesser learns nothing.
    """
    session = db_session.execute(
        select(Session, User).join(User, User.id == Session.user_id).where(Session.token_sha256 == credential_sha256)
    ).one_or_none()
    if session is not None:
        return _of_session(db_session, *session, now=now)
    key = db_session.execute(
        select(ApiKey, User).join(User, User.id == ApiKey.owner_id).where(ApiKey.key_sha256 == credential_sha256)
    ).one_or_none()
    if key is not None:
        return _of_key(db_session, *key, now=now)
    raise _refused()


def _of_session(db_session: DbSession, session: Session, user: User, *, now: dt.datetime) -> dict[str, Any]:
    ends = min(session.expires_at, session.idle_expires_at)
    if session.revoked_at is not None or ends <= now or user.status != "active":
        raise _refused()
    held = of_user(db_session, user.id)
    return {
        "id": user.id,
        "kind": "user",
        "name": user.name,
        "teams": held.teams,
        "tree": held.tree,
        "depths": {} if user.must_change_password else held.depths,
        "roles_version": held.version,
        "via": session.id,
        "expires_at": ends,
        "must_change_password": user.must_change_password,
    }


def _of_key(db_session: DbSession, key: ApiKey, owner: User, *, now: dt.datetime) -> dict[str, Any]:
    if key.revoked_at is not None or key.expires_at <= now or owner.status != "active":
        raise _refused()
    held = of_user(db_session, owner.id)
    return {
        "id": owner.id,
        "kind": "api_key",
        "name": key.name,
        "teams": held.teams,
        "tree": held.tree,
        "depths": held.depths if key.scopes is None else rights.intersection(held.depths, key.scopes),
        "roles_version": held.version,
        "via": key.id,
        "expires_at": key.expires_at,
        "must_change_password": False,
    }


def _refused() -> Unauthenticated:
    return Unauthenticated("The credential is not valid")
