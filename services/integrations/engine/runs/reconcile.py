"""Reconciliation: compares a target with what should stand there, finds what differs, and mends it as far as it may.

Its phases: `listing` keeps what the comparison needs of the target's whole list; `comparing` walks our side against it;
`asking` asks both sides again about whatever looks wrong; `mending` does what was decided. The first two cost one
listing of the target however much is wrong, and no more memory than a page.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from marshmallow import fields, validate
from sqlalchemy.orm import Session

from chassis.sealed import keyring_of
from contracts.errors import Conflict, Invalid
from contracts.schema import Request
from hub_adapter.port import Capability, Context, Remote
from services.integrations.adapters import registry
from services.integrations.domain import reconciliation
from services.integrations.domain.reconciliation import Kind, Suspect
from services.integrations.engine.asking import CallFailed
from services.integrations.engine.runs.suspects import ask_again, differing_at, expected_of, stands_as_told
from services.integrations.engine.targets import Target
from services.integrations.engine.turns import Asked, CannotGoOn, Turn
from services.integrations.models import Connection
from services.integrations.operations import bodies, pulls, reconciliations, repairs
from services.integrations.operations.locks import lock
from services.integrations.operations.reconciliations import Scope, Side
from services.integrations.operations.runs import Plan, Step, Taken
from services.integrations.queries import reconciliations as queries
from services.integrations.queries import walks

PAGE, MENDED_AT_ONCE, ASKED_AT_ONCE = 500, 100, 20
WAITING_MOST = 1000
"""Repairs that wait at a connection at once."""
WAIT_S = 1.0
UNREAD = "waits until what people did at the target has been read"


class Filter(Request):
    """A reconciliation is over the whole entity."""


class Options(Request):
    """What a reconciliation may be told.

    `policy` says what is done about a kind of finding in place of the usual. `vanished_most` is how many records may be
    gone from the target, for whoever knows of more than the guard lets pass.
    """

    policy = fields.Dict(keys=fields.String(), values=fields.String(), load_default=dict)
    every_h = fields.Integer(load_default=24, strict=True, validate=validate.Range(min=0, max=8784))
    vanished_most = fields.Integer(load_default=None, allow_none=True, strict=True, validate=validate.Range(min=0))


def plan(session: Session, asked: Asked) -> Plan:
    """Return how the reconciliation begins.

    Raises:
        Conflict: no active route carries the entity there, or the target cannot be listed whole.
        Invalid: the policy asks for what cannot be done.
    """
    connection, entity = asked.connection, asked.entity
    if not walks.is_pushed(session, connection.id, entity):
        raise Conflict(f"No active route carries {entity} to {connection.name}: activate one that pushes")
    if Capability.LIST_COMPLETE not in registry.load(connection.adapter).spec.capabilities:
        raise Conflict(f"{connection.name} cannot be listed whole, so nobody can tell what is missing there")
    try:
        reconciliation.require_taken_over(reconciliation.policies(asked.options["policy"]), entity)
    except reconciliation.WrongPolicy as error:
        raise Invalid.of("/options/policy", "unsupported", str(error)) from error
    return Plan(total=2 * walks.count(session, entity), phase="listing")


def advance(turn: Turn) -> Step:
    """Go on with the phase in hand."""
    return _PHASES[turn.run.phase or ""](turn)


# --- both sides, page by page -------------------------------------------------------------------------------------


def _list(turn: Turn) -> Step:
    """Keep a page of the target's list, and compare the fields of what is bound in it."""
    run = turn.run
    since = run.position.get("since") or turn.clock().isoformat()
    first = run.position.get("n", 0)
    page = turn.listed(run.position.get("cursor"))
    with turn.db.read() as session:
        scope = _scope(session, run, since)
        bound = reconciliations.bound_to(session, scope, page.items)
        ours = reconciliations.sides(session, keyring_of(session), scope, set(bound.values()))
        found = reconciliations.strangers(session, scope, page.items, bound)
    found += turn.ask(partial(_mismatches, scope, page.items, bound, ours))
    counts = {"seen": len(page.items), "listed": len(page.items)}
    keep = partial(_keep, scope, page.items, bound, first, found)
    if not page.complete:
        position = {"since": since, "cursor": page.next_cursor, "n": first + len(page.items)}
        return Step(position=position, counts=counts, effect=keep)
    with turn.db.read() as session:
        total = run.counts.get("seen", 0) + len(page.items) + walks.count(session, run.entity)
    return Step(position={"since": since}, counts=counts, effect=keep, phase="comparing", total=total)


