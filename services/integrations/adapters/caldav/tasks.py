"""A task is one resource, in the calendar of the account that it belongs to.

Its UID comes from our id, so a second creation meets the first. Its version is its account and its ETag: an ETag tells
what stands there and nothing of where, and moving a task from one person to another keeps it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from icalendar import Component

from hub_adapter.failure import AlreadyExists, DependencyMissing, Invalid, NotFound, VersionConflict
from hub_adapter.port import Page, Remote, Write, Written
from services.integrations.adapters.caldav import mapping
from services.integrations.adapters.caldav.dav import Dav, Item, NoCalendar, UidTaken
from services.integrations.adapters.caldav.mapping import Task, Unreadable

LONGEST_VERSION = 200
_PLAIN_NAME = re.compile(r"[\w.@{}-]+")
_ACCOUNT = re.compile(r"[\w@+-][\w@+. -]{0,99}")


@dataclass(frozen=True)
class Standing:
    """A task as it stands there."""

    item: Item
    calendar: Component = field(repr=False)

    @property
    def uid(self) -> str:
        return mapping.uid_in(self.calendar)

    @property
    def version(self) -> str:
        return version_of(self.item.account, self.item.etag)

    def body(self, dav: Dav) -> dict[str, Any]:
        """The canonical record: its fields, the account it lies in, and our id where the hub has made it."""
        todo = mapping.task_in(self.calendar)
        body = mapping.read_task(todo, dav.settings.zone).body() | {"account": self.item.account}
        our_id = mapping.our_id(todo)
        return body | ({"id": our_id} if our_id else {})

    def changed_at(self, dav: Dav) -> datetime | None:
        return mapping.changed_at(mapping.task_in(self.calendar), dav.settings.zone)

    def remote(self, dav: Dav) -> Remote:
        return Remote(external_id=self.uid, body=self.body(dav), version=self.version, changed_at=self.changed_at(dav))


def version_of(account: str, etag: str) -> str:
    """The version of a task; short enough to be kept, whatever the server's ETags are like."""
    version = f"{account}/{etag}"
    if len(version) <= LONGEST_VERSION:
        return version
    return f"{account[:100]}/{hashlib.sha256(version.encode()).hexdigest()}"


def read(item: Item) -> Standing | None:
    """The task in a resource; None when it holds none (an event, a note) or cannot be read."""
    try:
        standing = Standing(item, mapping.parse(item.data))
    except Unreadable:
        return None
    return standing if len(standing.uid) <= mapping.LONGEST_UID else None


# --- finding ---------------------------------------------------------------------------------------------------------


def get(dav: Dav, external_id: str) -> Remote | None:
    standing = _located(dav, external_id)
    return standing.remote(dav) if standing else None


def find(dav: Dav, keys: Mapping[str, str]) -> list[Remote]:
    """Tasks by "id" (our id). A colleague may have copied one into another calendar: each place is told."""
    if unknown := keys.keys() - {"id"}:
        raise Invalid(f"a task cannot be found by {sorted(unknown)}")
    uid = mapping.uid_of(keys["id"])
    found = (_named(dav, calendar.account, mapping.resource_name(uid), uid) for calendar in dav.calendars())
    return [standing.remote(dav) for standing in found if standing]


def page(dav: Dav, cursor: str | None, limit: int) -> Page[Remote]:
    """Tasks by (account, name of the resource), which stand still while tasks change."""
    account, _, name = (cursor or "/").partition("/")
    found: list[Remote] = []
    room = max(limit, 1)
    for calendar in dav.calendars():
        if calendar.account < account:
            continue
        try:
            names = sorted(dav.difference(calendar.account, "").there)
        except NoCalendar:
            continue
        if calendar.account == account:
            names = [one for one in names if one > name]
        batch = names[:room]
        standing = (read(item) for item in dav.items(calendar.account, batch))
        found += [one.remote(dav) for one in standing if one]
        room -= len(batch)
        if room <= 0:
            return Page(items=found, next_cursor=f"{calendar.account}/{batch[-1]}", complete=False)
    return Page(items=found, next_cursor=None, complete=True)


def _located(dav: Dav, uid: str, hints: tuple[str, ...] = (), *, thorough: bool = False) -> Standing | None:
    """The task with this UID, wherever it lies.

    First by its name in the accounts hinted at, then in all others. Only a task of somebody else's making is looked for
    under other names too (or with `thorough`): our name for ours survives every move, and a server takes a second for
    a query by UID through a thousand tasks.
    """
    name = mapping.resource_name(uid)
    for account in hints:
        if found := _named(dav, account, name, uid):
            return found
    others = [calendar.account for calendar in dav.calendars()]
    for account in others:
        if account not in hints and (found := _named(dav, account, name, uid)):
            return found
    if mapping.is_ours(uid) and not thorough:
        return None
    for account in sorted(others, key=lambda account: account not in hints):
        for item in dav.items_with_uid(account, uid):
            standing = read(item)
            if standing and standing.uid == uid:  # text-match looks for a part (RFC 4791 §9.7.5)
                return standing
    return None


def _named(dav: Dav, account: str, name: str, uid: str) -> Standing | None:
    item = dav.item(account, name)
    standing = read(item) if item else None
    return standing if standing and standing.uid == uid else None


# --- writing ---------------------------------------------------------------------------------------------------------


