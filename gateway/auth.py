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

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/\-]{16,512}=*)", re.IGNORECASE)

Introspect = Callable[[Calls, str, str], "tuple[Subject, float]"]
"""Asks identity whose credential a hash is of, and for how many seconds more: (caller, hash, request id)."""


@dataclass(frozen=True)
class _Held:
    """An answer of identity, good or bad, and when it stops counting."""

    subject: Subject | None
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

    def subject(self, header: str | None, caller: Calls, request_id: str) -> Subject:
        """Return the subject that an `Authorization` header stands for.

        Raises:
            Unauthenticated: there is none, or it stands for nobody.
            Unavailable, DeadlineExceeded: identity could not be asked.
        """
        digest = credential_hash(header)
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

    def _ask(self, digest: str, caller: Calls, request_id: str) -> Subject:
        """Ask identity once for all who want to know now."""
        asking = self._asking[digest] = Event()
        generation = self._generation
        # Counted from before the question: what identity saw cannot be older than that.
        until = self._now() + self._held_s
        try:
            try:
                subject, lives_s = self._introspect(caller, digest, request_id)
                held = _Held(subject, min(until, self._now() + lives_s))
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


def introspect(caller: Calls, digest: str, request_id: str) -> tuple[Subject, float]:
    """Return the subject behind a credential and the seconds until the credential ends.

    Raises:
        Unauthenticated: it is nobody's.
    """
    claims = caller.call(identity.INTROSPECT, {"credential_sha256": digest}, subject=GATEWAY,
                         request_id=request_id).value
    subject = Subject(
        id=claims["id"], kind=claims["kind"], name=claims["name"], teams=tuple(claims["teams"]),
        tree=tuple(claims["tree"]), depths=claims["depths"], roles_version=claims["roles_version"], via=claims["via"],
    )
    return subject, (claims["expires_at"] - dt.datetime.now(dt.UTC)).total_seconds()


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


def _known(held: _Held) -> Subject:
    if held.subject is None:
        raise Unauthenticated("The session or API key is not valid, or no longer", presented=True)
    return held.subject
