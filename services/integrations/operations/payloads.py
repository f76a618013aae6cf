"""What calls were made of: kept sealed with their attempts, so that it can be sent once more as it was.

A payload is what the hub wanted to stand there: the mapped body and the ids of the records that it points at. What a
write made of it after it had met a change of theirs is in the attempt's preview alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.crypto import Keyring, SealBroken
from chassis.sealed import keyring_of
from services.integrations.domain.mapping import ALWAYS, Unmappable
from services.integrations.models import Attempt, Delivery
from services.integrations.operations.records import canonical
from services.integrations.queries.statements import table_of

if TYPE_CHECKING:
    from services.integrations.operations.jobs import Job

log = telemetry.logger(__name__)

HASHED = "delivery.payload"
"""The column under whose key payloads are hashed: equal payloads, equal hashes, and nothing can be guessed from one."""
_ATTEMPT = table_of(Attempt)


@dataclass(frozen=True)
class Payload:
    """What one call was made of.

    Attributes:
        version: of the record that `body` shows.
        body: as the mapping in force then made it.
        references: entity → external id of the records that it points at.
        whole: whether a record can be made of it; not of a change without what is sent only when one is made.
    """

    version: int
    body: Mapping[str, Any]
    references: Mapping[str, str]
    whole: bool = True

    def hashed(self, keyring: Keyring) -> str:
        """Return the keyed hash of it."""
        return keyring.blind(HASHED, self._text())

    def kept(self, keyring: Keyring, delivery_id: str) -> str:
        """Return it as the column `payload` of a delivery that brings it again keeps it."""
        return keyring.seal(self._text(), _of_delivery(delivery_id))

    def _text(self) -> str:
        return canonical({"version": self.version, "body": self.body, "references": self.references,
                          "whole": self.whole})


def of_call(keyring: Keyring, job: Job) -> str | None:
    """Return what an attempt keeps of a call: its payload, sealed; None where nothing but an id is sent."""
    if job.action != "write" or job.begun is not None or job.unmappable is not None:
        return None
    payload = Payload(job.version, job.body, job.references, job.whole)
    return keyring.seal(payload._text(), _of_attempt(job.delivery_id, job.fence))


def last_sent(session: Session, deliveries: Collection[Delivery]) -> dict[str, Payload]:
    """Return, by delivery, the payload of its last call; where it made none, the one that it was to bring again."""
    keyring = keyring_of(session)
    rows = session.execute(
        sa.select(_ATTEMPT.c.delivery_id, _ATTEMPT.c.n, _ATTEMPT.c.payload_sealed)
        .where(_ATTEMPT.c.delivery_id.in_([one.id for one in deliveries]), _ATTEMPT.c.payload_sealed.is_not(None),
               sa.or_(_ATTEMPT.c.outcome.is_(None), _ATTEMPT.c.outcome != "not_made"))
        .order_by(_ATTEMPT.c.n))
    kept = {one.id: (one.payload, _of_delivery(one.id)) for one in deliveries if one.payload is not None}
    kept |= {row.delivery_id: (row.payload_sealed, _of_attempt(row.delivery_id, row.n)) for row in rows}
    opened = {id: _opened(keyring, sealed, place) for id, (sealed, place) in kept.items()}
    return {id: payload for id, payload in opened.items() if payload is not None}


def again(keyring: Keyring, row: Any, record: Mapping[str, Any], *, creating: bool) -> Payload:
    """Return the payload that a delivery brings again.

    What decides whether a record goes at all is as it is now: a refusal of consent stands, whatever was sent before.

    Args:
        keyring: the keys that it was sealed with.
        row: the delivery.
        record: our copy of its record.
        creating: whether that is made there, and not changed.

    Raises:
        Unmappable: it does not open, or it was a change of a record that has gone.
    """
    payload = _opened(keyring, row.payload, _of_delivery(row.id))
    if payload is None:
        raise Unmappable("payload", "what was sent does not open with our keys")
    if creating and not payload.whole:
        raise Unmappable("payload", "what was sent changed a record that has gone")
    return replace(payload, body={
        **payload.body, **{name: record[name] for name in ALWAYS & payload.body.keys() & record.keys()}})


def _opened(keyring: Keyring, sealed: str, place: str) -> Payload | None:
    try:
        return Payload(**json.loads(keyring.open(sealed, place)))
    except (SealBroken, ValueError) as error:
        log.error("payload_unreadable", place=place, error=type(error).__name__)
        return None


def _of_attempt(delivery_id: str, n: int) -> str:
    return f"attempt|payload|{delivery_id}|{n}"


def _of_delivery(delivery_id: str) -> str:
    return f"delivery|payload|{delivery_id}"
