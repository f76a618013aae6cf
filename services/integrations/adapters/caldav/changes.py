"""What people did in their calendars, told once: sync-collection (RFC 6578) over every calendar below the home.

A calendar says that a resource is gone, never that it went to another calendar. So what is gone waits until every
calendar has been read up to the same moment: what turned up elsewhere has moved, the rest is deleted. For this, and
because a server that has forgotten a token tells no deletions at all, the checkpoint keeps which tasks were seen where.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from hub_adapter.failure import AdapterError
from hub_adapter.port import Change, Page
from services.integrations.adapters.caldav.dav import Calendar, Closed, Dav, Difference, NoCalendar, TokenExpired
from services.integrations.adapters.caldav.mapping import resource_name, stamp
from services.integrations.adapters.caldav.tasks import read

ENTITY = "task"
ROUNDS = 3
"""How often one page goes round calendars that people keep changing, before the rest waits for the next poll."""
ENOUGH_S = 6.0
"""With less time left a page ends where it is."""


@dataclass
class Seen:
    """One calendar, as far as it has been read. `uids`: name of a resource → UID of the task in it."""

    token: str = ""
    uids: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Seen:
        return cls(told["token"], {resource_name(uid): uid for uid in told["uids"]} | told["named"])

    def told(self) -> dict[str, Any]:
        """As JSON. Most resources are named after their UID; only the others need both."""
        named = {name: uid for name, uid in self.uids.items() if name != resource_name(uid)}
        return {"token": self.token, "uids": [uid for name, uid in self.uids.items() if name not in named]} | {
            "named": named
        }


@dataclass
class Checkpoint:
    """How far the polls have come.

    Args:
        gone: UID → account of what was seen to go and may turn up in another calendar.
        walk: the calendar whose changes fill more than a page: (account, token from before the walk, last name told).
    """

    calendars: dict[str, Seen] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    walk: tuple[str, str, str] | None = None

    @classmethod
    def read(cls, text: str) -> Checkpoint:
        try:
            known = json.loads(text)
            walk = known["walk"]
            return cls(
                {account: Seen.of(told) for account, told in known["calendars"].items()},
                dict(known["gone"]),
                (walk[0], walk[1], walk[2]) if walk else None,
            )
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise AdapterError(f"not a checkpoint of this adapter: {text[:100]!r}") from None

    def text(self) -> str:
        calendars = {account: seen.told() for account, seen in self.calendars.items()}
        told = {"calendars": calendars, "gone": self.gone, "walk": self.walk}
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))

    def forget(self, account: str) -> None:
        """A calendar is gone, and with it all that lay in it."""
        self.gone |= dict.fromkeys(self.calendars.pop(account).uids.values(), account)
        if self.walk and self.walk[0] == account:
            self.walk = None


def changes(dav: Dav, checkpoint: str | None, limit: int) -> Page[Change]:
    """The next changed tasks. A poll in which nothing happened asks one question, whatever the number of calendars."""
    point = Checkpoint.read(checkpoint) if checkpoint else Checkpoint()
    items: list[Change] = []
    room, read_now = max(limit, 1), set[str]()
    closed = set[str]()
    for _ in range(ROUNDS):
        calendars = [calendar for calendar in dav.calendars() if calendar.account not in closed]
        _forget_vanished(dav, point, calendars)
        behind = [each for each in calendars if _is_behind(each, point, read_now)]
        if not behind:
            items += _deletions(dav, point, room)
            return Page(items=items, next_cursor=point.text(), complete=not point.gone)
        if point.walk and point.walk[0] not in {calendar.account for calendar in behind}:
            point.walk = None  # it cannot go on now; a walk that begins again loses nothing
        for calendar in sorted(behind, key=lambda each: point.walk is None or point.walk[0] != each.account):
            if room <= 0 or dav.remaining_s < ENOUGH_S:
                return Page(items=items, next_cursor=point.text(), complete=False)
            try:
                told, used = _walked(dav, point, calendar.account, room)
            except Closed:
                closed.add(calendar.account)
                point.walk = None
                continue
            items, room = items + told, room - used
            if point.walk is None:
                read_now.add(calendar.account)
    return Page(items=items, next_cursor=point.text(), complete=room > 0)


def _is_behind(calendar: Calendar, point: Checkpoint, read_now: Set[str]) -> bool:
    """Whether a calendar has something to tell. One whose token is not shown has, until it was read in this page."""
    seen = point.calendars.get(calendar.account)
    if seen is None or (point.walk and point.walk[0] == calendar.account):
        return True
    return calendar.account not in read_now if calendar.token is None else calendar.token != seen.token


def _forget_vanished(dav: Dav, point: Checkpoint, calendars: list[Calendar]) -> None:
    for account in point.calendars.keys() - {calendar.account for calendar in calendars}:
        # One that is closed to us vanishes from the home as well, and its tasks are not deleted for that.
        if not dav.has_calendar(account):
            point.forget(account)


def _walked(dav: Dav, point: Checkpoint, account: str, room: int) -> tuple[list[Change], int]:
    """Changes of one calendar, and how many resources were looked at for them, `room` at most."""
    seen = point.calendars.setdefault(account, Seen())
    try:
        difference = _difference(dav, account, seen)
    except NoCalendar:
        point.forget(account)
        return [], 0
    _, token, after = point.walk or (account, difference.token, "")
    names = sorted(name for name in difference.there | difference.gone if name > after)
    batch = names[:room]
    told = []
    for item in dav.items(account, [name for name in batch if name in difference.there]):
        if (standing := read(item)) is None:
            continue
        seen.uids[item.name] = standing.uid
        told.append(Change(entity=ENTITY, external_id=standing.uid, op="upsert", body=standing.body(dav),
                           version=standing.version, changed_at=standing.changed_at(dav)))
    for name in batch:
        if name in difference.gone and (uid := seen.uids.pop(name, None)) is not None:
            point.gone[uid] = account
    if len(batch) < len(names):
        # The token from before the walk: what changes behind its back is told again from there.
        point.walk = (account, token, batch[-1])
    else:
        point.walk, seen.token = None, token
    return told, len(batch)


def _difference(dav: Dav, account: str, seen: Seen) -> Difference:
    """What changed since the calendar was read last; all of it when the server has forgotten when that was."""
    try:
        return dav.difference(account, seen.token)
    except TokenExpired:
        whole = dav.difference(account, "")
        gone = frozenset(seen.uids.keys() - whole.there)
        return Difference(token=whole.token, there=whole.there, gone=gone)


def _deletions(dav: Dav, point: Checkpoint, room: int) -> list[Change]:
    """What is in no calendar any more, now that all have been read up to the same moment."""
    alive = {uid for seen in point.calendars.values() for uid in seen.uids.values()}
    for uid in point.gone.keys() & alive:
        del point.gone[uid]
    now = dav.clock()
    told = []
    for uid, account in sorted(point.gone.items())[:room]:
        del point.gone[uid]
        version = f"{account}/gone {stamp(now)}"
        told.append(
            Change(
                entity=ENTITY, external_id=uid, op="delete", body={"account": account}, version=version, changed_at=now
            )
        )
    return told
