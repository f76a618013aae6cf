"""What must stand at the targets once all is quiet, told from what was committed and from the targets' own tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from tests.simulation.clock import START
from tests.simulation.hub import Hub
from tests.simulation.laws import Tables, Watch
from tests.simulation.target import COMMITS_WITHIN_S

ROUNDS = 150
"""More than a retry schedule has steps for every lane; what is not settled by then never will be."""


def text_of(moment: dt.datetime) -> str:
    """Return an instant as SQLite keeps it."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")


def settle_everything(hub: Hub, watch: Watch) -> None:
    """Let everything heal, and wait until nothing is left to do, without waking anybody: only looks and sweeps.

    Raises:
        LawBroken: a law was broken on the way, something stays open, or a target lacks what it should have (L), has it
            twice (D), or has an older version (O).
    """
    for target in hub.targets.values():
        target.up = True
        target.late.clear()
    for process in (1, 0):
        _finish(hub, watch, process)
    for name in hub.lab.connections:  # what came back last may have paused one
        hub.resume(name)
    tables, retried = _finish(hub, watch, 1), False
    for _ in range(ROUNDS):
        if hub.broker.wiped or _unsent(hub):
            hub.carry()
        while hub.broker.queue:
            hub.hear(0)
        tables = _finish(hub, watch, 0)
        if _open(tables) or _unsent(hub):
            _wait(hub, tables)
        elif retried or not any(row["state"] == "dead" for row in tables.delivery.values()):
            break
        else:
            hub.clock.advance(COMMITS_WITHIN_S + 1.0)
            hub.retry_dead()
            retried = True
    watch.require([*_left(hub, tables), *breaches(hub, tables)])


def _finish(hub: Hub, watch: Watch, process: int) -> Tables:
    """Let a process do what there is to do at this moment."""
    if any(row["state"] == "blocked" or row["lease_until"] for row in watch.tables.delivery.values()):
        hub.sweep(process)
        watch.look(text_of(hub.clock.now()))
    hub.turn(process)
    tables = watch.look(text_of(hub.clock.now()))
    calls = hub.processes[process].calls
    while calls.waiting or calls.hanging:
        calls.finish()
        hub.turn(process)
        tables = watch.look(text_of(hub.clock.now()))
    return tables


def _open(tables: Tables) -> list[str]:
    """Return what is open; a fact that stops behind a dead one waits for a person, and may."""
    stopped = _stopped(tables)
    return [row["id"] for row in tables.delivery.values() if row["settled_at"] is None
            and not (row["op"] == "append" and row["connection_id"] in stopped)]


def _stopped(tables: Tables) -> set[str]:
    """Return the connections where a fact is dead, and none was sent in its place."""
    replayed = {row["replay_of"] for row in tables.delivery.values()}
    return {row["connection_id"] for row in tables.delivery.values()
            if row["op"] == "append" and row["state"] == "dead" and row["id"] not in replayed}


def _unsent(hub: Hub) -> bool:
    with hub.lab.source.read() as session:
        return bool(session.connection().exec_driver_sql("SELECT 1 FROM outbox WHERE sent_at IS NULL").first())


def _wait(hub: Hub, tables: Tables) -> None:
    """Go to the next moment at which anything is due."""
    moments = [row[name] for row in tables.delivery.values() if row["settled_at"] is None
               for name in ("due_at", "lease_until")]
    moments += [row[name] for row in tables.connection.values() for name in ("throttled_until", "breaker_open_until")]
    now = text_of(hub.clock.now())
    coming = min((moment for moment in moments if moment is not None and moment > now), default=None)
    until = (dt.datetime.fromisoformat(f"{coming}+00:00") - START).total_seconds() if coming else 0.0
    hub.clock.advance(max(until - hub.clock.elapsed() + 0.001, 1.0))


def _left(hub: Hub, tables: Tables) -> Iterator[str]:
    yield from (f"L: {id} stays {tables.delivery[id]['state']} for ever" for id in _open(tables))
    yield from (f"L: {hub.broker.queue} was never heard",) if hub.broker.queue else ()


def breaches(hub: Hub, tables: Tables) -> Iterator[str]:
    """Yield what each target has lost, doubled or put back, by its own table."""
    stopped = {name for name, id in hub.lab.connections.items() if id in _stopped(tables)}
    for name, target in hub.targets.items():
        yield from (f"{name}: {breach}" for breach in target.breaches)
        for (entity, id), version in hub.truth.items():
            there = [target.rows[row].version for row in target.of(entity, id)]
            wanted = [] if id in hub.cancelled else [version]
            if there != wanted and (name, entity, id) not in hub.lost:
                yield f"{name}: {entity} {id} should stand there as {wanted}, and does as {there}"
        if name not in stopped and target.facts.get("account", []) != list(range(1, hub.facts + 1)):
            yield f"{name}: {hub.facts} facts were accepted, it has {target.facts.get('account', [])}"
