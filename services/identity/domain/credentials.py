"""Bearer credentials: how they are made, and the one thing that is kept of them."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from contracts.credentials import API_KEY_PREFIX, SESSION_PREFIX


@dataclass(frozen=True)
class Credential:
    """A new credential: `shown` goes to its holder once, `sha256` into the table, `prefix` onto the screen.

    The secret part has 256 random bits: a plain SHA-256 of it is as good as a slow hash, and is found by one index.
    """

    shown: str = field(repr=False)
    sha256: str
    prefix: str


def new_api_key() -> Credential:
    """Return `hub_live_<id>_<secret>`; the id is public, so that a leaked key can be named and revoked."""
    prefix = f"{API_KEY_PREFIX}{secrets.token_hex(6)}"
    return _credential(prefix, f"{prefix}_{secrets.token_urlsafe(32)}")


def new_session_token() -> Credential:
    """Return `hub_session_<secret>`."""
    return _credential(SESSION_PREFIX, f"{SESSION_PREFIX}{secrets.token_urlsafe(32)}")


def sha256_of(credential: str) -> str:
    """Return the SHA-256 of a credential, in hexadecimal."""
    return hashlib.sha256(credential.encode()).hexdigest()


def _credential(prefix: str, shown: str) -> Credential:
    return Credential(shown=shown, sha256=sha256_of(shown), prefix=prefix)
