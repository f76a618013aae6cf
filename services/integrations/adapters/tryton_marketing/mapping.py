"""A person's e-mail address and consent ↔ a row of a mailing list. Pure functions: no call, no clock."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hub_adapter.consent import granted_at
from services.integrations.adapters.wires.tryton import Row, read_datetime, written_datetime

ROW_FIELDS = ("email", "active", "write_uid", "write_date", "last_modified_at")
CHANNEL = "email"
FIELDS: Mapping[str, Any] = {
    "type": "object",
    "required": ["email"],
    "properties": {"email": {"type": ["string", "null"]}},
}
"""What of our records a mailing list takes, beside their consent."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the hub says of a person: the address, None if there is none, and when consent was granted."""

    email: str | None
    granted_at: datetime


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A row of the list.

    Args:
        active: whether mail goes there.
        changed_by: the user who changed it last, of `res.user`; None while nobody has since it was made.
    """

    id: int
    email: str
    active: bool
    changed_at: datetime
    changed_by: int | None

    @property
    def version(self) -> str:
        return self.changed_at.isoformat()

    def is_refused(self, hub_user: int) -> bool:
        """Whether a person there has taken it off the list.

        One that the hub itself took off is no refusal: its address was changed, say. Nor is one that was never active:
        somebody asked for it on a web page and has not confirmed it.
        """
        return not self.active and self.changed_by not in (None, hub_user)


def address(text: Any) -> str | None:
    """An address in the form in which the ERP keeps it (trytond.tools.email_: normalised, in lower case)."""
    return unicodedata.normalize("NFC", str(text or "").strip()).lower() or None


def wanted(body: Mapping[str, Any]) -> Wanted:
    """The part of a contact or customer that concerns the list.

    Raises:
        Invalid: the person has not granted this channel.
    """
    return Wanted(email=address(body.get("email")), granted_at=granted_at(body, CHANNEL))


def subscription_of(row: Row) -> Subscription:
    return Subscription(
        id=row["id"],
        email=address(row["email"]) or "",
        active=bool(row["active"]),
        changed_at=read_datetime(row["last_modified_at"]),
        # Scar: `write_uid` may be set on a row that was only made; `write_date` is null until the first change.
        changed_by=row["write_uid"] if row["write_date"] else None,
    )


def may_return(subscription: Subscription, granted_at: datetime, hub_user: int) -> bool:
    """Whether consent of this time brings a row back that is off the list. A refusal wins, at the same moment too."""
    return not subscription.is_refused(hub_user) or granted_at > subscription.changed_at


def expected(body: Mapping[str, Any]) -> Row:
    """A person as `body_of` tells the row once it stands there; nothing of one who has no address.

    Raises:
        Invalid: as `wanted`.
    """
    email = wanted(body).email
    return {"email": email, "consent": {CHANNEL: {"state": "granted"}}} if email else {}


def body_of(subscription: Subscription, hub_user: int | None) -> Row:
    """A row in canonical form. What nobody there said is left out of `consent`.

    Args:
        hub_user: our own user there; only of an active row it may be None.
    """
    state = "granted" if subscription.active else "refused"
    silent = not subscription.active and (hub_user is None or not subscription.is_refused(hub_user))
    said = {CHANNEL: {"state": state, "at": written_datetime(subscription.changed_at)}}
    return {"email": subscription.email, "consent": {} if silent else said}
