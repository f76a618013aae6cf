"""Backfill: brings every record of an entity that a target does not have, or has in an older version, to it.

Its deliveries go behind those of events, and only so many of them wait at once: a million records are a trickle, never
a flood. Whatever a page has accepted is counted in the ledger like any other delivery.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from marshmallow import fields
from sqlalchemy.orm import Session

from chassis.sealed import keyring_of
from contracts.errors import Conflict
from contracts.schema import Request
from hub_adapter.port import AdapterSpec
from services.integrations.adapters import registry
from services.integrations.domain.deliveries import BACKGROUND, is_stale
from services.integrations.domain.gates import barring
from services.integrations.engine.turns import Asked, CannotGoOn, Turn
from services.integrations.operations import bodies, intake, records, strangers
from services.integrations.operations.bodies import InForce
from services.integrations.operations.locks import lock
from services.integrations.operations.runs import Plan, Step
from services.integrations.queries import lanes, walks

PAGE = 500
WAITING_MOST = 1000
"""Deliveries of background work that wait at a connection at once."""
WAIT_S = 1.0


class Filter(Request):
    """A backfill is over the whole entity."""


class Options(Request):
    """What a backfill may be told."""

    without_matching = fields.Boolean(load_default=False)


def plan(session: Session, asked: Asked) -> Plan:
    """Return how the backfill begins.

    Raises:
        Conflict: no active route carries the entity there, or nobody has matched what both sides have already.
        Invalid: matching is to be left out without a reason.
    """
    connection, entity = asked.connection, asked.entity
    if not walks.is_pushed(session, connection.id, entity):
        raise Conflict(f"No active route carries {entity} to {connection.name}: activate one that pushes")
    without = "set options.without_matching and say why"
    if not strangers.waived(asked.options, asked.reason) and (
            unmet := strangers.unmet(session, connection, entity, without)):
        raise unmet
    return Plan(total=walks.count(session, entity))


def advance(turn: Turn) -> Step:
    """Accept a delivery for each record of the next page that needs one."""
    run = turn.run
    with turn.db.read() as session:
        if not walks.is_pushed(session, run.connection_id, run.entity):
            raise CannotGoOn(f"no active route carries {run.entity} there any more")
        if walks.waiting(session, run.connection_id, WAITING_MOST) > WAITING_MOST - PAGE:
            return Step(then="wait", wait_s=WAIT_S)
        ids = walks.ids_after(session, run.entity, run.position.get("after", ""), PAGE)
    return Step(then="go_on" if len(ids) == PAGE else "done", counts={"seen": len(ids)},
                position={"after": ids[-1]} if ids else None,
                effect=partial(_accept, run.connection_id, run.entity, ids) if ids else None)


def _accept(connection_id: str, entity: str, ids: Sequence[str], session: Session, now: dt.datetime) -> dict[str, int]:
    # Locked, so that an event of one of these records is wholly before this page or wholly behind it.
    rows = session.execute(*walks.locked(entity, list(ids))).all()
    connection = lock(session, [connection_id])[connection_id]
    spec, places = registry.load(connection.adapter).spec, {(connection_id, entity, row.id) for row in rows}
    sent = bodies.of(session, connection)
    bound, under_way = lanes.bindings(session, places), lanes.open_lanes(session, places)
    counts: Counter[str] = Counter()
    plans = []
    for row in rows:
        lane = (connection_id, entity, row.id)
        fate = "under_way" if lane in under_way else _fate(session, spec, sent, row, bound.get(lane))
        counts[fate] += 1
        if fate == "accepted":
            plans.append(intake.plan(*lane, "upsert", row.version, now)
                         | {"origin": "backfill", "priority": BACKGROUND})
    intake.add(session, plans)
    return dict(counts)


def _fate(session: Session, spec: AdapterSpec, sent: InForce, row: Any, binding: Any) -> str:
    if row.deleted:
        return "deleted"
    if binding is not None and binding.state == "conflict":
        return "left_out"
    stands = binding is not None and binding.external_id is not None
    if stands and is_stale(row.version, binding.acked_version):
        return "up_to_date"
    return "withheld" if not stands and _is_barred(session, spec, sent, row) else "accepted"


def _is_barred(session: Session, spec: AdapterSpec, sent: InForce, row: Any) -> bool:
    """Tell whether a record may not stand there; of one that does not open, its delivery tells."""
    if not {row.entity} & {*spec.consent, *spec.accounts, *sent.filters}:
        return False
    state = records.opened(keyring_of(session), row)
    return state is not None and (barring(spec, row.entity, state) is not None or not sent.admits(row.entity, state))
