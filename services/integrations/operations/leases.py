"""Writing back what became of leased deliveries, whatever it was, in a fixed number of statements.

Settling, blocking, probing and sweeping all end here, so that the fence is checked and a newer version inherits in one
place only.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from services.integrations.domain.deliveries import TERMINAL, WAITING, State, step
from services.integrations.models import Delivery
from services.integrations.operations.bulk import update_each
from services.integrations.queries import lanes


@dataclass(kw_only=True)
class Move:
    """Where one leased delivery goes.

    Attributes:
        before: the state that it must still be in, with this `fence`; else another process has it and nothing changes.
        last_call: the span of the call that was made, else of the one before it.
    """

    id: str
    lane: lanes.Lane
    op: str
    fence: int
    before: State
    after: State
    due_at: dt.datetime
    attempts: int
    deferrals: int
    probes: int = 0
    doubt_since: dt.datetime | None = None
    deadline_at: dt.datetime | None = None
    error_class: str | None = None
    error: str | None = None
    blocked_on: tuple[str, str] | None = None
    superseded_by: str | None = None
    last_call: str | None = None


def write_back(session: Session, moves: Sequence[Move], now: dt.datetime) -> set[str]:
    """Write every move whose fence still holds; return the ids of those.

    An upsert that would wait again while a newer version waits already is superseded, and the newer one goes on with
    its retries. One behind which a delete waits is superseded too: there is nothing left to bring.
    """
    if not moves:
        return set()
    heirs = _yield_to_newer(session, moves)
    rows = [_row(move, now) for move in moves]
    table: Any = Delivery.__table__
    # A look-up whose lease was ended stays in doubt under its fence until the next is made.
    held = update_each(session, table, rows, match=("id", "fence"), where="delivery.lease_until IS NOT NULL")
    update_each(session, table, [row for id, row in heirs.items() if id in held], match=("id",))
    return held


def _yield_to_newer(session: Session, moves: Sequence[Move]) -> dict[str, dict[str, Any]]:
    """Turn moves back to waiting into `superseded` where a newer upsert waits; return what each of those inherits."""
    again = {move.lane: move for move in moves if move.after in WAITING and move.op == "upsert"}
    heirs: dict[str, dict[str, Any]] = {}
    for lane, newer in lanes.waiting_upserts(session, again).items():
        move = again[lane]
        blocked_entity, blocked_id = move.blocked_on or (None, None)
        heirs[move.id] = {
            "id": newer.id, "state": move.after, "due_at": move.due_at, "attempts": move.attempts,
            "deferrals": move.deferrals, "deadline_at": move.deadline_at, "blocked_entity": blocked_entity,
            "blocked_id": blocked_id, "last_error": _cut(move.error), "error_class": move.error_class,
        }
        move.after, move.superseded_by = "superseded", newer.id
    for lane, delete_id in lanes.waiting_deletes(session, again.keys() - {move.lane for move in moves
                                                                          if move.id in heirs}).items():
        again[lane].after, again[lane].superseded_by = "superseded", delete_id
    return heirs


def _row(move: Move, now: dt.datetime) -> dict[str, Any]:
    step(move.before, move.after)
    blocked_entity, blocked_id = move.blocked_on or (None, None)
    return {
        "id": move.id, "fence": move.fence, "was_state": move.before, "state": move.after, "due_at": move.due_at,
        "attempts": move.attempts, "deferrals": move.deferrals, "probes": move.probes, "doubt_since": move.doubt_since,
        "deadline_at": move.deadline_at, "error_class": move.error_class, "last_error": _cut(move.error),
        "blocked_entity": blocked_entity, "blocked_id": blocked_id, "superseded_by": move.superseded_by,
        "last_call": move.last_call, "settled_at": now if move.after in TERMINAL else None,
        "lease_owner": None, "lease_until": None, "ahead": False,
    }


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= 1000 else f"{text[:999]}…"
