"""What a target tells of a record: our own echo, old news, or a change that its owner must hear of.

A change and a write of ours may cross. Told while our write is on its way, a change could be that write, or what the
write has just replaced; nobody can know. Such a change is held: it is read again once the write is settled.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis import outbox
from chassis.outbox import Announcement
from chassis.sealed import keyring_of
from contracts.integrations import EXTERNAL_CHANGED
from services.integrations.domain import merging
from services.integrations.models import Connection, OwnWrite, Sighting
from services.integrations.operations import disputes, snapshots
from services.integrations.operations.announcements import US
from services.integrations.operations.bulk import Upsert, delete_some, excluded
from services.integrations.queries import lanes, sightings
from services.integrations.queries.statements import table_of
from services.integrations.routing import ACCOUNT, PUSHED

_SIGHTING, _OWN_WRITE = table_of(Sighting), table_of(OwnWrite)
_SEEN = Upsert(_SIGHTING, changing={
    name: excluded(_SIGHTING.c[name])
    for name in ("remote_version", "version", "seen_at", "changed_at", "state_sealed")})
_WRITTEN = Upsert(_SIGHTING, changing={
    name: excluded(_SIGHTING.c[name]) for name in ("remote_version", "state_sealed")})
_OURS = Upsert(_OWN_WRITE, changing={"at": excluded(_OWN_WRITE.c.at)})
GONE = ""
"""The version of a record that we have deleted, and of any deletion that is held."""
_DELETED = "-"
"""What the version of a sighting begins with that tells of a deletion."""
ECHO_S = 86_400.0
"""How long our own writes are remembered."""
TOLD_AT_FIRST = ("consent",)
"""Fields that are told even of what is only remembered: a refusal counts from whatever time it is."""
HELD_MOST_S = 600.0
"""After so long a change is told although a write of ours is still in doubt: nothing may stand still for ever."""

_NUMBERED_SINCE = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
"""Seconds from here fit into the 32 bits of a version until 2088."""

Place = tuple[str, str, str]
"""(connection_id, entity, external_id)."""


@dataclass(frozen=True, kw_only=True)
class News:
    """One changed record, as the adapter tells it."""

    external_id: str
    version: str
    record: Mapping[str, Any]
    deleted: bool = False
    changed_at: dt.datetime | None = None
    account: str | None = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What came of a page: how many changes were announced, and those that have to be read again."""

    announced: int = 0
    held: tuple[News, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a page was come by.

    Attributes:
        since: when the reading began; what we wrote after that may not be in it yet.
        now: when it was in.
        current: whether the records are as they stand at the target. A message of a webhook may be late.
        first: whether the hub only wrote there until now; what is bound is remembered as it stands, and not told.
        patience: (connection_id, entity, external_id, version) → when a change was held first; the reader keeps it.
    """

    since: dt.datetime
    now: dt.datetime
    current: bool = True
    first: bool = False
    patience: MutableMapping[tuple[str, str, str, str], dt.datetime] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A record as it stands at the target after a call of ours; `version` is `GONE` if it was deleted."""

    place: Place
    version: str
    body: Mapping[str, Any] | None = None


def tell(session: Session, connection_id: str, entity: str, news: Sequence[News], reading: Reading) -> Told:
    """Announce what is new in a page and remember it; what crosses a write of ours is held.

    Entities that the hub never writes cost one look at the sightings, others four more: for the whole page. Where both
    sides may change a record, what waits to be sent is looked at too.
    """
    latest = {one.external_id: one for one in news}
    if not latest:
        return Told()
    known = sightings.of(session, connection_id, entity, list(latest))
    fresh = [one for one in latest.values() if not _is_old(one, known.get(one.external_id), reading)]
    bound: dict[Place, str] = {}
    crossing: set[str] = set()
    if entity in PUSHED and fresh:
        ours = sightings.own_writes(session, connection_id, entity, [one.external_id for one in fresh])
        fresh = [one for one in fresh if not _is_echo(one, ours, known.get(one.external_id), reading)]
        bound = lanes.bound_elsewhere(session, _named(connection_id, entity, fresh))
        crossing = _crossing(session, connection_id, entity, fresh, ours, bound, reading)
    held = _held(connection_id, entity, fresh, known, crossing, reading)
    changes = [_Change.of(session, (connection_id, entity, one.external_id), one, known.get(one.external_id), bound,
                          reading) for one in fresh if one not in held]
    changes = _without_kept_back(session, connection_id, entity, changes, reading)
    _remember(session, changes, reading.now)
    announced = [change for change in changes if change.is_news]
    _announce(session, connection_id, announced, reading.now)
    return Told(announced=len(announced), held=tuple(held))


def unordered(session: Session, connection_id: str, entity: str, news: Sequence[News]) -> list[News]:
    """Return what of a message may be older than what is known of its record, with no two times to tell by."""
    known = sightings.of(session, connection_id, entity, sorted({one.external_id for one in news}))
    return [one for one in news if (seen := known.get(one.external_id)) is not None
            and seen.remote_version != _version(one) and (one.changed_at is None or seen.changed_at is None)]


def _is_old(one: News, known: Any, reading: Reading) -> bool:
    if known is None:
        return False
    late = (not reading.current and one.changed_at is not None and known.changed_at is not None
            and one.changed_at < known.changed_at)
    # A target may name a deletion anew at each reading: what is gone and was told so stays gone.
    gone = one.deleted and known.remote_version.startswith(_DELETED)
    return gone or bool(known.remote_version == _version(one)) or late


def _version(one: News) -> str:
    """Return what is remembered of a change; a deletion and a record may carry the same version."""
    return f"{_DELETED}{one.version}"[:200] if one.deleted else one.version


def _is_echo(one: News, ours: Mapping[str, Mapping[str, dt.datetime]], known: Any, reading: Reading) -> bool:
    """Tell whether a change is our own write.

    A target whose versions come from the content may show one again when a person puts back what we wrote. So in a
    reading of what stands there now, only the newest write from before it is an echo, and only if no change was told
    from there since. What we wrote after the reading began may not be in it yet.
    """
    writes = ours.get(one.external_id, {})
    at = writes.get(GONE if one.deleted else one.version)
    if at is None:
        return False
    if one.deleted:
        return at == max(writes.values())
    newest = max((when for when in writes.values() if when <= reading.since), default=at)
    return not reading.current or (at >= newest and (known is None or at >= known.seen_at))


def _named(connection_id: str, entity: str, news: Iterable[News]) -> list[Place]:
    """Return all that has to be looked up among the bindings: the records, and the accounts they lie in."""
    accounts = {one.account for one in news if one.account}
    return [*((connection_id, entity, one.external_id) for one in news),
            *((connection_id, ACCOUNT, account) for account in sorted(accounts))]


def _crossing(session: Session, connection_id: str, entity: str, news: Sequence[News],
              ours: Mapping[str, Mapping[str, dt.datetime]], bound: Mapping[Place, str], reading: Reading) -> set[str]:
    """Return the ids of those that a write of ours crosses."""
    lane_of = {one.external_id: (connection_id, entity, bound[connection_id, entity, one.external_id])
               for one in news if (connection_id, entity, one.external_id) in bound}
    flying = lanes.in_flight(session, lane_of.values())
    unbound = [one for one in news if one.external_id not in lane_of and not one.deleted]
    # A record that is being made there has no id of ours yet: what looks new may be it.
    making = lanes.creations(session, connection_id, entity) if unbound else []
    making_since = {one.external_id: reading.patience.get(_held_as(connection_id, entity, one), reading.now)
                    for one in unbound}
    return {id for id, lane in lane_of.items()
            if lane in flying or any(at > reading.since for at in ours.get(id, {}).values())} | {
        id for id, since in making_since.items() if any(begun <= since for begun in making)}


def _held(connection_id: str, entity: str, news: Sequence[News], known: Mapping[str, Any], crossing: Collection[str],
          reading: Reading) -> list[News]:
    """Return those that cross a write of ours, or something newer that was taken in after their reading began."""
    held = []
    for one in news:
        key, seen = _held_as(connection_id, entity, one), known.get(one.external_id)
        since = reading.patience.get(key, reading.now)
        # Seen in a time that is still far off, it was by a clock that has been set back since, not meanwhile.
        newer = seen is not None and seen.seen_at > reading.since and (
            seen.seen_at - reading.now).total_seconds() < HELD_MOST_S
        crosses = one.external_id in crossing or newer
        if crosses and (reading.now - since).total_seconds() < HELD_MOST_S:
            reading.patience[key] = since
            held.append(one)
        else:
            reading.patience.pop(key, None)
    return held


def _held_as(connection_id: str, entity: str, one: News) -> tuple[str, str, str, str]:
    """Return the name under which a reader's patience with a change is kept."""
    return connection_id, entity, one.external_id, GONE if one.deleted else one.version


# --- a change -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Change:
    """A change that is not known yet; `keys` and `fields` are those of `ExternalChange.keys` and `changed`.

    `number` is its own, `before` that of the last change that was announced of the record.
    """

    place: Place
    news: News
    number: int
    before: int
    keys: Mapping[str, str]
    fields: list[str] | None

    @classmethod
    def of(cls, session: Session, place: Place, one: News, known: Any, bound: Mapping[Place, str],
           reading: Reading) -> _Change:
        seen = snapshots.opened(keyring_of(session), "seen", place, known.state_sealed) if known else None
        user_id = bound.get((place[0], ACCOUNT, one.account)) if one.account else None
        keys = {"id": bound.get(place), "account_user_id": user_id}
        fields = None if one.deleted else merging.changed(one.record, seen)
        if reading.first and place in bound:
            fields = [name for name in TOLD_AT_FIRST if name in one.record and not one.deleted]
        return cls(place=place, news=one, number=_next_number(known, reading.now), before=known.version if known else 0,
                   keys={name: value for name, value in keys.items() if value}, fields=fields)

    def without(self, names: Collection[str]) -> _Change:
        """Return the change without some of its fields."""
        if not names or self.news.deleted:
            return self
        return replace(self, fields=sorted((set(self.news.record) if self.fields is None else set(self.fields))
                                           - set(names)))

    @property
    def is_news(self) -> bool:
        """Whether anything that the hub knows of differs."""
        return self.fields is None or bool(self.fields)

    @property
    def last_told(self) -> int:
        """The number of the last change that was announced of this record."""
        return self.number if self.is_news else self.before


def _without_kept_back(session: Session, connection_id: str, entity: str, changes: Sequence[_Change],
                       reading: Reading) -> list[_Change]:
    """Return the changes without the fields that are not theirs to change now."""
    told = {change.keys["id"]: change.news for change in changes if "id" in change.keys and not change.news.deleted}
    kept = {} if reading.first else disputes.kept_back(session, connection_id, entity, told, reading.now)
    return [change.without(kept.get(change.keys.get("id", ""), set())) for change in changes]


def _next_number(known: Any, now: dt.datetime) -> int:
    """Return the number of the next change of a record: above the last, whatever the clock says.

    It is not below the seconds of the time either: after an older database was restored the last is not known, and
    listeners drop what is not above the number that they know.
    """
    return max((known.version if known else 0) + 1, int((now - _NUMBERED_SINCE).total_seconds()))


def _remember(session: Session, changes: Sequence[_Change], now: dt.datetime) -> None:
    keyring = keyring_of(session)
    _SEEN.put(session, [
        {"connection_id": change.place[0], "entity": change.place[1], "external_id": change.place[2],
         "remote_version": _version(change.news), "version": change.last_told, "seen_at": now,
         "changed_at": change.news.changed_at,
         "state_sealed": snapshots.seal(keyring, "seen", change.place, change.news.record)
         if change.place[1] in PUSHED and not change.news.deleted else None}
        for change in changes])


def _announce(session: Session, connection_id: str, changes: Sequence[_Change], now: dt.datetime) -> None:
    if not changes:
        return
    name = session.execute(sa.select(Connection.name).where(Connection.id == connection_id)).scalar_one()
    outbox.record_all(session, EXTERNAL_CHANGED, by=US, origin=connection_id, announcements=[
        Announcement(change.news.external_id, change.number, {
            "connection_id": connection_id, "connection": name, "entity": change.place[1],
            "external_id": change.news.external_id, "keys": dict(change.keys), "record": dict(change.news.record),
            "changed": change.fields, "deleted": change.news.deleted, "remote_version": change.news.version,
            "seen_at": now}) for change in changes])


def tell_again(session: Session, place: Place, one: News, fields: list[str] | None, local_id: str | None,
               now: dt.datetime) -> None:
    """Announce a record as it stands at the target, whether or not it was told before.

    Args:
        session: the transaction.
        place: where it stands.
        one: how it stands there.
        fields: what of it the owner is to take over; None for all.
        local_id: our record, if it is bound.
        now: when it was read.
    """
    known = sightings.of(session, place[0], place[1], [place[2]]).get(place[2])
    change = _Change(place=place, news=one, number=_next_number(known, now), before=known.version if known else 0,
                     keys={"id": local_id} if local_id else {}, fields=fields)
    _remember(session, [change], now)
    _announce(session, place[0], [change], now)


def tell_seen(session: Session, place: Place, local_id: str, now: dt.datetime) -> None:
    """Announce a record as it was last seen there, now that it is known which of ours it is."""
    known = sightings.of(session, place[0], place[1], [place[2]]).get(place[2])
    seen = snapshots.opened(keyring_of(session), "seen", place, known.state_sealed) if known else None
    if known is not None and seen is not None:
        one = News(external_id=place[2], version=known.remote_version, record=seen, changed_at=known.changed_at)
        tell_again(session, place, one, None, local_id, now)


# --- what we wrote ------------------------------------------------------------------------------------------------


def wrote(session: Session, written: Sequence[Written], now: dt.datetime) -> None:
    """Remember what we wrote, so that it is known again when the target reports it."""
    if not written:
        return
    keyring = keyring_of(session)
    named = [(one, dict(zip(("connection_id", "entity", "external_id"), one.place, strict=True))) for one in written]
    _OURS.put(session, [row | {"remote_version": one.version, "at": now} for one, row in named])
    _WRITTEN.put(session, [
        row | {"remote_version": one.version, "version": 0, "seen_at": now, "changed_at": None,
               "state_sealed": snapshots.seal(keyring, "seen", one.place, one.body)}
        for one, row in named if one.version != GONE])


def forget(session: Session, now: dt.datetime) -> bool:
    """Forget some own writes that are older than any reading can be; return whether there may be more."""
    return delete_some(session, table_of(OwnWrite), OwnWrite.at < now - dt.timedelta(seconds=ECHO_S))
