"""Which passwords are accepted."""

from __future__ import annotations

import secrets
import unicodedata

LONGEST = 200
"""Characters; more would only make the hash slower to feed."""

FEWEST_GUESSES = 1e8
"""Below it zxcvbn calls a password somewhat guessable, or worse (its scores 0 to 2)."""

EXPECTED = ("crm", "hub", "crmhub")
"""Words that somebody would try here first."""

_JUDGED = 72


def normalised(password: str) -> str:
    """Return the form that is hashed: one spelling for what looks and types alike (NFKC, as RFC 8265 advises)."""
    return unicodedata.normalize("NFKC", password)


def faults(password: str, *, username: str, shortest: int, pointer: str) -> list[dict[str, str]]:
    """Return every reason to refuse a password: its length, the user name in it, or that it would be guessed early.

    No rule asks for capitals or digits; what is common or made by a pattern is refused instead, as NIST SP 800-63B
    advises (5.1.1.2). The lists of common passwords, names and words, and the estimate of how many guesses reach a
    password, are those of zxcvbn (Wheeler, USENIX Security 2016).

    Returns:
        Refusals at `pointer`; the code is too_short, too_long, holds_username or too_common. None if it may be taken.
    """
    text = normalised(password)
    found = []
    if len(text) < shortest:
        found.append({"pointer": pointer, "code": "too_short",
                      "message": f"The password needs at least {shortest} characters."})
    if len(text) > LONGEST:
        found.append({"pointer": pointer, "code": "too_long",
                      "message": f"The password may have at most {LONGEST} characters."})
    if username.casefold() in text.casefold():
        found.append({"pointer": pointer, "code": "holds_username", "message": "The password holds the user name."})
    if _guesses(text, username) < FEWEST_GUESSES:
        found.append({"pointer": pointer, "code": "too_common",
                      "message": "The password is common or repeats a pattern: it would be guessed early."})
    return found


def _guesses(text: str, username: str) -> float:
    """Estimate after how many guesses a password would be found; only its start counts, to bound the work (30 ms)."""
    # Its lists of words take 13 MB, which a process that is never given a password has no use for.
    from zxcvbn import zxcvbn

    return float(zxcvbn(text[:_JUDGED], user_inputs=[username, *EXPECTED])["guesses"]) if text else 0.0


def random_password() -> str:
    """Return a password of 120 random bits that can be read aloud: `kqfd-x3vm-…`, six groups of four."""
    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 signs; without l, o, 0 and 1
    signs = "".join(secrets.choice(alphabet) for _ in range(24))
    return "-".join(signs[at : at + 4] for at in range(0, 24, 4))
