"""Counting attempts to sign in, so that guessing slows down.

An attempt counts as failed from its first moment and is taken back when it succeeds: a hundred guesses sent at once
are a hundred failures before the first of them is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from chassis.crypto import Keyring
from chassis.inbox import insert_if_absent
from contracts.errors import TooManyRequests
from services.identity.domain.lockout import FORGET_AFTER, Patience, counted
from services.identity.models import SignInGuard

GUARD_KEYS = "sign_in_guard.key"
"""The index key under which names and sources are hashed: a name typed wrongly may be a password."""


def user_key(keyring: Keyring, username: str) -> str:
    """Return the counter's key of a user name, whether anybody has it or not."""
    return keyring.blind(GUARD_KEYS, f"user|{username}")


def source_key(keyring: Keyring, source: str) -> str:
    """Return the counter's key of an address."""
    return keyring.blind(GUARD_KEYS, f"source|{source}")


def begin(session: Session, counters: Mapping[str, Patience], now: datetime) -> None:
    """Count one more attempt on each counter, or refuse it while one of them is locked.

    Raises:
        TooManyRequests: locked; nothing is counted, so that knocking does not prolong the wait.
    """
    # In one order, so that two attempts cannot wait for each other.
    guards = [_locked_guard(session, key, now) for key in sorted(counters)]
    wait_s = max(((g.locked_until - now).total_seconds() for g in guards if g.locked_until), default=0.0)
    if wait_s > 0:
        raise TooManyRequests("Too many failed attempts to sign in", retry_after_s=max(1.0, round(wait_s, 1)))
    for guard in guards:
        guard.failures = counted(guard.failures, guard.last_at, now)
        guard.last_at = now
        lock_s = counters[guard.key].wait_s(guard.failures)
        guard.locked_until = now + timedelta(seconds=lock_s) if lock_s else None


def succeeded(session: Session, *, user: str, source: str | None = None) -> None:
    """Forget a user name's failures, and take this attempt back from the source's."""
    keys = [key for key in (user, source) if key is not None]
    query = select(SignInGuard).where(SignInGuard.key.in_(keys)).order_by(SignInGuard.key).with_for_update()
    for guard in session.scalars(query.execution_options(populate_existing=True)):
        guard.failures = max(guard.failures - 1, 0) if guard.key == source else 0
        guard.locked_until = None


def unjudged(session: Session, counters: Mapping[str, Patience]) -> None:
    """Take back an attempt that could not be judged: a busy hour must not lock out people who know their password."""
    query = select(SignInGuard).where(SignInGuard.key.in_(counters)).order_by(SignInGuard.key).with_for_update()
    for guard in session.scalars(query.execution_options(populate_existing=True)):
        guard.failures = max(guard.failures - 1, 0)
        if not counters[guard.key].wait_s(guard.failures):
            guard.locked_until = None


def forget_rested(session: Session, now: datetime) -> None:
    """Delete counters that would start again anyway."""
    session.execute(delete(SignInGuard).where(SignInGuard.last_at < now - FORGET_AFTER))


def _locked_guard(session: Session, key: str, now: datetime) -> SignInGuard:
    table = SignInGuard.metadata.tables[SignInGuard.__tablename__]
    insert_if_absent(session, table, key=key, failures=0, last_at=now)
    query = select(SignInGuard).where(SignInGuard.key == key).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one()
