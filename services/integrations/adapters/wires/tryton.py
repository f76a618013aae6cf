"""Tryton's REST door: how it is spoken to, and what its refusals mean.

Searches go by POST `search_read`, not by GET with a base64 domain: the domain then shows in clear in the attempt's
preview, where its phone numbers and addresses can be masked.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from hub_adapter.failure import AdapterError, AuthRefused, Invalid, TryLater
from hub_adapter.port import Context
from hub_adapter.verdict import Reply, refusal

Row = dict[str, Any]
Domain = Sequence[Any]

# Scar: default searches hide inactive rows and a PUT on one answers 404. An "active in [true, false]" clause does not
# help inside OR: each nested list gets its own "active = true". The context key is the only way that always works.
ALL_ROWS = {"active_test": False}

_PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)
_KEY_ERROR = re.compile(r"^'[^']*'$")


@dataclass(frozen=True, kw_only=True)
class Door:
    """Where a database's REST door is, and who knocks.

    Args:
        base_url: of the ERP, without the database.
        rest_key: of a validated user application `rest`.
        context: what every call says beside "inactive rows too": the company, the language.
    """

    base_url: str
    database: str
    rest_key: str = field(repr=False)
    context: Mapping[str, Any] = field(default_factory=dict)


class Rest:
    """One adapter call's conversation with one database."""

    def __init__(self, ctx: Context, door: Door) -> None:
        self.door = door
        self.clock = ctx.clock
        self.dry_run = ctx.dry_run
        self.their_now = ctx.clock()
        """The ERP's clock, as of its last answer; ours may be off, and its stamps are its own."""
        self._http = ctx.http
        self._root = f"{door.base_url.rstrip('/')}/{door.database}/rest/model"

    def search(
        self,
        model: str,
        domain: Domain,
        fields: Sequence[str],
        *,
        limit: int | None = None,
        order: Sequence[Sequence[str]] = (("id", "ASC"),),
        context: Mapping[str, Any] | None = None,
    ) -> list[Row]:
        """Rows that match, inactive ones too. A dotted field comes back under its first part with a dot at the end."""
        question = {"domain": domain, "fields_names": list(fields), "limit": limit, "order": order}
        reply = self._call("POST", f"{model}/search_read", question, changes=False, context=context)
        rows: list[Row] = reply.json()
        return rows

    def one(self, model: str, domain: Domain, fields: Sequence[str]) -> Row | None:
        rows = self.search(model, domain, fields, limit=1)
        return rows[0] if rows else None

    def create(self, model: str, values: Mapping[str, Any]) -> int:
        """The id of the new row."""
        return int(self._call("POST", model, values).json()["id"])

    def write(self, model: str, row_id: int, values: Mapping[str, Any]) -> None:
        self._call("PUT", f"{model}/{row_id}", values)

    def press(self, model: str, row_id: int, button: str) -> None:
        """Press a button. Its answer is not to be trusted for the state: read the row instead."""
        self._call("POST", f"{model}/{row_id}/{button}", None)

    def _call(
        self, method: str, path: str, body: Any, *, changes: bool = True, context: Mapping[str, Any] | None = None
    ) -> Reply:
        known = {**self.door.context, **ALL_ROWS, **(context or {})}
        headers = {
            "Authorization": f"Bearer {self.door.rest_key}",
            "X-Tryton-Context": base64.urlsafe_b64encode(json.dumps(known).encode()).decode(),
        }
        reply = self._http.request(method, f"{self._root}/{path}", headers=headers, json=body, changes=changes)
        if (date := reply.headers.get("Date")) is not None:
            self.their_now = parsedate_to_datetime(date)
        if not reply.ok:
            raise self._refusal(reply)
        return reply

    def _refusal(self, reply: Reply) -> AdapterError:
        said, status = _words(reply), reply.status
        if status == 500 and _KEY_ERROR.match(said):
            # Scar: a 500 whose text is a bare quoted name is a field or model that this Tryton lacks. It never heals.
            return AdapterError(
                f"this Tryton does not know {said}: a module is missing, or the version", http_status=500
            )
        if status == 503 and "index row" in said:
            # Scar: 503 mostly is a serialisation failure (rolled back, come again), but a text too long for an index
            # answers 503 as well, for ever.
            return Invalid(f"a text is too long for the ERP's index: {said}", http_status=503)
        if status == 403 and reply.changes:
            # One record that this user may not touch must not pause everybody; a lost right shows at the look-up.
            return Invalid(f"the ERP does not let the hub's user do this: {said}", http_status=403)
        if status == 403:
            return AuthRefused(
                "the ERP does not let the hub's user read this: a right is missing, or an id in the settings is wrong",
                http_status=403,
            )
        if status == 404 and not reply.changes:
            return TryLater(
                f"no Tryton database {self.door.database!r} answers at {self.door.base_url}", http_status=404
            )
        return refusal(reply, self.clock(), said)


def _words(reply: Reply) -> str:
    """What the ERP said: the JSON's message, or the paragraph of its HTML page."""
    try:
        said = json.loads(reply.body)
        if isinstance(said, dict) and said.get("message"):
            return str(said["message"])[:500]
    except ValueError:
        pass
    found = _PARAGRAPH.search(reply.text)
    return (found[1] if found else reply.text).strip().replace("&#39;", "'")[:300]


def wire_datetime(moment: datetime) -> Row:
    utc = moment.astimezone(UTC)
    parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return {"__class__": "datetime", **{part: getattr(utc, part) for part in parts}}


def read_datetime(value: Mapping[str, Any]) -> datetime:
    """Stamps there are UTC, whatever the database's own zone."""
    parts = {key: int(number) for key, number in value.items() if key != "__class__"}
    return datetime(**parts, tzinfo=UTC)


def written_datetime(moment: datetime) -> str:
    """A time as we write it: UTC, cut to milliseconds ("2026-11-22T02:00:00.000Z")."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