def _mismatches(scope: Scope, remotes: Sequence[Remote], bound: Mapping[str, str], ours: Mapping[str, Side],
                target: Target, ctx: Context) -> list[Suspect]:
    found = []
    for remote in remotes:
        side = ours.get(bound.get(remote.external_id, ""))
        if side is None or not side.ours.settled:
            continue
        if not side.state and remote.active:
            found.append(Suspect(kind="missing_local", local_id=side.ours.local_id, external_id=remote.external_id))
        elif side.ours.wanted and differing_at(expected_of(target, ctx, scope, side), remote):
            found.append(Suspect(kind="mismatch", local_id=side.ours.local_id, external_id=remote.external_id))
    return found


def _keep(scope: Scope, remotes: Sequence[Remote], bound: Mapping[str, str], first: int, found: Iterable[Suspect],
          session: Session, _now: dt.datetime) -> dict[str, int]:
    reconciliations.keep_listed(session, keyring_of(session), scope, remotes, bound, first)
    reconciliations.suspect(session, scope, found)
    return {}


def _compare(turn: Turn) -> Step:
    """Look a page of our records up in what was listed."""
    run = turn.run
    since, after = run.position["since"], run.position.get("after", "")
    with turn.db.read() as session:
        scope = _scope(session, run, since)
        ids = walks.ids_after(session, run.entity, after, PAGE)
        ours = reconciliations.sides(session, keyring_of(session), scope, ids)
    known_by = turn.ask(partial(_known_by, scope, ours)) if scope.by_natural_key else {id: {"id": id} for id in ours}
    with turn.db.read() as session:
        keyring = keyring_of(session)
        own_keys = {id: reconciliations.own_key(keyring, scope, told) for id, told in known_by.items()}
        found = reconciliations.compared(session, scope, ours, own_keys)
    counts = _counted(ours.values(), found) | {"seen": len(ids)}
    if len(ids) == PAGE:
        return Step(position={"since": since, "after": ids[-1]}, counts=counts, effect=partial(_suspect, scope, found))
    totals = Counter(run.counts) + Counter(counts)
    if reconciliation.vanished_too_many(totals["vanished"], totals["bound"], run.options["vanished_most"]):
        raise CannotGoOn(f"{totals['vanished']} of {totals['bound']} records have vanished from the target's list: is "
                         "it the right one? If they are gone, say so in options.vanished_most. Nothing was changed")
    return Step(position={"since": since, "compared_at": turn.clock().isoformat()}, counts=counts, phase="asking",
                effect=partial(_suspect_last, scope, found))


def _known_by(scope: Scope, ours: Mapping[str, Side], target: Target, ctx: Context) -> dict[str, Mapping[str, Any]]:
    return {id: expected_of(target, ctx, scope, side) or {} for id, side in ours.items()}


def _counted(ours: Collection[Side], found: Sequence[Suspect]) -> dict[str, int]:
    settled = [side.ours for side in ours if side.ours.settled]
    return {"compared": len(settled), "left_out": len(ours) - len(settled),
            "bound": sum(one.external_id is not None for one in settled),
            "vanished": sum(one.kind == "missing_remote" and one.external_id is not None for one in found)}


def _suspect(scope: Scope, found: Iterable[Suspect], session: Session, _now: dt.datetime) -> dict[str, int]:
    reconciliations.suspect(session, scope, found)
    return {}


