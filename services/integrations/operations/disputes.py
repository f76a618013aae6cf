"""Opening conflicts, and telling a change of the target's from one that its owner must not hear of as it stands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.crypto import Keyring
from chassis.database import new_id
from chassis.sealed import keyring_of
from services.integrations.adapters import registry
from services.integrations.domain import merging, takeovers
from services.integrations.domain.mapping import ALWAYS, Unmappable
from services.integrations.domain.merging import Merged, Owner
from services.integrations.domain.resolutions import CHANGED_ON_BOTH_SIDES, OF_THE_RECORD, REASONS
from services.integrations.models import Conflict, Connection
from services.integrations.operations import bodies, records, snapshots
from services.integrations.operations.bodies import InForce
from services.integrations.operations.locks import lock
from services.integrations.queries import lanes

if TYPE_CHECKING:
    from services.integrations.operations.inbound import News

log = telemetry.logger(__name__)

Place = tuple[str, str, str]
"""(connection_id, entity, external_id)."""


def refused(session: Session, refusal: Mapping[str, Any], now: dt.datetime) -> None:
    """Open a conflict for what an owner could not apply.

    Args:
        session: the transaction.
        refusal: as `contracts.inbound.ExternalRefusal`.
        now: when.
    """
    if not lock(session, [refusal["connection_id"]]):
        log.warning("refusal_of_nobody", connection_id=refusal["connection_id"], entity=refusal["entity"])
        return
    opened(session, refusal, now)


def opened(session: Session, why: Mapping[str, Any], now: dt.datetime) -> None:
    """Open a conflict; one that is open already tells the latest too.

    Args:
        session: the transaction; it holds the connection.
        why: as `contracts.inbound.ExternalRefusal`.
        now: when.
    """
    place = why["connection_id"], why["entity"], why["external_id"]
    said = {"fields": list(why["fields"]), "code": why["code"], "reason": why["reason"][:1000],
            "local_id": why["local_id"], "remote_version": why["remote_version"], "updated_at": now}
    known = _open(session, place)
    if known is None:
        session.add(Conflict(id=new_id(), connection_id=place[0], entity=place[1], external_id=place[2], opened_at=now,
                             **said))
        log.warning("conflict_opened", connection_id=place[0], entity=place[1], id=why["local_id"], code=why["code"])
    elif known.code not in OF_THE_RECORD or why["code"] in OF_THE_RECORD:
        # A field that a person is asked about stays in dispute until he decides, whatever else is said.
        for name, value in (said | {"fields": list(dict.fromkeys([*known.fields, *why["fields"]]))}).items():
            setattr(known, name, value)
        known.version += 1
    session.flush()


def _open(session: Session, place: Place) -> Conflict | None:
    return session.scalar(
        sa.select(Conflict)
        .where(Conflict.connection_id == place[0], Conflict.entity == place[1], Conflict.external_id == place[2],
               sa.text("conflict.state = 'open'")).with_for_update())


def found(session: Session, code: str, place: Place, local_id: str | None, now: dt.datetime,
          fields: Sequence[str] = ()) -> None:
    """Open a conflict for what the hub has come upon itself; `code` is one of `REASONS`."""
    opened(session, {
        "connection_id": place[0], "entity": place[1], "external_id": place[2], "local_id": local_id,
        "fields": list(fields), "code": code, "reason": REASONS[code], "remote_version": None}, now)


def changed_on_both_sides(session: Session, place: Place, local_id: str, fields: Collection[str],
                          now: dt.datetime) -> None:
    """Ask a person whose these fields are, unless he has been asked already."""
    known = _open(session, place)
    if known is None or not set(fields) <= set(known.fields):
        found(session, CHANGED_ON_BOTH_SIDES, place, local_id, now, sorted(fields))


def frozen(binding: Any) -> frozenset[str]:
    """Return the fields that a person is to decide of a record, as it is bound: they are left as they stand there.

    A refusal of consent goes whatever is in dispute.
    """
    disputed = binding.disputed if binding is not None and binding.external_id is not None else None
    return frozenset(name.partition(".")[0] for name in disputed or ()) - ALWAYS


def kept_back(session: Session, connection_id: str, entity: str, told: Mapping[str, News], now: dt.datetime
              ) -> dict[str, set[str]]:
    """Return, by our id, the fields of changes that their owner must not hear of, and ask a person where need be.

    Those are the ones that our record, which waits to be sent, has changed too, unless they are the target's, and those
    that a person is deciding.

    Args:
        session: the transaction; it holds the connection.
        connection_id, entity: where it was told.
        told: our id → the change.
        now: when it was told.
    """
    connection = session.get_one(Connection, connection_id)
    if not told or not takeovers.shared(registry.load(connection.adapter).spec, entity):
        return {}
    sent = bodies.of(session, connection)
    owners = merging.owners_of(entity, sent.owners.get(entity, {}))
    at = {(connection_id, entity, id): one for id, one in told.items()}
    bound, waiting = lanes.bindings(session, at), lanes.waiting(session, at)
    copies = lanes.records(session, {lane[1:] for lane in waiting})
    kept: dict[str, set[str]] = {}
    for lane in sorted(at.keys() & bound.keys()):
        asked = {name for name in bound[lane].disputed or () if owners.get(name) == "manual"}
        if lane in waiting and lane[1:] in copies:
            merged = _merged(keyring_of(session), sent, bound[lane], copies[lane[1:]], at[lane], owners, now)
            if merged.disputed:
                place = connection_id, entity, at[lane].external_id
                changed_on_both_sides(session, place, lane[2], merged.disputed, now)
            asked |= {*merged.overruled, *merged.disputed}
        kept[lane[2]] = asked
    return kept


def _merged(keyring: Keyring, sent: InForce, binding: Any, copy: Any, news: News, owners: Mapping[str, Owner],
            now: dt.datetime) -> Merged:
    lane = binding.connection_id, binding.entity, binding.local_id
    state = records.opened(keyring, copy) or {}
    try:
        ours = sent.body(lane[1], state, creating=False)
    except Unmappable:
        return Merged({})
    return merging.merge(snapshots.base_of(keyring, binding), news.record, ours, owners,
                         theirs_is_later=merging.is_later(news.changed_at or now, records.changed_at(copy, state)),
                         left=sent.once(lane[1]) | frozen(binding))
