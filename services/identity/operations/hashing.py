"""Password hashing with argon2id: slow on purpose, so few at once and never inside a transaction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from contracts.errors import Unavailable
from services.identity.domain.passwords import normalised

PATIENCE_S = 6.0
"""Seconds that a call waits its turn to hash; less than the caller's time-out, so that it hears a reason."""


def _here(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


class Hasher:
    """Hashes and verifies passwords, a few at a time.

    Args:
        memory_mib: memory of one hash. Three passes over it, one lane (RFC 9106, above its low-memory advice).
        concurrency: hashes at once.
        run: calls a function in a thread outside the event loop; argon2 lets go of the interpreter's lock meanwhile.
    """

    def __init__(self, memory_mib: int, concurrency: int, run: Callable[..., Any] = _here) -> None:
        self._argon2 = PasswordHasher(time_cost=3, memory_cost=memory_mib * 1024, parallelism=1)
        self._turns = threading.BoundedSemaphore(concurrency)
        self._run = run
        self._nobody = self._argon2.hash("the password of nobody")

    def hash(self, password: str) -> str:
        """Return the hash to keep.

        Raises:
            Unavailable: too many are waiting.
        """
        return str(self._in_turn(self._argon2.hash, normalised(password)))

    def verify(self, kept: str | None, password: str) -> bool:
        """Tell whether the password is the one; without a hash, take as long as with one and say no.

        Raises:
            Unavailable: too many are waiting.
        """
        try:
            self._in_turn(self._argon2.verify, kept or self._nobody, normalised(password))
        except (VerificationError, InvalidHashError):
            return False
        return kept is not None

    def outdated(self, kept: str) -> bool:
        """Tell whether a hash was made with other costs than today's."""
        return self._argon2.check_needs_rehash(kept)

    def _in_turn(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if not self._turns.acquire(timeout=PATIENCE_S):
            raise Unavailable("Too many people are signing in at once", retry_after_s=2)
        try:
            return self._run(function, *arguments)
        finally:
            self._turns.release()
