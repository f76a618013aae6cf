"""Go-live matching: which records of a target are ours already, told by what both sides know them by.

Two records are compared by keys alone, so a key can be kept as a keyed hash and joined in a database; nothing is ever
compared with everything. A near name is a key too: two names that differ by one letter have a text in common if from
each some letter is left out (Mor and Fraenkel, "A hash code method for detecting and correcting spelling errors",
1982).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import phonenumbers

Kind = Literal["code", "tax_number", "phone", "email", "name", "near_name"]
Verdict = Literal["certain", "doubtful", "new"]
ENTITIES = ("customer", "contact")
"""Those whose records are known by more than our id: people and companies."""
KnownBy = Mapping[str, Sequence[str]]
"""What a record is known by, in clear, as somebody wrote it: `code`, `tax_number`, `phone`, `email`, `name`."""

STRONG: frozenset[str] = frozenset({"code", "tax_number", "phone", "email"})
"""Kinds of keys of which one is enough to take two records for the same."""
TELLING_APART: frozenset[str] = frozenset({"tax_number", "phone", "email"})
"""Kinds that speak against a pair if both have some and none in common. A code is nobody's but its own side's."""
NEAR_LEAST, NEAR_MOST = 5, 40
"""Letters of a name that is compared for nearness: below, each is near to many; above, it costs a key for each."""
SHOWN_MOST = 10
"""Candidates that a person is shown for one record."""


@dataclass(frozen=True)
class Key:
    """One thing a record is known by, normalised: equal keys, perhaps one record."""

    kind: Kind
    value: str


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A record of the target that shares a key with one of ours.

    Attributes:
        shared: kinds of the keys that both have.
        crowded: strong kinds of a key in it that a third record has as well, of either side.
        against: kinds that tell the two apart.
        active: whether it is in use there.
    """

    external_id: str
    shared: frozenset[str]
    crowded: frozenset[str] = frozenset()
    against: frozenset[str] = frozenset()
    active: bool = True

    @property
    def strong(self) -> bool:
        """Whether one shared key would be enough."""
        return bool(self.shared & STRONG)

    @property
    def clear(self) -> bool:
        """Whether nothing speaks against it but another candidate."""
        return self.strong and self.active and not self.crowded and not self.against


@dataclass(frozen=True)
class Judgement:
    """What a record of ours is at the target; `candidates` begin with the likeliest."""

    verdict: Verdict
    candidates: tuple[Candidate, ...] = ()


def known_by(body: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what a canonical record is known by, ours or as an adapter tells it."""
    invoice = body.get("invoice") or {}
    told = {"code": body.get("id"), "tax_number": invoice.get("tax_number"), "phone": body.get("phone"),
            "email": body.get("email"), "name": body.get("name")}
    return {kind: [str(value)] for kind, value in told.items() if value}


def keys(told: KnownBy, region: str) -> frozenset[Key]:
    """Return the keys of a record. What cannot be normalised is no key.

    Args:
        told: what it is known by; kinds that are not compared are left out.
        region: ISO 3166 country whose rules read a phone number without a prefix.
    """
    found = {Key(kind, value) for kind, normalise in _NORMALISED.items()
             for given in told.get(kind, ()) if given and (value := normalise(given, region))}
    near = {Key("near_name", variant) for key in found if key.kind == "name" for variant in _near(key.value)}
    return frozenset(found | near)


def judge(candidates: Iterable[Candidate]) -> Judgement:
    """Return what a record of ours is, by those of the target that share a key with it.

    Certain is only what shares a strong key with one record that shares it with no other, and that nothing strong
    tells apart. A person decides whatever is less; what shares nothing is new.
    """
    by_likelihood = tuple(sorted(candidates, key=_unlikelihood))
    if not by_likelihood:
        return Judgement("new")
    strong = [one for one in by_likelihood if one.strong]
    certain = len(strong) == 1 and strong[0].clear
    return Judgement("certain" if certain else "doubtful", by_likelihood[:SHOWN_MOST])


def _unlikelihood(one: Candidate) -> tuple[Any, ...]:
    return (not one.active, -len(one.shared & STRONG), len(one.against), "name" not in one.shared, len(one.external_id),
            one.external_id)


# --- one spelling of each -----------------------------------------------------------------------------------------


def folded(text: str) -> str:
    """Return the letters and digits of a text in one case and width: `Ｓöhne & Co. ` and `söhne co` are one name.

    What a company is (`有限公司`, `GmbH`) stays: `A 有限公司` and `A 股份有限公司` may be two that are billed apart.
    """
    wide = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(c for c in wide if unicodedata.category(c)[0] in "LNM")


def _code(text: str, region: str) -> str:
    return text.strip()


def _number(text: str, region: str) -> str:
    return folded(text)


def _phone(text: str, region: str) -> str:
    try:
        number = phonenumbers.parse(unicodedata.normalize("NFKC", text), region)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_possible_number(number):
        return ""
    # An extension is another desk of the same number.
    number.extension = None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _email(text: str, region: str) -> str:
    name, at, domain = unicodedata.normalize("NFKC", text).strip().rpartition("@")
    return f"{name}@{domain}".lower() if at and name and "." in domain else ""


def _name(text: str, region: str) -> str:
    return folded(text)


_NORMALISED: Mapping[Kind, Callable[[str, str], str]] = {
    "code": _code, "tax_number": _number, "phone": _phone, "email": _email, "name": _name}


def _near(name: str) -> set[str]:
    """Return a name and what is left of it without one of its letters, if it is long enough to be misspelt."""
    if not NEAR_LEAST <= len(name) <= NEAR_MOST:
        return set()
    return {name} | {name[:n] + name[n + 1:] for n in range(len(name))}
