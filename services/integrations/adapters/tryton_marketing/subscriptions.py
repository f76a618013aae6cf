"""Subscribing, moving and unsubscribing people. What a person said there is never overwritten by an older word of ours.

A call tells the row's version only where the row stands as the hub left it. The engine takes that version for its own
echo: told of a row that a person took off the list meanwhile, it would drop that refusal at the next poll.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub_adapter.failure import Invalid, NotFound
from hub_adapter.port import Remote, Write, Written
from services.integrations.adapters.tryton_marketing import mapping
from services.integrations.adapters.tryton_marketing.mapping import Subscription, Wanted
from services.integrations.adapters.tryton_marketing.roll import Roll


def get(roll: Roll, external_id: str) -> Remote | None:
    row = roll.by_id(external_id)
    return remote(roll, row) if row else None


def find(roll: Roll, keys: Mapping[str, str]) -> list[Remote]:
    """Rows by "email". The list has no room for an id of ours."""
    if unknown := keys.keys() - {"email"}:
        raise Invalid(f"a subscription cannot be found by {sorted(unknown)}")
    address = mapping.address(keys["email"])
    row = roll.by_email(address) if address else None
    return [remote(roll, row)] if row else []


def remote(roll: Roll, row: Subscription) -> Remote:
    return Remote(external_id=str(row.id), body=roll.body(row), version=row.version, active=row.active)


def write(roll: Roll, cmd: Write) -> Written:
    """Subscribe the person's address, unless it was refused there after consent was granted.

    Raises:
        NotFound: the bound row is gone.
        Invalid: there is no consent, no address to begin with, or the ERP refuses the address.
    """
    wanted = mapping.wanted(cmd.body)
    bound = roll.by_id(cmd.external_id) if cmd.external_id else None
    if cmd.external_id and bound is None:
        raise NotFound(f"subscription {cmd.external_id} is gone from the ERP")
    if wanted.email is None and bound is None:
        raise Invalid("a person without an e-mail address cannot be subscribed", field="/email")
    if roll.dry_run:
        return _rehearsed(roll, wanted, bound)
    if bound is None:
        return _subscribed(roll, wanted, wanted.email or "")
    if wanted.email is None:
        return _off(roll, bound, "the person has no e-mail address any more")
    if bound.email == wanted.email:
        return _subscribed(roll, wanted, wanted.email, bound)
    if not bound.active and not mapping.may_return(bound, wanted.granted_at, roll.hub_user):
        return _refused(bound, "the person refused under another address, after consent was granted")
    # The old one first: were we cut off and consent taken back, nobody would know of the new one to switch it off.
    if bound.active:
        roll.switch(bound, False)
    return _subscribed(roll, wanted, wanted.email)


def retire(roll: Roll, external_id: str) -> Written:
    """Unsubscribe; twice is no error. The row stays: it is what remembers that the person was on the list."""
    row = roll.by_id(external_id)
    if row is None:
        return Written(external_id=external_id, details={"state": "gone"})
    if roll.dry_run:
        return Written(external_id=external_id, details={"would": "unsubscribe" if row.active else "nothing"})
    return _off(roll, row)


def _subscribed(roll: Roll, wanted: Wanted, address: str, row: Subscription | None = None) -> Written:
    """Make this address stand on the list; `row` is the bound one, if it has this address."""
    adopted = False
    if row is None:
        row = roll.by_email(address)
        adopted = row is not None
    if row is None:
        row, adopted = _made(roll, address)
    if not row.active:
        if not mapping.may_return(row, wanted.granted_at, roll.hub_user):
            return _refused(row, "the person refused there, after consent was granted", adopted=adopted)
        roll.switch(row, True)
        row = _again(roll, row)
    if not row.active:
        return _refused(row, "the person unsubscribed while the subscription was made", adopted=adopted)
    return Written(
        external_id=str(row.id),
        remote_version=row.version,
        adopted=adopted,
        body=roll.body(row),
        details={"state": "subscribed"},
    )


def _made(roll: Roll, address: str) -> tuple[Subscription, bool]:
    """A new row, and whether it was there after all: another client may have been faster."""
    try:
        row, adopted = roll.by_id(str(roll.subscribe(address))), False
    except Invalid:
        # The refusal's words are translated, so ask instead of reading them: is the address on the list by now?
        row, adopted = roll.by_email(address), True
        if row is None:
            raise
    if row is None:
        raise NotFound("the subscription vanished while it was made")
    return row, adopted


def _off(roll: Roll, row: Subscription, why: str | None = None) -> Written:
    if row.active:
        roll.switch(row, False)
        row = _again(roll, row)
    ours = not row.active and not row.is_refused(roll.hub_user)
    return Written(
        external_id=str(row.id),
        remote_version=row.version if ours else None,
        body=roll.body(row) if ours else None,
        details={"state": "unsubscribed"} | ({"warnings": [why]} if why else {}),
    )


def _again(roll: Roll, row: Subscription) -> Subscription:
    now = roll.by_id(str(row.id))
    if now is None:
        raise NotFound("the subscription vanished while it was written")
    return now


def _refused(row: Subscription, why: str, *, adopted: bool = False) -> Written:
    """Settled without subscribing anybody; the poll brings the refusal to the hub."""
    said = {"state": "refused there", "refused_at": row.changed_at.isoformat(), "warnings": [why]}
    return Written(external_id=str(row.id), adopted=adopted, details=said)


def _rehearsed(roll: Roll, wanted: Wanted, bound: Subscription | None) -> Written:
    row = bound or (roll.by_email(wanted.email) if wanted.email else None)
    told: dict[str, Any] = {"from": roll.body(row) if row else None, "to": {"email": wanted.email}}
    if row is None:
        return Written(external_id="", details={"would": "subscribe"} | told)
    if not row.active and not mapping.may_return(row, wanted.granted_at, roll.hub_user):
        would = "nothing: refused there"
    elif wanted.email is None:
        would = "unsubscribe" if row.active else "nothing"
    elif row.email != wanted.email:
        would = "move"
    else:
        would = "nothing" if row.active else "reactivate"
    return Written(external_id=str(row.id), details={"would": would} | told)
