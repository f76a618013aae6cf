"""What payloads that are to be sent again would change: each against what would be sent of its record now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.sealed import keyring_of
from services.integrations.domain import canonical
from services.integrations.domain import mapping as mappings
from services.integrations.domain.differences import differing, values
from services.integrations.domain.mapping import Unmappable
from services.integrations.domain.plain_yaml import Faulty
from services.integrations.engine.turns import Turn
from services.integrations.models import Connection, Delivery, MappingVersion, Route
from services.integrations.operations import bodies, payloads, records
from services.integrations.operations.bodies import InForce
from services.integrations.operations.findings import Found
from services.integrations.operations.replays import REASONS, Fate
from services.integrations.queries import lanes


def outdated(turn: Turn, deliveries: Sequence[Delivery], fates: Mapping[str, Fate]) -> list[Found]:
    """Return a finding for each of these whose payload is not what would be sent now, or does not go, and why."""
    run = turn.run
    with turn.db.read() as session:
        sent = payloads.last_sent(session, deliveries)
        now = _sent_now(session, run.connection_id, run.entity, deliveries)
        names = {name for one in sent.values() for name in one.body} | {name for one in now.values() for name in one}
        hidden = _hidden(session, run.connection_id, run.entity, names)
    found = []
    for one in deliveries:
        if (fate := fates[one.id]) != "accepted":
            found.append(Found(kind="refused", local_id=one.local_id, detail={"reason": REASONS[fate]}))
            continue
        then, current = sent[one.id].body, now.get(one.local_id, {})
        if fields := sorted({*differing(then, current), *differing(current, then)}):
            found.append(Found(kind="outdated", local_id=one.local_id, fields=fields, sensitive=hidden, detail={
                "as_sent": values(then, fields), "current": values(current, fields)}))
    return found


def _sent_now(session: Session, connection_id: str, entity: str,
              deliveries: Sequence[Delivery]) -> dict[str, Mapping[str, Any]]:
    """Return, by our id, the body that each record would have now, of those that have one."""
    sent, keyring = bodies.of(session, session.get_one(Connection, connection_id)), keyring_of(session)
    bound = lanes.bindings(session, {(connection_id, entity, one.local_id) for one in deliveries})
    rows = lanes.records(session, {(entity, one.local_id) for one in deliveries}).values()
    found = {}
    for row in rows:
        binding, state = bound.get((connection_id, entity, row.id)), records.opened(keyring, row)
        if state is not None and not row.deleted:
            found[row.id] = _body(sent, entity, state, creating=binding is None or binding.external_id is None)
    return found


def _body(sent: InForce, entity: str, state: Mapping[str, Any], *, creating: bool) -> Mapping[str, Any]:
    try:
        return sent.body(entity, state, creating=creating)
    except Unmappable:
        return {}


def _hidden(session: Session, connection_id: str, entity: str, names: Collection[str]) -> list[str]:
    """Return which target fields any mapping that was ever saved for the entity makes of sensitive ones.

    All of `names` count as such if one of those cannot be read any more.
    """
    texts = session.scalars(sa.select(MappingVersion.text).join(Route, Route.id == MappingVersion.route_id).where(
        Route.connection_id == connection_id, Route.entity == entity))
    found: set[str] = set()
    for text in texts:
        try:
            found.update(mappings.read(text).sensitive(canonical.of_entity(entity)))
        except Faulty:
            found.update(names)
    return sorted(found)
