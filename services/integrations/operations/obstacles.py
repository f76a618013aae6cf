"""Obstacles: why a leased delivery does not go now, and what becomes of it."""

from __future__ import annotations

import datetime as dt
from typing import Any

from services.integrations.domain import failures, retry
from services.integrations.domain.bindings import is_away, is_bound
from services.integrations.domain.deliveries import DECIDED, State, is_stale
from services.integrations.operations.jobs import Leased
from services.integrations.operations.leases import Move
from services.integrations.routing import ACCOUNT

MAY_BE_THERE = ("it may be there already: the answer to an earlier call was lost, and the target can neither be asked "
                "nor told twice; a person has to look there")


def met(one: Leased, now: dt.datetime, *, filtered: bool) -> Move | None:
    """Return where a delivery goes instead of to its target; None if nothing keeps it.

    Args:
        one: the delivery.
        now: when.
        filtered: whether the filter of its route leaves the record out.
    """
    if filtered:
        return _move(one, "skipped", "the route's filter leaves it out", failures.FILTERED)
    return _unmatched(one, now) or _unsendable(one) or _waiting(one, now)


def _unmatched(one: Leased, now: dt.datetime) -> Move | None:
    """Return what becomes of a delivery whose record may be there under an id that we do not know."""
    if is_bound(one.binding):
        return None
    if one.binding is not None and one.binding.state == "conflict":
        return _move(one, "skipped", "go-live matching left it out: it may be there already", failures.LEFT_OUT)
    if one.row.op != "upsert" or not is_away(one.binding) or not one.connection.matches(one.row.entity):
        return None
    return _move(one, "retry_wait", "waits until a go-live matching has come to its end", failures.AWAITING_MATCH,
                 due_at=now + dt.timedelta(seconds=failures.MATCH_RECHECK_S), deferrals=one.row.deferrals + 1)


def _unsendable(one: Leased) -> Move | None:
    """Return what becomes of a delivery that has nothing to bring, or may not."""
    row, binding = one.row, one.binding
    # A binding without their id: a call was begun once and may have left something half-made, so the target is asked.
    if row.op == "delete" and binding is None:
        return _move(one, "skipped", "it was never made there")
    if row.op != "upsert":
        return None
    if one.state is None:
        return _move(one, "dead", "our copy of the record is missing or does not open", failures.INVALID)
    # What a person decided goes, although the target was brought this version before.
    if row.origin not in DECIDED and is_stale(one.version, one.acked_version):
        return _move(one, "skipped", f"the target has version {one.acked_version}")
    if one.barred is not None:
        return _move(one, "skipped", one.barred.reason["en"]) if is_away(binding) else None
    # Whoever sends again what may have arrived has looked there.
    if row.replay_of is None and _may_be_doubled(one):
        return _move(one, "dead", MAY_BE_THERE, failures.UNRESOLVABLE)
    return None


def _may_be_doubled(one: Leased) -> bool:
    """Tell whether a lost call may have made a record, and nothing would keep the next one from making a second."""
    return (one.binding is not None and one.binding.state == "in_doubt" and one.binding.external_id is None
            and not one.spec.honours_key
            and one.spec.sought_by(one.row.entity, one.row.local_id, one.state) is None)


def _waiting(one: Leased, now: dt.datetime) -> Move | None:
    """Return how a delivery waits for a record that has to be there first."""
    absent = next((need for need, there in one.needs.items() if not is_bound(there)), None)
    if absent is None or one.deletes:
        return None
    row, (entity, id) = one.row, absent
    waits = f"waits until {entity} {id} is at the target" if entity != ACCOUNT else (
        f"the user {id} has no account there: PUT /connections/{row.connection_id}/accounts/{id}")
    return _move(one, "blocked", waits, failures.DEPENDENCY_MISSING, blocked_on=absent,
                 due_at=now + dt.timedelta(seconds=failures.RECHECK_S), deferrals=row.deferrals + 1,
                 deadline_at=row.deadline_at or now + dt.timedelta(seconds=retry.WINDOW_S))


def _move(one: Leased, after: State, reason: str, error_class: str | None = None, **changes: Any) -> Move:
    row = one.row
    given: dict[str, Any] = {"due_at": row.due_at, "deferrals": row.deferrals}
    return Move(id=row.id, lane=one.lane, op=row.op, fence=row.fence, before="leased", after=after,
                attempts=row.attempts, error=reason, error_class=error_class, last_call=row.last_call,
                **(given | changes))