def _suspect_last(scope: Scope, found: Iterable[Suspect], session: Session, now: dt.datetime) -> dict[str, int]:
    if scope.pulled:
        # What people did there and nobody has read yet is no drift: it is read before anybody is asked again.
        lock(session, [scope.connection_id])
        pulls.hint(session, scope.connection_id, scope.entity, [], now)
    return _suspect(scope, found, session, now)


# --- what looked wrong --------------------------------------------------------------------------------------------


def _ask(turn: Turn) -> Step:
    """Ask both sides again about a few suspects; with the last of them, see whether a person has to be asked too."""
    run = turn.run
    with turn.db.read() as session:
        scope = _scope(session, run, run.position["since"])
        if scope.pulled and not queries.read_since(session, scope.connection_id, scope.entity,
                                                   dt.datetime.fromisoformat(run.position["compared_at"])):
            failing = queries.unread_because(session, scope.connection_id, scope.entity)
            return Step(then="wait", wait_s=WAIT_S, error=failing and f"{UNREAD}; the last poll failed: {failing}")
        rows = queries.suspects(session, run.id, ASKED_AT_ONCE)
    if not rows:
        asks = reconciliation.needs_approval(run.counts.get("changes", 0), run.counts.get("compared", 0))
        return Step(then="ask" if asks else "go_on", phase="mending")
    policies = reconciliation.policies(run.options["policy"])
    found, counts = [], Counter[str]()
    done: list[str] = []
    for row in rows:
        try:
            told = ask_again(turn, scope, row)
        except CallFailed:
            if not done:
                raise
            break
        done.append(row.id)
        if isinstance(told, str):
            counts[told] += 1
        else:
            policy = told.decision or reconciliation.done_about(
                policies[cast("Kind", told.kind)], told.kind, run.entity, local_id=told.local_id, fields=told.fields,
                external_id=told.external_id, asks_if_gone=run.entity in scope.sent.asking)
            found.append(replace(told, decision=None if policy == "report" else policy))
            counts[told.kind] += 1
            counts["changes"] += policy in reconciliation.COUNTED
        if turn.is_over:
            break
    return Step(findings=found, counts=counts, effect=partial(_clear, run.id, done))


def _clear(run_id: str, done: Sequence[str], session: Session, _now: dt.datetime) -> dict[str, int]:
    reconciliations.clear(session, run_id, done)
    return {}


def _mend(turn: Turn) -> Step:
    """Do what was decided about a page of findings; what is to be taken over is read once more before."""
    run = turn.run
    with turn.db.read() as session:
        scope = _scope(session, run, run.position["since"])
        if walks.waiting(session, run.connection_id, WAITING_MOST) > WAITING_MOST - MENDED_AT_ONCE:
            return Step(then="wait", wait_s=WAIT_S)
        page = [(one.id, one.external_id, (one.detail or {}).get("told") if one.decision == "adopt" else None)
                for one in queries.decided(session, run.id, MENDED_AT_ONCE)]
    if not page:
        return Step(then="done")
    looked_at: dict[str, bool] = {}
    for id, external_id, told in page:
        try:
            looked_at[id] = not external_id or told is None or stands_as_told(turn, run.entity, external_id, told)
        except CallFailed:
            if not looked_at:
                raise
            break
        if turn.is_over:
            break
    changed = [id for id, stands in looked_at.items() if not stands]
    return Step(effect=partial(repairs.carry_out, scope, list(looked_at), changed))


def _scope(session: Session, run: Taken, since: str) -> Scope:
    if not walks.is_pushed(session, run.connection_id, run.entity):
        raise CannotGoOn(f"no active route carries {run.entity} there any more")
    connection = session.get_one(Connection, run.connection_id)
    return Scope(run_id=run.id, connection_id=connection.id, entity=run.entity, since=dt.datetime.fromisoformat(since),
                 spec=registry.load(connection.adapter).spec, pulled=connection.pulls(run.entity),
                 sent=bodies.of(session, connection))


_PHASES: Mapping[str, Callable[[Turn], Step]] = {
    "listing": _list, "comparing": _compare, "asking": _ask, "mending": _mend}
