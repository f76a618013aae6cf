"""API keys, sessions and sign-ins: always one's own, and others' as far as the subject's rights reach."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session as DbSession

from chassis.context import Subject
from chassis.database import utcnow
from chassis.paging import Page
from contracts import identity as contract
from contracts.schema import Codec
from services.identity.models import ApiKey, LoginEvent, Session
from services.identity.queries import reach, rows


def get_api_key(db_session: DbSession, id: str, subject: Subject) -> ApiKey:
    """Return an API key, without its secret, which nobody has any more.

    Raises:
        NotFound: no such key within reach.
    """
    return rows.one(db_session, ApiKey, id, reach.own_or(subject, contract.API_KEY_READ, ApiKey.owner_id))


def api_keys(db_session: DbSession, request: dict[str, Any], subject: Subject, codec: Codec) -> Page:
    """Return a page of API keys, ended ones too."""
    query = select(ApiKey).where(reach.own_or(subject, contract.API_KEY_READ, ApiKey.owner_id))
    if "owner_id" in request:
        query = query.where(ApiKey.owner_id == request["owner_id"])
    return rows.page(db_session, query, ApiKey, request, subject, codec)


def sessions(db_session: DbSession, request: dict[str, Any], subject: Subject, codec: Codec) -> Page:
    """Return a page of open sessions."""
    now = utcnow()
    query = select(Session).where(
        reach.own_or(subject, contract.SESSION_READ, Session.user_id),
        Session.revoked_at.is_(None),
        Session.expires_at > now,
        Session.idle_expires_at > now,
    )
    if "user_id" in request:
        query = query.where(Session.user_id == request["user_id"])
    return rows.page(db_session, query, Session, request, subject, codec)


def login_events(db_session: DbSession, request: dict[str, Any], subject: Subject, codec: Codec) -> Page:
    """Return a page of attempts to sign in; those under a name that nobody has are for `all` alone."""
    query = select(LoginEvent).where(reach.own_or(subject, contract.SESSION_READ, LoginEvent.user_id))
    if "user_id" in request:
        query = query.where(LoginEvent.user_id == request["user_id"])
    if "outcome" in request:
        query = query.where(LoginEvent.outcome == request["outcome"])
    return rows.page(db_session, query, LoginEvent, request, subject, codec)
