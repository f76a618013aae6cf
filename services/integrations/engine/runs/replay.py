"""Replay: sends settled deliveries again that a filter finds, once their number is confirmed.

They bring their records as these are now, or the payloads that they sent. It counts first, and shows of some of them
what would change: of records as they are now at the target, of payloads against what would be sent now. What it accepts
goes behind the events, and takes a quarter of the connection's rate at most.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from marshmallow import fields, validate
from sqlalchemy.orm import Session

from chassis.database import new_id
from contracts.deliveries import REPLAY_MODES
from contracts.errors import Conflict, Invalid
from contracts.schema import OneOf, Request, Timestamp, load
from services.integrations.domain.runs import TO_CONFIRM
from services.integrations.engine.asking import CallFailed
from services.integrations.engine.runs import dry_run, previews
from services.integrations.engine.runs.backfill import WAIT_S, WAITING_MOST
from services.integrations.engine.turns import Asked, CannotGoOn, Turn
from services.integrations.models import Connection, Delivery
from services.integrations.operations import replays
from services.integrations.operations.findings import Found
from services.integrations.operations.replays import Fate, Mode
from services.integrations.operations.runs import Plan, Step, Taken
from services.integrations.queries import deliveries, walks

PAGE, SAMPLE = 500, 10
SHARE = 0.25
"""Of the connection's rate."""
BREATH_S = 5.0
"""So much of that rate is accepted at once."""


class Filter(Request):
    """Which deliveries of the entity are sent again; the dead ones by default.

    What may have arrived (`ambiguous`, `unresolvable`) is left out unless `error_class` names it.
    """

    state = fields.String(load_default="dead", validate=OneOf("dead", "delivered", "skipped"))
    error_class = fields.String(validate=validate.Length(max=40))
    local_id = fields.String(validate=validate.Length(max=64))
    created_from = Timestamp()
    created_to = Timestamp()


class Options(Request):
    """`force`: they go although the target was brought their version, and under keys of their own; it takes a reason.

    `payload`: `current` brings each record as it is when it is sent, `as_sent` what each delivery sent last. Payloads
    go, by `force`, also where something newer has come after them.
    """

    payload = fields.String(load_default="current", validate=OneOf(*REPLAY_MODES))
    force = fields.Boolean(load_default=False)


def plan(session: Session, asked: Asked) -> Plan:
    """Return how the replay begins: what was accepted before now is looked through.

    Raises:
        Conflict: no active route carries the entity there, or the connection is stopped.
        Invalid: it is forced, and nobody says why.
    """
    if asked.options["force"] and not asked.reason:
        raise Invalid.of("/reason", "required", "A replay by force writes over what stands there: say why.")
    replays.require_accepting(asked.connection)
    if not walks.is_pushed(session, asked.connection.id, asked.entity):
        raise Conflict(f"No active route carries {asked.entity} to {asked.connection.name}: activate one that pushes")
    return Plan(phase="counting", position={"upto": new_id()})


def advance(turn: Turn) -> Step:
    """Go on counting, or sending."""
    return _sent(turn) if turn.run.phase == "sending" else _counted(turn)


def _counted(turn: Turn) -> Step:
    run = turn.run
    page = _page(turn, PAGE)
    fates = _fates(turn, page)
    left_out = sum(fate != "accepted" for fate in fates.values())
    counts = {TO_CONFIRM: len(page) - left_out} | ({"left_out": left_out} if left_out else {})
    told: dict[str, Any] = {"counts": counts,
                            "findings": [] if "after" in run.position else _sample(turn, page, fates)}
    if len(page) == PAGE:
        return Step(position={**run.position, "after": page[-1].id}, **told)
    many = run.counts.get(TO_CONFIRM, 0) + counts[TO_CONFIRM]
    return Step(then="ask" if many else "done", phase="sending", position={"upto": run.position["upto"]},
                total=many + run.counts.get("left_out", 0) + left_out, **told)


def _fates(turn: Turn, page: Sequence[Delivery]) -> Mapping[str, Fate]:
    """Return what would become of these; of records as they are now that shows when they are sent."""
    if _mode(turn) == "current":
        return {}
    with turn.db.read() as session:
        return replays.fates(session, page, "as_sent", force=turn.run.options["force"])


def _sample(turn: Turn, page: Sequence[Delivery], fates: Mapping[str, Fate]) -> list[Found]:
    """Rehearse the first few; a target that does not answer keeps nobody from being asked."""
    if fates:
        return previews.outdated(turn, [one for one in page if one.op == "upsert"][:SAMPLE], fates)
    ids = list(dict.fromkeys(one.local_id for one in page if one.op == "upsert"))[:SAMPLE]
    try:
        return [finding for _kind, finding in dry_run.rehearsed(turn, ids) if finding is not None]
    except CallFailed:
        return []


def _sent(turn: Turn) -> Step:
    run = turn.run
    with turn.db.read() as session:
        if not walks.is_pushed(session, run.connection_id, run.entity):
            raise CannotGoOn(f"no active route carries {run.entity} there any more")
        if walks.waiting(session, run.connection_id, WAITING_MOST) == WAITING_MOST:
            return Step(then="wait", wait_s=WAIT_S)
        rate_per_s = session.get_one(Connection, run.connection_id).rate_per_s * SHARE
    room = max(1, min(PAGE, int(rate_per_s * BREATH_S)))
    page = _page(turn, room)
    if not page:
        return Step(then="done")
    return Step(then="wait" if len(page) == room else "done", wait_s=len(page) / rate_per_s,
                counts={"seen": len(page)}, position={**run.position, "after": page[-1].id},
                effect=partial(_send, run, _mode(turn), [one.id for one in page]))


def _send(run: Taken, mode: Mode, ids: Sequence[str], session: Session, now: dt.datetime) -> Mapping[str, int]:
    return replays.send_again(session, run.connection_id, ids, now, mode=mode, force=run.options["force"])


def _mode(turn: Turn) -> Mode:
    mode: Mode = turn.run.options.get("payload", "current")  # a run that was started before it could be said
    return mode


def _page(turn: Turn, limit: int) -> list[Delivery]:
    run = turn.run
    asked = {"connection_id": run.connection_id, "entity": run.entity, **load(Filter, run.filter)}
    query = deliveries.last_of_lane(
        asked, () if asked.get("error_class") else replays.DOUBTED,
        of_chosen=_mode(turn) == "as_sent" and run.options["force"]).where(
        Delivery.id > run.position.get("after", ""), Delivery.id <= run.position["upto"])
    with turn.db.read() as session:
        return list(session.scalars(query.order_by(Delivery.id).limit(limit)))
