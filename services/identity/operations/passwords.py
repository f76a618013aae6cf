"""Changing one's own password, and giving somebody a new one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import true
from sqlalchemy.orm import Session as DbSession

from chassis.context import Subject
from chassis.database import utcnow
from contracts import identity as contract
from contracts.errors import Conflict, Forbidden, Invalid
from services.identity.domain import passwords
from services.identity.models import User
from services.identity.operations import access, attempts
from services.identity.operations.sign_in import Gate
from services.identity.operations.users import end_sessions
from services.identity.queries import reach, rows, users

Keep = Callable[[DbSession, object], None]
"""Keeps an answer for a repeat with the same key, in the transaction of its effect: `Call.keep`."""


def _forget(_session: DbSession, _answer: object) -> None:
    """Keep nothing: nobody can ask again."""


def change_own(gate: Gate, request: dict[str, Any], by: Subject, keep: Keep = _forget) -> dict[str, Any]:
    """Set a new password and end all sessions but the one that asks; answer nothing.

    Raises:
        Forbidden: an API key asks; a person must.
        Invalid: the current password is wrong, or the new one is refused.
        TooManyRequests: too many wrong ones; a stolen session is no place to guess from.
        Conflict: the password was changed meanwhile.
        Unauthenticated: the person was disabled meanwhile.
    """
    if by.kind != "user":
        raise Forbidden("Only the person can change the password")
    with gate.db.write() as session:
        user = users.oneself(session, by)
        counter = attempts.user_key(gate.keyring, user.username)
        attempts.begin(session, {counter: gate.user_patience}, utcnow())
        kept = user.password_hash
    wrong = not gate.judge(kept, request["current_password"], {counter: gate.user_patience})
    refused = [*_WRONG] if wrong else []
    refused += _refusals(request, user.username, gate.settings.password_min_length)
    if refused:
        raise Invalid("The password was not changed", errors=refused)
    made = gate.hasher.hash(request["new_password"])
    with gate.db.write() as session:
        access.changed(session, reason="password", user_id=by.id, by=by)
        rows.locked(session, User, by.id, true())
        user = users.oneself(session, by)
        if user.password_hash != kept:
            raise Conflict("The password was changed meanwhile")
        put(user, made, must_change=False)
        end_sessions(session, user.id, utcnow(), but=by.via)
        attempts.succeeded(session, user=counter)
        keep(session, {})
    return {}


_WRONG = ({"pointer": "/current_password", "code": "wrong", "message": "This is not the current password."},)


def _refusals(request: dict[str, Any], username: str, shortest: int) -> list[dict[str, str]]:
    """Return every reason to refuse the new password."""
    new = request["new_password"]
    if passwords.normalised(new) == passwords.normalised(request["current_password"]):
        return [{"pointer": "/new_password", "code": "unchanged", "message": "The new password is the current one."}]
    return passwords.faults(new, username=username, shortest=shortest, pointer="/new_password")


def reset(gate: Gate, user_id: str, by: Subject, keep: Keep = _forget) -> dict[str, str]:
    """Give a user a random password, to be changed at the next sign-in; end all their sessions and any lock.

    Returns:
        `user_id` and `password`, which is shown this once.

    Raises:
        NotFound: no such user within reach.
        Forbidden: it is oneself, or somebody who may do more than `by`.
    """
    if user_id == by.id:
        raise Forbidden("Change your own password by giving the current one")
    password = passwords.random_password()
    made = gate.hasher.hash(password)
    with gate.db.write() as session:
        access.changed(session, reason="password", user_id=user_id, by=by)
        user = rows.locked(session, User, user_id, reach.over_users(by, contract.USER_CHANGE))
        access.refuse_above(session, user, by)
        put(user, made, must_change=True)
        end_sessions(session, user.id, utcnow())
        attempts.succeeded(session, user=attempts.user_key(gate.keyring, user.username))
        answer = {"user_id": user_id, "password": password}
        keep(session, answer)
    return answer


def put(user: User, made: str, *, must_change: bool) -> None:
    """Give a user the password with the hash `made`."""
    user.password_hash = made
    user.password_changed_at = utcnow()
    user.must_change_password = must_change
    user.version += 1
