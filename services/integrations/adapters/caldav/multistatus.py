"""The XML of WebDAV (RFC 4918), CalDAV (RFC 4791) and sync-collection (RFC 6578). Pure functions.

What a server sends is read with defusedxml: no entity of its is expanded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape, quoteattr

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

DAV = "{DAV:}"
CALDAV = "{urn:ietf:params:xml:ns:caldav}"
_NAMESPACES = 'xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"'
_HEAD = '<?xml version="1.0" encoding="utf-8"?>'


class NotXml(Exception):
    """The answer is no XML that may be read, or not the kind that was asked for."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One resource in an answer. `path` is decoded and without host; `properties` holds those that it has."""

    path: str
    gone: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last segment of its path."""
        return self.path.rstrip("/").rpartition("/")[2]

    def text(self, tag: str) -> str | None:
        """The text of a property."""
        element = self.properties.get(tag)
        return element.text if element is not None else None

    @property
    def etag(self) -> str | None:
        return strong(self.text(f"{DAV}getetag"))

    @property
    def keeps_tasks(self) -> bool:
        """Whether it is a calendar, and one that says nothing against tasks (RFC 4791 §5.2.3: no word, no limit)."""
        kind, components = (
            self.properties.get(tag) for tag in (f"{DAV}resourcetype", f"{CALDAV}supported-calendar-component-set")
        )
        if kind is None or kind.find(f"{CALDAV}calendar") is None:
            return False
        return components is None or any(one.get("name") == "VTODO" for one in components)


def strong(etag: str | None) -> str | None:
    """An ETag as If-Match takes it: a proxy that compresses marks it weak."""
    return etag.removeprefix("W/") if etag else None


# --- questions -------------------------------------------------------------------------------------------------------


def calendars() -> str:
    return _wrapped("D:propfind", _props("D:resourcetype", "D:sync-token", "C:supported-calendar-component-set"))


def existence() -> str:
    return _wrapped("D:propfind", _props("D:resourcetype"))


def new_calendar(title: str) -> str:
    components = '<C:supported-calendar-component-set><C:comp name="VTODO"/></C:supported-calendar-component-set>'
    told = f"<D:displayname>{escape(title)}</D:displayname>{components}"
    return _wrapped("C:mkcalendar", f"<D:set><D:prop>{told}</D:prop></D:set>")


def changed_since(token: str) -> str:
    asked = f"<D:sync-token>{escape(token)}</D:sync-token><D:sync-level>1</D:sync-level>{_props('D:getetag')}"
    return _wrapped("D:sync-collection", asked)


def these(paths: Iterable[str]) -> str:
    """Args: paths: encoded."""
    asked = "".join(f"<D:href>{escape(path)}</D:href>" for path in paths)
    return _wrapped("C:calendar-multiget", _props("D:getetag", "C:calendar-data") + asked)


def with_uid(uid: str) -> str:
    match = f'<C:text-match collation="i;octet">{escape(uid)}</C:text-match>'
    inner = f"<C:comp-filter name={quoteattr('VTODO')}><C:prop-filter name={quoteattr('UID')}>{match}</C:prop-filter>"
    inner = f'<C:comp-filter name="VCALENDAR">{inner}</C:comp-filter></C:comp-filter>'
    return _wrapped("C:calendar-query", f"{_props('D:getetag', 'C:calendar-data')}<C:filter>{inner}</C:filter>")


def _props(*names: str) -> str:
    return f"<D:prop>{''.join(f'<{name}/>' for name in names)}</D:prop>"


def _wrapped(tag: str, inner: str) -> str:
    return f"{_HEAD}<{tag} {_NAMESPACES}>{inner}</{tag}>"


# --- answers ---------------------------------------------------------------------------------------------------------


def members(body: bytes) -> list[Member]:
    """The resources of a multistatus.

    Raises:
        NotXml: it is none; a page that happens to be well-formed would pass for an empty one.
    """
    root = _root(body)
    if root.tag != f"{DAV}multistatus":
        raise NotXml(f"the answer is a {root.tag}")
    return list(_members(root))


def sync_token(body: bytes) -> str | None:
    """The token of a sync-collection's answer."""
    told = _root(body).find(f"{DAV}sync-token")
    return told.text if told is not None else None


def condition(body: bytes) -> str | None:
    """The local name of the condition that a refusal names (RFC 4918 §16), such as "no-uid-conflict"."""
    try:
        root = _root(body)
    except NotXml:
        return None
    if root.tag != f"{DAV}error" or not len(root):
        return None
    return str(root[0].tag).rpartition("}")[2]


def _members(root: Any) -> Iterator[Member]:
    for response in root.iter(f"{DAV}response"):
        path = unquote(urlsplit(response.findtext(f"{DAV}href") or "").path)
        status = _status(response.findtext(f"{DAV}status"))
        found = {
            one.tag: one
            for propstat in response.iter(f"{DAV}propstat")
            if _status(propstat.findtext(f"{DAV}status")) == 200
            for prop in propstat.iter(f"{DAV}prop")
            for one in prop
        }
        yield Member(path=path, gone=status in (404, 410), properties=found)


def _status(line: str | None) -> int:
    parts = (line or "").split()
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 200


def _root(body: bytes) -> Any:
    try:
        return fromstring(body)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise NotXml(type(error).__name__) from None
