"""Which passwords are accepted."""

from __future__ import annotations

import secrets
import unicodedata

from contracts.errors import Invalid

LONGEST = 200
"""Characters; more would only make the hash slower to feed."""


def normalised(password: str) -> str:
    """Return the form that is hashed: one spelling for what looks and types alike (NFKC, as RFC 8265 advises)."""
    return unicodedata.normalize("NFKC", password)


def check(password: str, *, username: str, shortest: int, pointer: str) -> None:
    """Refuse a password that is too short, too uniform, or that holds the user name.

    Raises:
        Invalid: `pointer` says which field; the code is too_short, too_long, too_uniform or holds_username.
    """
    text = normalised(password)
    if len(text) < shortest:
        raise Invalid.of(pointer, "too_short", f"The password needs at least {shortest} characters.")
    if len(text) > LONGEST:
        raise Invalid.of(pointer, "too_long", f"The password may have at most {LONGEST} characters.")
    if username.casefold() in text.casefold():
        raise Invalid.of(pointer, "holds_username", "The password holds the user name.")
    if len(set(text)) < 4:
        raise Invalid.of(pointer, "too_uniform", "The password repeats the same few characters.")


def random_password() -> str:
    """Return a password of 120 random bits that can be read aloud: `kqfd-x3vm-…`, six groups of four."""
    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 signs; without l, o, 0 and 1
    signs = "".join(secrets.choice(alphabet) for _ in range(24))
    return "-".join(signs[at : at + 4] for at in range(0, 24, 4))
