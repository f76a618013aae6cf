"""The engine's invariants, read past the engine: from the tables as they stand, and as they stood one step before.

Each law is a function that yields what breaks it. The numbers are those of `test_invariants.py`.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from services.integrations.domain.breaker import IN_A_ROW, IN_A_ROW_OVER_S, RAMP
from services.integrations.domain.deliveries import IN_FLIGHT, OPEN, TERMINAL, WAITING

Rows: TypeAlias = dict[Any, sqlite3.Row]
READ = {
    "delivery": "SELECT * FROM delivery",
    "attempt": "SELECT delivery_id, n, action, ended_at, outcome, error_class FROM attempt",
    "binding": "SELECT connection_id, entity, local_id, external_id, acked_version FROM binding",
    "connection": "SELECT id, desired_state, throttled_until, breaker_open_until, breaker_step, consecutive_failures,"
                  " first_failure_at, max_in_flight FROM connection",
    "ledger": "SELECT * FROM ledger",
}
KEYS = {"delivery": ("id",), "attempt": ("delivery_id", "n"), "binding": ("connection_id", "entity", "local_id"),
        "connection": ("id",), "ledger": ("connection_id",)}


@dataclass(frozen=True)
class Tables:
    """What stands in the tables at one moment; `now` as the database writes it."""

    now: str
    delivery: Rows = field(default_factory=dict)
    attempt: Rows = field(default_factory=dict)
    binding: Rows = field(default_factory=dict)
    connection: Rows = field(default_factory=dict)
    ledger: Rows = field(default_factory=dict)

    @classmethod
    def read(cls, database: sqlite3.Connection, now: str) -> Tables:
        cursor = database.cursor()
        cursor.row_factory = sqlite3.Row
        return cls(now, **{
            name: {tuple(row[key] for key in KEYS[name]) if len(KEYS[name]) > 1 else row[KEYS[name][0]]: row
                   for row in cursor.execute(text)} for name, text in READ.items()})

    def moved(self, before: Tables) -> Iterator[tuple[sqlite3.Row, sqlite3.Row]]:
        """Deliveries as they were and are, where they have changed."""
        for id, row in self.delivery.items():
            old = before.delivery.get(id)
            if old is not None and tuple(old) != tuple(row):
                yield old, row


Law: TypeAlias = Callable[[Tables, Tables], Iterator[str]]


def lane(row: sqlite3.Row) -> tuple[str, str, str]:
    return row["connection_id"], row["entity"], row["local_id"]


def one_in_flight(before: Tables, now: Tables) -> Iterator[str]:
    """1: at most one delivery of a lane is leased or in doubt."""
    flying = Counter(lane(row) for row in now.delivery.values() if row["state"] in IN_FLIGHT)
    yield from (f"{one} has {many} in flight" for one, many in flying.items() if many > 1)


def one_waits_and_inherits(before: Tables, now: Tables) -> Iterator[str]:
    """2: at most one upsert of a lane waits; what replaces it goes on with its back-off; a fact is never replaced."""
    waiting = Counter(lane(row) for row in now.delivery.values() if row["state"] in WAITING and row["op"] == "upsert")
    yield from (f"{one} has {many} upserts waiting" for one, many in waiting.items() if many > 1)
    for old, row in now.moved(before):
        if row["state"] != "superseded" or old["state"] == "superseded":
            continue
        heir = now.delivery.get(row["superseded_by"])
        if row["op"] == "append" or heir is None:
            yield f"{row['id']}, a {row['op']}, was superseded by {row['superseded_by']}"
        elif heir["op"] == "upsert" and heir["attempts"] < row["attempts"]:
            yield f"{heir['id']} forgot the {row['attempts']} attempts of {row['id']}"
        elif heir["op"] == "upsert" and old["state"] in WAITING and heir["due_at"] < old["due_at"]:
            yield f"{heir['id']} is due before {old['id']} was"


def acknowledged_rises(before: Tables, now: Tables) -> Iterator[str]:
    """3: the version that a record there was brought only rises."""
    for key, row in now.binding.items():
        old = before.binding.get(key)
        if old is not None and old["external_id"] == row["external_id"] is not None \
                and row["acked_version"] < old["acked_version"]:
            yield f"{key} fell from {old['acked_version']} to {row['acked_version']}"


def only_the_holder_writes(before: Tables, now: Tables) -> Iterator[str]:
    """4: an attempt is open exactly as long as the lease that it was made under is held, and is closed once."""
    for key, row in now.attempt.items():
        held = now.delivery[key[0]]
        if row["ended_at"] is None and (held["lease_until"] is None or held["fence"] != row["n"]):
            yield f"attempt {row['n']} of {key[0]} is open, and its lease is not held"
        old = before.attempt.get(key)
        if old is not None and old["ended_at"] is not None and tuple(old) != tuple(row):
            yield f"attempt {row['n']} of {key[0]} was closed twice"
    for old, row in now.moved(before):
        if row["fence"] < old["fence"]:
            yield f"the fence of {row['id']} fell"


def a_call_leaves_a_doubt(before: Tables, now: Tables) -> Iterator[str]:
    """5: a call that nobody has the answer of leaves its delivery in doubt, or with a person; it never simply waits."""
    for old, row in now.moved(before):
        made = now.attempt.get((row["id"], old["fence"]))
        if old["state"] != "leased" or made is None or made["ended_at"] is None:
            continue
        unknown = made["outcome"] == "lost" or made["error_class"] == "ambiguous"
        if unknown and row["state"] not in ("in_doubt", "dead"):
            yield f"{row['id']} went to {row['state']}, and nobody knows whether its call arrived"


def a_doubt_ends_by_a_look(before: Tables, now: Tables) -> Iterator[str]:
    """6: a delivery in doubt goes on only after the target was asked."""
    for old, row in now.moved(before):
        if old["state"] != "in_doubt" or row["state"] == "in_doubt":
            continue
        look = now.attempt.get((row["id"], old["fence"]))
        if look is None or look["action"] != "find" or look["outcome"] not in ("found", "absent", "unanswered"):
            yield f"{row['id']} went from in_doubt to {row['state']} without a look"
        elif look["outcome"] == "unanswered" and row["state"] != "dead":
            yield f"{row['id']} went from in_doubt to {row['state']}, and the target had not answered"


def the_settled_never_change(before: Tables, now: Tables) -> Iterator[str]:
    """7: a settled row never changes."""
    yield from (f"{row['id']} was {old['state']} and has changed" for old, row in now.moved(before)
                if old["state"] in TERMINAL)


def waiting_costs_nothing(before: Tables, now: Tables) -> Iterator[str]:
    """8: nobody is called while paused, open or throttled, and waiting uses no attempt."""
    for key in now.attempt.keys() - before.attempt.keys():
        connection = now.connection[now.delivery[key[0]]["connection_id"]]
        if connection["desired_state"] != "active" or connection["breaker_open_until"] is not None \
                or (connection["throttled_until"] or "") > now.now:
            yield f"{key[0]} was claimed although its connection stands still"
    for old, row in now.moved(before):
        waited = old["state"] in WAITING and row["state"] in WAITING
        throttled = old["state"] == "leased" and row["state"] == "retry_wait" and row["error_class"] == "rate_limited"
        heir = any(one["superseded_by"] == row["id"] for one in now.delivery.values())
        if (waited or throttled) and not heir and row["attempts"] != old["attempts"]:
            yield f"{row['id']} used an attempt for waiting"


def what_is_down_is_left_alone(before: Tables, now: Tables) -> Iterator[str]:
    """8: the fifth failure in a row, once they span ten seconds, opens the breaker."""
    for id, row in now.connection.items():
        failures = row["consecutive_failures"]
        closed = row["breaker_open_until"] is None and row["breaker_step"] is None
        if closed and failures >= IN_A_ROW and failures > before.connection[id]["consecutive_failures"] \
                and _seconds(row["first_failure_at"], now.now) >= IN_A_ROW_OVER_S:
            yield f"{id} has failed {failures} times in a row, and is called on"


def half_open_lets_few_through(before: Tables, now: Tables) -> Iterator[str]:
    """8: of a connection that is half open no more is claimed than its ramp allows."""
    ramps = {id: RAMP[row["breaker_step"]] for id, row in now.connection.items() if row["breaker_step"] is not None}
    if not ramps:
        return
    held = _slots(now)
    claimed = {now.delivery[key[0]]["connection_id"] for key in now.attempt.keys() - before.attempt.keys()}
    yield from (f"{id} is half open, and has {held[id]} slots in use of {ramps[id]}"
                for id in claimed & ramps.keys() if held[id] > ramps[id])


def _seconds(since: str, until: str) -> float:
    return (dt.datetime.fromisoformat(until) - dt.datetime.fromisoformat(since)).total_seconds()


def the_ledger_adds_up(before: Tables, now: Tables) -> Iterator[str]:
    """9: accepted = settled + open; both sides counted, and each row that is new or gone moves them alike."""
    rows = Counter(row["connection_id"] for row in now.delivery.values())
    for id, row in now.ledger.items():
        counted = rows[id] + sum(row[state] for state in TERMINAL)
        if row["accepted"] != counted:
            yield f"{row['accepted']} were accepted, {counted} are known"


def an_event_has_one_effect(before: Tables, now: Tables) -> Iterator[str]:
    """9: what a connection accepts of an event it accepts once, however often the event comes."""
    told = Counter((row["source_event_id"], row["connection_id"]) for row in now.delivery.values()
                   if row["source_event_id"] is not None)
    yield from (f"event {event} was accepted {many} times" for (event, _), many in told.items() if many > 1)


def nothing_unknown(before: Tables, now: Tables) -> Iterator[str]:
    """10: what is not settled is in a state that somebody looks for, and what is on the wire has an end."""
    for row in now.delivery.values():
        if row["state"] not in (*OPEN, *TERMINAL):
            yield f"{row['id']} is {row['state']!r}"
        if row["state"] == "leased" and row["lease_until"] is None:
            yield f"{row['id']} is leased for ever"


def slots_are_not_overbooked(before: Tables, now: Tables) -> Iterator[str]:
    """A connection is leased no more slots than it bears calls, and what is ahead is leased."""
    held = _slots(now)
    yield from (f"{id} has {held[id]} slots in use, of {row['max_in_flight']}" for id, row in now.connection.items()
                if held[id] > row["max_in_flight"])
    yield from (f"{row['id']} is ahead, and not leased" for row in now.delivery.values()
                if row["ahead"] and row["state"] != "leased")


def _slots(tables: Tables) -> Counter[str]:
    return Counter(row["connection_id"] for row in tables.delivery.values()
                   if row["lease_until"] is not None and not row["ahead"])


def calls_without_a_slot(now: Tables, on_the_wire: Mapping[str, int]) -> Iterator[str]:
    """Yield the connections with more calls on the wire, over all processes, than leases that count as one."""
    held = _slots(now)
    yield from (f"{id} has {calls} calls on the wire, and {held[id]} slots in use"
                for id, calls in on_the_wire.items() if calls > held[id])


LAWS: tuple[Law, ...] = (
    one_in_flight, one_waits_and_inherits, acknowledged_rises, only_the_holder_writes, a_call_leaves_a_doubt,
    a_doubt_ends_by_a_look, the_settled_never_change, waiting_costs_nothing,
    what_is_down_is_left_alone, half_open_lets_few_through, the_ledger_adds_up, an_event_has_one_effect,
    nothing_unknown, slots_are_not_overbooked)


class LawBroken(AssertionError):
    """Something that must never be, is."""


class Watch:
    """Compares the tables after each step with those before it."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.tables = Tables.read(database, "")
        self._changes = database.total_changes
        self.broken = False

    def is_open(self, delivery_id: str, n: int) -> bool:
        """Tell whether an attempt is open."""
        asked = "SELECT 1 FROM attempt WHERE delivery_id = ? AND n = ? AND ended_at IS NULL"
        return self._database.execute(asked, (delivery_id, n)).fetchone() is not None

    def look(self, now: str, on_the_wire: Mapping[str, int] | None = None) -> Tables:
        """Return the tables.

        Raises:
            LawBroken: naming each law and what broke it.
        """
        if self._database.total_changes != self._changes:
            self._changes = self._database.total_changes
            tables = Tables.read(self._database, now)
            self.require(f"{law.__name__}: {what}" for law in LAWS for what in law(self.tables, tables))
            self.tables = tables
        self.require(calls_without_a_slot(self.tables, on_the_wire or {}))
        return self.tables

    def require(self, breaches: Iterable[str]) -> None:
        """Raise if there are any.

        Raises:
            LawBroken: naming each.
        """
        if found := list(breaches):
            self.broken = True
            raise LawBroken("; ".join(found))
