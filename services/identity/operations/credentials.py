"""Making API keys, and ending keys and sessions."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy.orm import Session as DbSession

from chassis.context import Subject
from chassis.database import new_id, utcnow
from contracts import credentials as described
from contracts import identity as contract
from contracts.errors import Forbidden, Invalid
from services.identity.domain import rights
from services.identity.domain.credentials import new_api_key
from services.identity.models import ApiKey, Session, User
from services.identity.operations import access
from services.identity.queries import reach, rows
from services.identity.queries.rights import of_user


def create_api_key(session: DbSession, request: dict[str, Any], by: Subject, max_days: int) -> dict[str, Any]:
    """Make an API key that acts for its owner.

    Returns:
        The key's record with `key`, its secret, which is shown this once.

    Raises:
        Forbidden: an API key asks for another, or the owner may do more than `by`.
        NotFound: the owner is not within reach.
        Invalid: the scopes name what there is not or exceed what the owner may do, or the expiry is out of range.
    """
    if by.kind != "user":
        raise Forbidden("Only a person can make an API key")
    access.refuse_unknown(request["scopes"] or {}, "/scopes")
    within = reach.over_users(by, contract.API_KEY_CREATE) & (User.status == "active")
    owner = rows.one(session, User, request.get("owner_id", by.id), within)
    access.refuse_above(session, owner, by)
    _refuse_wide_scopes(request["scopes"], of_user(session, owner.id).depths)
    now = utcnow()
    credential = new_api_key()
    made = ApiKey(
        id=new_id(),
        owner_id=owner.id,
        name=request["name"],
        prefix=credential.prefix,
        key_sha256=credential.sha256,
        scopes=request["scopes"],
        expires_at=_expiry(request.get("expires_at"), now, max_days),
        created_at=now,
        created_by=by.id,
    )
    session.add(made)
    session.flush()
    return {name: getattr(made, name) for name in described.ApiKey().fields} | {"key": credential.shown}


def revoke_api_key(session: DbSession, id: str, by: Subject) -> ApiKey:
    """End an API key; repeating it changes nothing.

    Raises:
        NotFound: no such key, neither one's own nor within reach.
    """
    key = rows.one(session, ApiKey, id, reach.own_or(by, contract.API_KEY_DELETE, ApiKey.owner_id))
    if key.revoked_at is None:
        access.changed(session, reason="api_key", user_id=key.owner_id, by=by)
        key.revoked_at = utcnow()
    return key


def revoke_session(session: DbSession, id: str, by: Subject) -> Session:
    """End a session; repeating it changes nothing.

    Raises:
        NotFound: no such session, neither one's own nor within reach.
    """
    row = rows.one(session, Session, id, reach.own_or(by, contract.SESSION_DELETE, Session.user_id))
    if row.revoked_at is None:
        access.changed(session, reason="session", user_id=row.user_id, by=by)
        row.revoked_at = utcnow()
    return row


def _refuse_wide_scopes(scopes: rights.Rights | None, owners: rights.Rights) -> None:
    beyond = rights.excess(scopes or {}, owners)
    if beyond:
        raise Invalid.of("/scopes", "exceeds_owner", f"The owner may not do: {', '.join(beyond[:20])}.")


def _expiry(asked: dt.datetime | None, now: dt.datetime, max_days: int) -> dt.datetime:
    latest = now + dt.timedelta(days=max_days)
    if asked is None:
        return latest
    if not now < asked <= latest:
        raise Invalid.of("/expires_at", "out_of_range", f"Must lie within the next {max_days} days.")
    return asked
