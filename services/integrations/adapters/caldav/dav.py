"""One adapter call's conversation with a CalDAV server: what is asked, and what its answers mean."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from hub_adapter.failure import AdapterError, AlreadyExists, ErrorClass, Invalid, NotFound, TryLater, VersionConflict
from hub_adapter.port import Context
from hub_adapter.verdict import Reply, refusal
from services.integrations.adapters.caldav import multistatus
from services.integrations.adapters.caldav.multistatus import CALDAV, DAV, Member
from services.integrations.adapters.caldav.settings import CaldavSettings

_NOWHERE = (404, 410)


class UidTaken(AlreadyExists):
    """Another resource holds this UID already."""


class NoCalendar(NotFound):
    """The calendar that a resource was to lie in is not there."""


class Closed(TryLater):
    """The hub's user may not look into this calendar. One that is closed must not keep the others back."""


class TokenExpired(AdapterError):
    """The server has forgotten this sync token: ask for everything."""


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """A collection of tasks below the home. `token` changes with anything in it; None where the server tells none."""

    account: str
    token: str | None


@dataclass(frozen=True, kw_only=True)
class Item:
    """A resource as it stands."""

    account: str
    name: str
    etag: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What changed in a calendar: names of resources that are there, new or different, and of those that are gone."""

    token: str
    there: frozenset[str]
    gone: frozenset[str]


class Dav:
    """Speaks for one connection. Accounts are names of calendars below the home, names those of resources in them."""

    def __init__(self, ctx: Context) -> None:
        self.settings = CaldavSettings.of(ctx.config, ctx.secrets)
        self.clock = ctx.clock
        self.dry_run = ctx.dry_run
        self._http = ctx.http
        pair = f"{self.settings.username}:{self.settings.password}".encode()
        self._authorization = f"Basic {base64.b64encode(pair).decode()}"

    @property
    def remaining_s(self) -> float:
        """Time left for further calls."""
        return self._http.remaining_s

    # -- calendars ----------------------------------------------------------------------------------------------------

    def calendars(self) -> list[Calendar]:
        """Every task calendar directly below the home.

        Raises:
            TryLater: there is no home.
        """
        home = self._path()
        reply = self._call("PROPFIND", home, multistatus.calendars(), depth="1", taken=_NOWHERE)
        if not reply.ok:
            raise TryLater(f"there is no collection at {self.settings.home}", http_status=reply.status)
        found = [member for member in self._members(reply) if member.keeps_tasks]
        return sorted(
            (Calendar(account=one.name, token=one.text(f"{DAV}sync-token")) for one in found),
            key=lambda calendar: calendar.account,
        )

    def has_calendar(self, account: str) -> bool:
        """Whether a calendar that the home no longer shows is still there, closed to us perhaps."""
        reply = self._call("PROPFIND", self._path(account), multistatus.existence(), depth="0", taken=(*_NOWHERE, 403))
        return reply.status not in _NOWHERE

    def make_calendar(self, account: str) -> None:
        """Make a calendar for tasks; one that is there is as good."""
        # 409 and 405 mean "there already", or that there is no home: the write that follows tells which.
        self._call("MKCALENDAR", self._path(account), multistatus.new_calendar(account), taken=(405, 409))

    def difference(self, account: str, token: str) -> Difference:
        """What changed since a token; with an empty one, everything there is.

        Raises:
            TokenExpired: the server does not know the token any more.
            NoCalendar: the calendar is gone.
            Closed: we may not look into it.
        """
        reply = self._call(
            "REPORT", self._path(account), multistatus.changed_since(token), depth="0", taken=(403, 409, *_NOWHERE)
        )
        if reply.status in _NOWHERE:
            raise NoCalendar(f"the calendar {account} is gone", http_status=reply.status)
        if not reply.ok:
            if token and multistatus.condition(reply.body) == "valid-sync-token":
                raise TokenExpired(f"the sync token of {account} has expired", http_status=reply.status)
            raise self._refusal(reply, self._path(account))
        told = [member for member in self._members(reply) if self._is_resource(member, account)]
        return Difference(
            token=multistatus.sync_token(reply.body) or "",
            there=frozenset(member.name for member in told if not member.gone),
            gone=frozenset(member.name for member in told if member.gone),
        )

    def _is_resource(self, member: Member, account: str) -> bool:
        return member.path.startswith(f"{self.settings.home}{account}/") and not member.path.endswith("/")

    # -- resources ----------------------------------------------------------------------------------------------------

    def item(self, account: str, name: str) -> Item | None:
        """A resource by its name; one that we may not see is not there for us.

        Raises:
            TryLater: somebody on the way answered with a page, which says nothing of the resource.
        """
        reply = self._call("GET", self._path(account, name), taken=(*_NOWHERE, 403))
        if not reply.ok:
            return None
        if reply.headers.get("Content-Type", "").startswith("text/html"):
            raise TryLater(f"{self.settings.base_url} answered with a page instead of {name}", http_status=reply.status)
        etag = multistatus.strong(reply.headers.get("ETag")) or ""
        return Item(account=account, name=name, etag=etag, data=reply.body)

    def items(self, account: str, names: Sequence[str]) -> list[Item]:
        """Resources by their names; those that are gone are left out, and so is one too large for a single answer."""
        if not names:
            return []
        asked = multistatus.these(self._path(account, name) for name in names)
        try:
            reply = self._call("REPORT", self._path(account), asked, depth="1")
        except AdapterError as error:
            if error.error_class is not ErrorClass.ADAPTER_ERROR:
                raise
            if len(names) == 1:
                return []
            half = len(names) // 2
            return self.items(account, names[:half]) + self.items(account, names[half:])
        return self._items(account, reply)

    def items_with_uid(self, account: str, uid: str) -> list[Item]:
        """Resources that hold this UID, whatever their names. A server reads through the calendar for it: slow."""
        reply = self._call("REPORT", self._path(account), multistatus.with_uid(uid), depth="1", taken=_NOWHERE)
        return self._items(account, reply) if reply.ok else []

    def _items(self, account: str, reply: Reply) -> list[Item]:
        found = []
        for member in self._members(reply):
            data, etag = member.text(f"{CALDAV}calendar-data"), member.etag
            if data and etag and not member.gone:
                found.append(Item(account=account, name=member.name, etag=etag, data=data.encode()))
        return found

    def put(self, account: str, name: str, data: bytes, *, etag: str | None) -> str:
        """Write a resource; return its new ETag.

        Args:
            etag: of the state to replace; None makes a new one, and refuses to replace any.

        Raises:
            VersionConflict: it is another state by now, or there already.
            UidTaken: the server has this UID elsewhere.
            NoCalendar: there is nothing to put it in.
        """
        condition = {"If-Match": etag} if etag is not None else {"If-None-Match": "*"}
        path = self._path(account, name)
        reply = self._call(
            "PUT", path, data, headers=condition | {"Content-Type": "text/calendar; charset=utf-8"}, taken=(404, 409)
        )
        if not reply.ok:
            raise self._misplaced(reply, path)
        told = multistatus.strong(reply.headers.get("ETag"))
        if told is None:  # a server that altered what it was given tells none (RFC 4791 §5.3.4)
            standing = self.item(account, name)
            told = standing.etag if standing else ""
        return told

    def move(self, item: Item, account: str, name: str) -> None:
        """Move a resource to another calendar, in one step.

        Raises:
            NotFound: it is gone.
            UidTaken: the other calendar has it already.
            NoCalendar: there is no such calendar.
        """
        source, target = self._path(item.account, item.name), self._path(account, name)
        # Destination as a path (RFC 4918 §10.3): a whole address is foreign behind a proxy that renames the host.
        headers = {"Destination": target, "Overwrite": "F", "If-Match": item.etag}
        reply = self._call("MOVE", source, headers=headers, taken=(404, 409, 412, 502))
        if reply.status == 404:
            raise NotFound(f"{item.name} is gone from {item.account}", http_status=404)
        if reply.status == 502:
            raise AdapterError("the server takes its own calendar for a foreign one: its proxy must pass the Host on")
        if reply.status == 412 and self.item(item.account, item.name) != item:
            raise VersionConflict(f"{item.name} changed while it was moved", http_status=412)
        if reply.status == 412:
            raise UidTaken(f"{account} has a resource {name} already", http_status=412)
        if not reply.ok:
            raise self._misplaced(reply, target)

    def delete(self, item: Item) -> None:
        """Delete a resource as it stood; one that is gone is as good.

        Raises:
            VersionConflict: it is another state by now.
        """
        headers = {"If-Match": item.etag}
        self._call("DELETE", self._path(item.account, item.name), headers=headers, taken=_NOWHERE)

    # -- the wire -----------------------------------------------------------------------------------------------------

    def _path(self, account: str | None = None, name: str | None = None) -> str:
        """The encoded path of the home, a calendar in it, or a resource in that."""
        home = quote(self.settings.home)
        if account is None:
            return home
        return f"{home}{quote(account, safe='')}/{quote(name, safe='@') if name is not None else ''}"

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        *,
        depth: str | None = None,
        headers: Mapping[str, str] | None = None,
        taken: Iterable[int] = (),
    ) -> Reply:
        """Args: taken: statuses of a refusal that the caller deals with."""
        sent = {"Authorization": self._authorization, **(headers or {})}
        if isinstance(body, str):
            sent["Content-Type"] = "application/xml; charset=utf-8"
        if depth is not None:
            sent["Depth"] = depth
        reply = self._http.request(method, f"{self.settings.base_url}{path}", headers=sent, data=body)
        if not reply.ok and reply.status not in taken:
            raise self._refusal(reply, path)
        return reply

    def _members(self, reply: Reply) -> list[Member]:
        try:
            return multistatus.members(reply.body)
        except multistatus.NotXml:
            raise TryLater(f"{self.settings.base_url} answered {reply.status} with something that is no XML") from None

    def _misplaced(self, reply: Reply, path: str) -> AdapterError:
        said = multistatus.condition(reply.body)
        if said == "no-uid-conflict":
            return UidTaken("the server has this UID in another place", http_status=reply.status)
        if said is None or said in ("resource-must-be-null", "parent-must-exist"):
            return NoCalendar(f"there is nothing to put {path} in", http_status=reply.status)
        return self._refusal(reply, path)

    def _refusal(self, reply: Reply, path: str) -> AdapterError:
        said = multistatus.condition(reply.body) or ""
        # One calendar that is closed to us must not pause everybody; a right that is lost shows at the home.
        if reply.status == 403 and not reply.changes and path != self._path():
            return Closed(f"the server does not let the hub's user look into {path}", http_status=403)
        if reply.status == 403 and reply.changes:
            text = f"the server does not let the hub's user change {path}" + (f": {said}" if said else "")
            return Invalid(text, http_status=403, field="/assignee_id" if not said else None)
        if reply.status == 423:
            return TryLater(f"{path} is locked by somebody", http_status=423)
        return refusal(reply, self.clock(), said)
