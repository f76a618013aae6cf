"""Signing in: three steps, because a hash takes as long as a hundred transactions."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session as DbSession

from chassis import telemetry
from chassis.audit import trail
from chassis.context import Subject
from chassis.crypto import Keyring
from chassis.database import Database, new_id, utcnow
from contracts import identity as contract
from contracts.errors import Unauthenticated, Unavailable
from services.identity.domain.credentials import new_session_token
from services.identity.domain.lockout import Patience
from services.identity.models import LoginEvent, Session, User
from services.identity.operations import attempts
from services.identity.operations.hashing import Hasher
from services.identity.queries import users
from services.identity.settings import IdentitySettings

log = telemetry.logger(__name__)


@dataclass(frozen=True)
class Gate:
    """What signing in needs beside the request."""

    db: Database
    keyring: Keyring
    hasher: Hasher
    settings: IdentitySettings

    @property
    def user_patience(self) -> Patience:
        """How failures of one user name slow down further attempts."""
        return Patience(self.settings.user_free_failures, self.settings.longest_lock_s)

    @property
    def source_patience(self) -> Patience:
        """How failures from one address slow down further attempts."""
        return Patience(self.settings.source_free_failures, self.settings.longest_lock_s)

    def judge(self, kept: str | None, password: str, counters: Mapping[str, Patience]) -> bool:
        """Tell whether the password is the one; an attempt that cannot be judged is taken back from its counters.

        Raises:
            Unavailable: too many are waiting to be judged.
        """
        try:
            return self.hasher.verify(kept, password)
        except Unavailable:
            with self.db.write() as session:
                attempts.unjudged(session, counters)
            raise


def sign_in(gate: Gate, request: dict[str, Any]) -> dict[str, Any]:
    """Open a session for a user name and password.

    An unknown name, a disabled user and a wrong password get one answer, after the same work.

    Returns:
        `token` (shown this once), `session`, `must_change_password`.

    Raises:
        Unauthenticated: user name or password is wrong.
        TooManyRequests: too many failures of this name or from this source; `retry_after_s` says how long.
        Unavailable: too many people are signing in at once.
    """
    username = unicodedata.normalize("NFKC", request["username"]).strip().lower()
    by_user = attempts.user_key(gate.keyring, username)
    by_source = attempts.source_key(gate.keyring, request["source"])
    counters = {by_user: gate.user_patience, by_source: gate.source_patience}
    with gate.db.write() as session:
        attempts.begin(session, counters, utcnow())
        user = users.named(session, username)
        kept = user.password_hash if user is not None and user.status == "active" else None
    matches = gate.judge(kept, request["password"], counters)
    renewed = gate.hasher.hash(request["password"]) if matches and kept and gate.hasher.outdated(kept) else None
    with gate.db.write() as session:
        signed_in = _enter(session, gate, user.id, kept, renewed, request) if user is not None and matches else None
        if signed_in is not None:
            attempts.succeeded(session, user=by_user, source=by_source)
        else:
            _refuse(session, user.id if user is not None else None, _refusal(user), request)
    if signed_in is None:
        log.info("sign_in_refused", user_id=user.id if user is not None else None, outcome=_refusal(user))
        raise Unauthenticated("User name or password is wrong")
    return signed_in


def _enter(
    session: DbSession, gate: Gate, user_id: str, kept: str | None, renewed: str | None, request: dict[str, Any]
) -> dict[str, Any] | None:
    """Open the session, unless the user was disabled or the password changed while it was being verified."""
    user = session.scalars(select(User).where(User.id == user_id).with_for_update()).one()
    if user.status != "active" or user.password_hash != kept:
        return None
    now = utcnow()
    credential = new_session_token()
    opened = Session(
        id=new_id(),
        user_id=user.id,
        token_sha256=credential.sha256,
        source=request["source"],
        user_agent=request["user_agent"][:200],
        created_at=now,
        last_seen_at=now,
        idle_expires_at=now + dt.timedelta(hours=gate.settings.session_idle_h),
        expires_at=now + dt.timedelta(hours=gate.settings.session_max_h),
    )
    session.add(opened)
    user.last_sign_in_at = now
    if renewed is not None:
        user.password_hash = renewed
    _note(session, user.id, "signed_in", request)
    by = Subject(user.id, "user", user.name, via=opened.id)
    trail.record(session, contract.SIGN_IN.routing_key, by=by, entity="session", record_id=opened.id,
                 details={"source": opened.source, "user_agent": opened.user_agent})
    return {"token": credential.shown, "session": opened, "must_change_password": user.must_change_password}


def _refusal(user: User | None) -> str:
    if user is None:
        return "unknown_user"
    return "wrong_password" if user.status == "active" else "disabled"


def _refuse(session: DbSession, user_id: str | None, outcome: str, request: dict[str, Any]) -> None:
    """Keep a failed attempt. The name is not kept: one that nobody has may be a password."""
    _note(session, user_id, outcome, request)
    trail.record(session, contract.SIGN_IN.routing_key, by=None, entity="user", record_id=user_id or "",
                 outcome="denied", details={"reason": outcome, "source": request["source"],
                                            "user_agent": request["user_agent"][:200]})


def _note(session: DbSession, user_id: str | None, outcome: str, request: dict[str, Any]) -> None:
    session.add(
        LoginEvent(
            id=new_id(),
            user_id=user_id,
            outcome=outcome,
            source=request["source"],
            user_agent=request["user_agent"][:200],
            at=utcnow(),
        )
    )
