"""A hub without processes, broker or network: the product's own operations and engine, moved one step at a time."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from marshmallow import fields

from chassis import inbox, outbox
from chassis.database import new_id
from chassis.outbox import Pending
from contracts.errors import Conflict, Unavailable
from contracts.event import EventType
from contracts.schema import Record, dump, unpack
from services.integrations.engine.dispatcher import Dispatcher
from services.integrations.engine.sweeper import Sweeper
from services.integrations.models import Binding, Delivery
from services.integrations.operations import connections, intake, pruning, replays
from services.integrations.routing import WAYS
from tests.simulation.broker import Broker, Publish, envelope_of
from tests.simulation.lab import ADAPTERS, ADMIN, Calls, Fragile, Killed, Lab
from tests.simulation.target import COMMITS_WITHIN_S, SimulatedAdapter, Target

HANDLER = "told"
KEPT = dt.timedelta(hours=72)
"""How long the announcing room keeps what it has sent (`outbox_retention_h`)."""


class Told(Record):
    """What an event of the simulation says."""

    id = fields.String(required=True)
    version = fields.Integer(required=True)
    customer_id = fields.String(allow_none=True, load_default=None)


def _event(service: str, entity: str, verb: str) -> EventType:
    return EventType(service, f"{entity}.{verb}", entity, Told)


EVENTS = {event.type: event for event in (
    _event("customers", "customer", "updated"), _event("customers", "customer", "snapshot"),
    _event("sales", "order", "confirmed"), _event("sales", "order", "cancelled"))}


@dataclass
class Process:
    """One process of the integrations service."""

    name: str
    dispatcher: Dispatcher
    sweeper: Sweeper
    calls: Calls


class SourceRelay:
    """The relay of the room that announces: what it was handed at commit, and what it finds in the table."""

    def __init__(self, name: str) -> None:
        self.owner = name
        self.offered: list[Pending] = []

    def offer(self, rows: Sequence[Pending]) -> None:
        self.offered.extend(rows)


class Hub:
    """Two processes on one database, a room that announces changes, a broker between them, and the targets."""

    def __init__(self, lab: Lab, seed: int = 0) -> None:
        lab.restart()
        self.lab, self.clock = lab, lab.clock
        self.chance = random.Random(seed).random
        self.broker = Broker()
        self.targets = {name: Target(self.clock, adapter.unique) for name, adapter in ADAPTERS.items()}
        SimulatedAdapter.targets = self.targets
        self._started = 0
        self.processes = [self._start(), self._start()]
        self.truth: dict[tuple[str, str], int] = {}
        """(entity, id) → newest version that was committed."""
        self.cancelled: set[str] = set()
        self.facts = 0
        self.lost: set[tuple[str, str, str]] = set()
        """(target, entity, id) of records that people there have deleted since."""
        self._relay()

    def _start(self) -> Process:
        self._started += 1
        lab, calls, name = self.lab, Calls(), f"process-{self._started}"
        dispatcher = Dispatcher(lab.db, lab.keyring, lab.targets, lab.settings, name, self.clock.now, self.chance,
                                self.clock.elapsed, calls)
        return Process(name, dispatcher, Sweeper(lab.db, 5.0, dispatcher.wake, self.clock.now, self.chance), calls)

    def _relay(self) -> None:
        self._started += 1
        self.relay = SourceRelay(f"relay-{self._started}")
        self.lab.source.info["relay"] = self.relay

    # --- the room that announces ------------------------------------------------------------------------------------

    def change(self, kind: str, id: str, *, customer_id: str | None = None, doom: int | None = None) -> None:
        """Commit a change with its event; with `doom`, its process ends before or after that."""
        entity, way = EVENTS[kind].entity, WAYS[kind]
        version = self.truth.get((entity, id), 0) + way.routed
        told = {"id": id, "version": version, "customer_id": customer_id}
        survived = self._endangered(self.lab.source, doom, lambda: self._announce(EVENTS[kind], version, told))
        if not survived:
            self._relay()
        if survived or doom:
            self.truth[entity, id] = version
            self.lost -= {one for one in self.lost if one[1:] == (entity, id) and way.routed}
            if way.verb == "delete":
                self.cancelled.add(id)

    def _announce(self, event: EventType, version: int, told: dict[str, Any]) -> None:
        with self.lab.source.write() as session:
            outbox.record(session, event, subject=told["id"], version=version, data=told, by=ADMIN)

    def carry(self, fates: Sequence[Publish] = (), doom: int | None = None) -> None:
        """Let the relay publish what it has: handed over at commit, found in the table, or asked for again."""
        if not self._endangered(self.lab.source, doom, lambda: self._carried(fates)):
            self._relay()

    def _carried(self, fates: Sequence[Publish]) -> None:
        source = self.lab.source
        if self.broker.wiped:
            for _ in outbox.resending(source, since=self.clock.now() - KEPT):
                pass
            self.broker.wiped = False
        rows, self.relay.offered = self.relay.offered, []
        with source.write() as session:
            rows += outbox.claim(session, self.relay.owner, 100)
        published_at = self.clock.now()
        confirmed = self.broker.publish(rows, fates)
        if confirmed:
            with source.write() as session:
                outbox.mark_sent(session, confirmed, published_at=published_at)

    def wipe(self) -> None:
        """Let the broker lose its data, unless it holds what the announcing room no longer keeps."""
        oldest = self.clock.now() - KEPT
        if all(envelope_of(message).time > oldest for message in self.broker.queue):
            self.broker.wipe()

    # --- the integrations service -------------------------------------------------------------------------------------

    def hear(self, n: int, process: int = 0, *, again: bool = False, doom: int | None = None) -> None:
        """Give a message to a process; `again` leaves a copy of it in the queue."""
        if not self.broker.queue:
            return
        message = self.broker.message(n)
        if self._within(process, doom, lambda: self._heard(process, message)) and not again:
            self.broker.acknowledge(message)

    def _heard(self, process: int, message: str) -> None:
        envelope, woken = envelope_of(message), []
        data = unpack(EVENTS[envelope.type].data, envelope.data)
        with self.lab.db.write() as session:
            if inbox.first_time(session, envelope.id, HANDLER):
                change = intake.Change(envelope.id, envelope.type, envelope.origin, envelope.subject,
                                       envelope.entityversion, dump(Told, data))
                woken = intake.accept(session, self.lab.keyring, change, self.clock.now())
        self.processes[process].dispatcher.wake(woken)

    def accept(self, ids: Iterable[str]) -> None:
        """Accept the next version of each of these customers, told by no event, in one transaction."""
        woken: set[str] = set()
        with self.lab.db.write() as session:
            for id in ids:
                version = self.truth["customer", id] = self.truth.get(("customer", id), 0) + 1
                change = intake.Change(new_id(), "customers.customer.updated", "hub", id, version, {"id": id})
                woken.update(intake.accept(session, self.lab.keyring, change, self.clock.now()))
        self.processes[0].dispatcher.wake(woken)

    def append(self) -> None:
        """Accept a fact for each target."""
        self.facts += 1
        with self.lab.db.write() as session:
            for id in self.lab.connections.values():
                plan = intake.plan(id, "payment", "account", "append", self.facts, self.clock.now())
                intake.enqueue(session, "append", [plan], self.clock.now())

    def turn(self, process: int, doom: int | None = None) -> None:
        """Let the dispatcher of a process look, settle, claim and renew."""
        self._within(process, doom, self.processes[process].dispatcher.round)

    def turn_in_doubt(self, process: int, commits: int) -> None:
        """Let a dispatcher take a turn, and lose the word of a commit: half as many, and on that side of the next."""
        self.lab.db.deaf = True
        try:
            self.turn(process, commits)
        except Unavailable:
            pass
        finally:
            self.lab.db.deaf = False

    def sweep(self, process: int, doom: int | None = None) -> None:
        self._within(process, doom, self.processes[process].sweeper.sweep)

    def prune(self, days: int) -> None:
        """Forget what was settled so many days ago, and events that came before the announcing room forgot them."""
        after: str | None = ""
        while after is not None:
            with self.lab.db.write() as session:
                after = pruning.prune(session, after, self.clock.now() - dt.timedelta(days=days)).after
        with self.lab.db.write() as session:
            inbox.prune(session, before=self.clock.now() - 2 * KEPT)

    def kill(self, process: int, *, noticed: bool = False) -> None:
        """End a process, and start another in its place; `noticed` if it is known that it lives no more."""
        ended = self.processes[process]
        ended.calls.end()
        if noticed:
            self.lab.gone.add(ended.name)
        self.processes[process] = self._start()

    def on_the_wire(self) -> Counter[str]:
        """Return how many calls of each connection are being made, over all processes."""
        asked = [request for process in self.processes for _, request in process.calls.hanging
                 if self.clock.elapsed() < request.until]
        return Counter(self.lab.connections[name] for name, target in self.targets.items()
                       for request in asked if request.target is target)

    def _within(self, process: int, doom: int | None, step: Callable[[], None]) -> bool:
        survived = self._endangered(self.lab.db, doom, step)
        if not survived:
            self.kill(process, noticed=doom is not None and doom % 2 == 1)
        return survived

    def _endangered(self, db: Fragile, doom: int | None, step: Callable[[], None]) -> bool:
        db.doom = doom
        try:
            step()
        except Killed:
            return False
        finally:
            db.doom = None
        return True

    # --- people -----------------------------------------------------------------------------------------------------

    def pause(self, name: str) -> None:
        with self.lab.db.write() as session:
            connections.pause(session, {"id": self.lab.connections[name], "reason": "maintenance"}, by=ADMIN)

    def hold(self, name: str, process: int, *, refused: bool) -> None:
        """Pause while a process makes way for it and works; or be refused."""
        id, dispatcher = self.lab.connections[name], self.processes[process].dispatcher
        dispatcher.make_way(id)
        dispatcher.wake([id])
        self.turn(process)
        if not refused:
            self.pause(name)
        dispatcher.go_on(id)

    def resume(self, name: str) -> None:
        with self.lab.db.write() as session:
            connections.resume(session, {"id": self.lab.connections[name]}, by=ADMIN)

    def retry_dead(self, mode: str = "current") -> None:
        """Send again whatever is dead and has nothing newer behind it; look first where the hub cannot."""
        with self.lab.db.read() as session:
            wanted = sa.select(Delivery).where(Delivery.state == "dead")
            dead = session.scalars(wanted.order_by(Delivery.id)).all()
        for one in dead:
            if not self._cleared(one):
                continue
            try:
                with self.lab.db.write() as session:
                    replays.retry(session, {"id": one.id, "payload": mode}, self.clock.now(), by=ADMIN)
            except Conflict:
                continue

    def _cleared(self, dead: Delivery) -> bool:
        """Take away what a call may have left at a target that cannot be asked, once no more can come of that call."""
        target = self.targets["sim_blind"]
        doubted = dead.error_class == "unresolvable" or dead.op == "delete"
        if dead.connection_id != self.lab.connections.get("sim_blind") or not doubted:
            return True
        assert dead.settled_at is not None
        if self.clock.now() <= dead.settled_at + dt.timedelta(seconds=COMMITS_WITHIN_S):
            return False
        with self.lab.db.read() as session:
            bound = session.scalar(sa.select(Binding.external_id).where(
                Binding.connection_id == dead.connection_id, Binding.entity == dead.entity,
                Binding.local_id == dead.local_id))
        for there in target.of(dead.entity, dead.local_id) if bound is None else ():
            target.delete(there)
        return True

    def vanish(self, name: str, entity: str, id: str) -> None:
        """Let people delete a record at a target."""
        for there in self.targets[name].of(entity, id):
            self.targets[name].delete(there)
            self.lost.add((name, entity, id))
