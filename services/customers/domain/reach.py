"""Ways to reach a person, each in the one form under which two spellings are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import phonenumbers

from contracts.errors import Invalid, Refusals


def normalised(asked: Mapping[str, Any], region: str) -> dict[str, Any]:
    """Return what was asked with its `phone` and `email`, where given, in their one form.

    Raises:
        Invalid: one of them, or each, cannot be one.
    """
    values, refusals = dict(asked), Refusals()
    if values.get("phone"):
        with refusals.noted():
            values["phone"] = phone(values["phone"], region)
    if values.get("email"):
        with refusals.noted():
            values["email"] = email(values["email"])
    refusals.settle()
    return values


def phone(text: str, region: str) -> str:
    """Return a phone number in E.164 form (`+8613800138000`).

    Args:
        text: as somebody typed it.
        region: ISO 3166 country whose rules read a number without a prefix.

    Raises:
        Invalid: it is not a possible number there.
    """
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        raise Invalid.of("/phone", "invalid", "Is not a phone number.") from error
    if not phonenumbers.is_possible_number(number):
        raise Invalid.of("/phone", "invalid", f"Is not a possible phone number in {region}.")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def email(text: str) -> str:
    """Return an address in lower case.

    The part before the @ is case-sensitive by RFC 5321 and by nobody's practice; two customers that differ only there
    are one person.

    Raises:
        Invalid: it has no name and domain.
    """
    name, at, domain = text.strip().rpartition("@")
    if not at or not name or "." not in domain or any(c.isspace() for c in text.strip()):
        raise Invalid.of("/email", "invalid", "Is not an email address.")
    return f"{name}@{domain}".lower()
