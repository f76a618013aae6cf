"""Who is asking: a bearer token or API key becomes a subject, asked of the identity service and held for half a second.

Only the SHA-256 of a credential leaves this process. The answer is dropped as soon as anybody's access changes, and
whenever the word of such a change may have been missed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from eventlet.event import Event

from chassis.context import Subject
from contracts import identity
from contracts.errors import HubError, Unauthenticated
from gateway.calls import GATEWAY, Calls
from gateway.errors import PasswordChangeRequired

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/\-]{16,512}=*)", re.IGNORECASE)


@dataclass(frozen=True)
class Introspected:
    """Identity's word on a credential.

    Attributes:
        subject: whose it is.
        lives_s: seconds until the credential ends.
        must_change_password: whether it is good for nothing but a new password and signing out.
    """

    subject: Subject
    lives_s: float
    must_change_password: bool = False


Introspect = Callable[[Calls, str, str], Introspected]
"""Asks identity whose credential a hash is of: (caller, hash, request id)."""


@dataclass(frozen=True)
class _Held:
    """An answer of identity, good or bad, and when it stops counting."""

    word: Introspected | None
    until: float


class Authenticator:
    """Turns `Authorization` headers into subjects.

    Args:
        introspect: asks identity.
        held_s: how long an answer is reused.
        most: answers held at once; the longest unused goes first.
        now: monotonic seconds.
    """

    def __init__(self, introspect: Introspect, *, held_s: float, most: int,
                 now: Callable[[], float] = time.monotonic) -> None:
        self._introspect = introspect
        self._held_s = held_s
        self._most = most
        self._now = now
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._asking: dict[str, Event] = {}
        self._generation = 0

    def subject(self, header: str | None, caller: Calls, request_id: str, *,
                before_password_change: bool = False) -> Subject:
        """Return the subject that an `Authorization` header stands for.

        Args:
            before_password_change: whether one whose password must be changed first is let through.

        Raises:
            Unauthenticated: there is none, or it stands for nobody.
            PasswordChangeRequired: the password must be changed first.
            Unavailable, DeadlineExceeded: identity could not be asked.
        """
        word = self._word(credential_hash(header), caller, request_id)
        if word.must_change_password and not before_password_change:
            raise PasswordChangeRequired()
        return word.subject

    def _word(self, digest: str, caller: Calls, request_id: str) -> Introspected:
        held = self._held.get(digest)
        if held is not None and self._now() < held.until:
            self._held.move_to_end(digest)
            return _known(held)
        asking = self._asking.get(digest)
        if asking is not None:
            return _known(asking.wait())
        return self._ask(digest, caller, request_id)

    def flush(self) -> None:
        """Forget every answer, those on their way included: access has changed, or may have."""
        self._generation += 1
        self._held.clear()
        self._asking.clear()

    def _ask(self, digest: str, caller: Calls, request_id: str) -> Introspected:
        """Ask identity once for all who want to know now."""
        asking = self._asking[digest] = Event()
        generation = self._generation
        # Counted from before the question: what identity saw cannot be older than that.
        until = self._now() + self._held_s
        try:
            try:
                word = self._introspect(caller, digest, request_id)
                # Not held while a password is to be changed: the next request may come right after the change.
                held = _Held(word, 0.0 if word.must_change_password else min(until, self._now() + word.lives_s))
            except Unauthenticated:
                held = _Held(None, until)
        except HubError as error:
            asking.send_exception(error)
            raise
        except BaseException:
            asking.send_exception(Unauthenticated(presented=True))
            raise
        finally:
            if self._asking.get(digest) is asking:
                del self._asking[digest]
        if generation == self._generation:
            self._held[digest] = held
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        asking.send(held)
        return _known(held)


def introspect(caller: Calls, digest: str, request_id: str) -> Introspected:
    """Return who is behind a credential, and until when.

    Raises:
        Unauthenticated: it is nobody's.
    """
    claims = caller.call(identity.INTROSPECT, {"credential_sha256": digest}, subject=GATEWAY,
                         request_id=request_id).value
    subject = Subject(
        id=claims["id"], kind=claims["kind"], name=claims["name"], teams=tuple(claims["teams"]),
        tree=tuple(claims["tree"]), depths=claims["depths"], roles_version=claims["roles_version"], via=claims["via"],
    )
    lives_s = (claims["expires_at"] - dt.datetime.now(dt.UTC)).total_seconds()
    return Introspected(subject, lives_s, claims["must_change_password"])


def credential_hash(header: str | None) -> str:
    """Return the SHA-256 (hex) of the credential in an `Authorization: Bearer` header.

    Raises:
        Unauthenticated: there is none.
    """
    if not header or not header.lower().startswith("bearer"):
        raise Unauthenticated()
    match = _BEARER.fullmatch(header.strip())
    if not match:
        raise Unauthenticated("The bearer token is not well formed", presented=True)
    return hashlib.sha256(match[1].encode()).hexdigest()


def _known(held: _Held) -> Introspected:
    if held.word is None:
        raise Unauthenticated("The session or API key is not valid, or no longer", presented=True)
    return held.word