def write(dav: Dav, cmd: Write) -> Written:
    """Have the task stand in its assignee's calendar as the record says, made once.

    Raises:
        DependencyMissing: the assignee has no account.
        Invalid: the account cannot be one, or the record cannot be a task.
        NotFound: the bound task is gone.
        VersionConflict: somebody changed it since `expected_version`, or this very moment.
    """
    account, wanted = _account(cmd), mapping.wanted_task(cmd.body)
    if cmd.external_id is None and not dav.dry_run:
        if made := _created(dav, cmd, account, wanted):
            return made
        standing = _located(dav, mapping.uid_of(cmd.local_id), (account,), thorough=True)
        if standing is None:
            raise AlreadyExists("the server refuses the task's UID as taken, and does not show who has it")
    else:
        uid = cmd.external_id or mapping.uid_of(cmd.local_id)
        hints = dict.fromkeys((account, (cmd.expected_version or account).partition("/")[0]))
        standing = _located(dav, uid, tuple(hints))
    if dav.dry_run:
        return _rehearsed(dav, cmd, account, wanted, standing)
    if standing is None:
        raise NotFound(f"task {cmd.external_id} is in no calendar any more")
    return _brought(dav, cmd, account, wanted, standing)


def delete(dav: Dav, external_id: str, expected_version: str | None) -> Written:
    """Delete the task; one that is gone is as good.

    Raises:
        VersionConflict: somebody changed it since `expected_version`.
    """
    hints = (expected_version.partition("/")[0],) if expected_version else ()
    standing = _located(dav, external_id, hints)
    if standing is None:
        return Written(external_id=external_id, details={"state": "gone"})
    if expected_version and standing.version != expected_version:
        raise VersionConflict(f"task {external_id} was changed in {standing.item.account}")
    if not dav.dry_run:
        dav.delete(standing.item)
    return Written(external_id=external_id, details={"state": "deleted", "account": standing.item.account})


def _account(cmd: Write) -> str:
    account = cmd.references.get("account")
    if not account:
        raise DependencyMissing("the task's assignee has no calendar account", dependency="account")
    if not _ACCOUNT.fullmatch(account):
        raise Invalid(f"{account!r} cannot be the name of a calendar", field="/assignee_id")
    return account


def _created(dav: Dav, cmd: Write, account: str, wanted: Task) -> Written | None:
    """A new task; None when its UID turns out to be there already."""
    uid = mapping.uid_of(cmd.local_id)
    data = mapping.new_calendar(uid, cmd.local_id, wanted, dav.clock())
    try:
        try:
            etag = dav.put(account, mapping.resource_name(uid), data, etag=None)
        except NoCalendar:
            dav.make_calendar(account)
            etag = dav.put(account, mapping.resource_name(uid), data, etag=None)
    except (VersionConflict, UidTaken):
        return None
    item = Item(account=account, name=mapping.resource_name(uid), etag=etag, data=data)
    return _written(dav, Standing(item, mapping.parse(data)), adopted=False)


def _brought(dav: Dav, cmd: Write, account: str, wanted: Task, standing: Standing) -> Written:
    """From where and how it stands to where and how it should."""
    data = mapping.revised(standing.calendar, wanted, dav.clock(), dav.settings.zone)
    stands = data is None and standing.item.account == account
    if cmd.expected_version and not stands and not _as_expected(standing, cmd.expected_version, account):
        raise VersionConflict(f"task {standing.uid} was changed in {standing.item.account}")
    item = standing.item
    if item.account != account:
        item = _moved(dav, item, account)
    if data is not None:
        etag = dav.put(account, item.name, data, etag=item.etag)
        item = Item(account=account, name=item.name, etag=etag, data=data)
    return _written(dav, Standing(item, standing.calendar), adopted=cmd.external_id is None)


def _as_expected(standing: Standing, expected: str, account: str) -> bool:
    """Whether nobody changed it since; a move of ours to `account` whose answer was lost is no change."""
    before = version_of(expected.partition("/")[0], standing.item.etag)
    return standing.version == expected or (standing.item.account == account and before == expected)


def _moved(dav: Dav, item: Item, account: str) -> Item:
    """Move a resource to another account, whose calendar is made if it is missing.

    Raises:
        Invalid: the other account holds a task with this UID, a copy that a person made.
    """
    # Scar: servers decode Destination before they split it, so a name with # or ? in it would be cut there.
    plain = _PLAIN_NAME.fullmatch(item.name)
    name = item.name if plain else f"{hashlib.sha256(item.name.encode()).hexdigest()[:32]}.ics"
    try:
        try:
            dav.move(item, account, name)
        except NoCalendar:
            dav.make_calendar(account)
            dav.move(item, account, name)
    except UidTaken:
        text = f"{account} holds a copy of this task already, and so does {item.account}: delete one of the two there"
        raise Invalid(text, field="/assignee_id") from None
    return Item(account=account, name=name, etag=item.etag, data=item.data)


def _written(dav: Dav, standing: Standing, *, adopted: bool) -> Written:
    return Written(
        external_id=standing.uid,
        remote_version=standing.version,
        adopted=adopted,
        body=standing.body(dav),
        details={"account": standing.item.account, "resource": standing.item.name},
    )


def _rehearsed(dav: Dav, cmd: Write, account: str, wanted: Task, standing: Standing | None) -> Written:
    to = wanted.body() | {"account": account}
    if standing is None:
        return Written(external_id="", details={"would": "create", "to": to})
    before = standing.body(dav)
    moves = standing.item.account != account
    changes = mapping.revised(standing.calendar, wanted, dav.clock(), dav.settings.zone) is not None
    would = " and ".join([word for word, does in (("move", moves), ("update", changes)) if does]) or "nothing"
    return Written(external_id=standing.uid, details={"would": would, "from": before, "to": to})
