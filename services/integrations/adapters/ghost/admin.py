"""Ghost's Admin API: how it is spoken to, and what its refusals mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey

from hub_adapter.failure import AdapterError, AuthRefused, NotFound
from hub_adapter.port import Context
from hub_adapter.verdict import Reply, refusal
from services.integrations.adapters.ghost.mapping import Row, is_subscribed
from services.integrations.adapters.ghost.settings import GhostSettings

PAGE = 100
"""Ghost gives no more members at once, whatever it is asked for."""
TOGETHER = 20
"""Members whose events are asked for at once."""
TOKEN_S = 120
"""Ghost takes tokens of up to five minutes."""


class Admin:
    """One adapter call's conversation with one site."""

    def __init__(self, ctx: Context) -> None:
        self.settings = GhostSettings.of(ctx.config, ctx.secrets)
        self.clock = ctx.clock
        self.dry_run = ctx.dry_run
        self._http = ctx.http
        self._root = f"{self.settings.base_url.rstrip('/')}/ghost/api/admin"

    def members(self, clause: str, limit: int = PAGE) -> list[Row]:
        """Members by a filter, in the order of their ids."""
        asked = {"filter": clause, "order": "id asc", "limit": str(limit)}
        return list(self._call("GET", "members/", params=asked).json()["members"])

    def member(self, external_id: str) -> Row | None:
        try:
            return self._one(self._call("GET", f"members/{external_id}/"))
        except NotFound:
            return None

    def add(self, values: Mapping[str, Any]) -> Row:
        return self._one(self._call("POST", "members/", {"members": [values]}))

    def edit(self, external_id: str, values: Mapping[str, Any]) -> Row:
        return self._one(self._call("PUT", f"members/{external_id}/", {"members": [values]}))

    def subscriptions(self, clause: str) -> list[Row]:
        """Who entered or left a newsletter, newest first, `PAGE` at most."""
        asked = {"filter": f"type:newsletter_event+{clause}", "limit": str(PAGE)}
        return [event["data"] for event in self._call("GET", "members/events/", params=asked).json()["events"]]

    def refused_at(self, members: Sequence[Row]) -> dict[str, datetime]:
        """When those of the members left the newsletter who are not on it, and once were."""
        ours = self.settings.newsletter
        off = [one["id"] for one in members if not is_subscribed(one, ours)]
        told: dict[str, datetime] = {}
        for n in range(0, len(off), TOGETHER):
            told |= self._left(off[n : n + TOGETHER])
        return told

    def _left(self, ids: Sequence[str]) -> dict[str, datetime]:
        events = self.subscriptions("data.member_id:[" + ",".join(f"'{one}'" for one in ids) + "]")
        told: dict[str, datetime] = {}
        for event in events:
            if event["newsletter_id"] == self.settings.newsletter and not event["subscribed"]:
                told.setdefault(event["member_id"], datetime.fromisoformat(event["created_at"]))
        if len(events) == PAGE and len(ids) > 1:
            # The page is full: what was said by one may have pushed the refusal of another out of it.
            for one in ids:
                if one not in told:
                    told |= self._left([one])
        return told

    def newsletter(self) -> Row | None:
        asked = {"filter": f"id:'{self.settings.newsletter}'", "limit": "1"}
        found = self._call("GET", "newsletters/", params=asked).json()["newsletters"]
        return found[0] if found else None

    def _one(self, reply: Reply) -> Row:
        row: Row = reply.json()["members"][0]
        return row

    def _call(self, method: str, path: str, body: Any = None, params: Mapping[str, str] | None = None) -> Reply:
        reply = self._http.request(
            method,
            f"{self._root}/{path}",
            params=params,
            json=body,
            headers={"Authorization": f"Ghost {self._token()}", "Accept-Version": "v6.0"},
        )
        if not reply.ok:
            raise self._refusal(reply)
        return reply

    def _token(self) -> str:
        """A JWT signed with the key (ghost.org/docs/admin-api, "Token authentication")."""
        key_id, _, secret = self.settings.admin_key.partition(":")
        now = int(self.clock().timestamp())
        claims = {"iat": now, "exp": now + TOKEN_S, "aud": "/admin/"}
        header = {"alg": "HS256", "typ": "JWT", "kid": key_id}
        return jwt.encode(header, claims, OctKey.import_key(bytes.fromhex(secret)), algorithms=["HS256"])

    def _refusal(self, reply: Reply) -> AdapterError:
        said, code = _words(reply)
        if code in ("INVALID_JWT", "INVALID_AUTH_HEADER", "UNKNOWN_ADMIN_API_KEY"):
            # Scar: a token that Ghost cannot read is answered 400, one that is too old 401.
            return AuthRefused(f"Ghost does not accept the key: {said}", http_status=reply.status)
        return refusal(reply, self.clock(), said)


def _words(reply: Reply) -> tuple[str, str | None]:
    """What Ghost said, and its code for it. `context` names the reason where `message` only tells that there is one."""
    try:
        error = json.loads(reply.body)["errors"][0]
        return str(error.get("context") or error.get("message"))[:500], error.get("code")
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", None
