"""The scripted target as one that people work in too: tasks and contacts that change on both sides, with versions."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from chassis.database import utcnow
from hub_adapter.failure import AuthRefused
from hub_adapter.port import Capability, Change, Context, Page, Remote, Write, Written
from tests.support.fake_target import FakeAdapter, ListedAdapter, Row

HOOK = "the-hook-secret"
STAMP_S = 300
KEPT = {
    "task": ("title", "description", "due_at", "priority", "progress", "status", "completed_at"),
    "contact": ("name", "email", "consent"),
    "customer": ("name",),
}
"""What the target keeps of each record, and tells."""
UNSUBSCRIBED = {"consent": {"email": {"state": "refused"}}}


class TwoWayAdapter(FakeAdapter):
    """Writes only what has not changed meanwhile, tells what it wrote, and reports every change, deletions too."""

    spec = type(FakeAdapter.spec)(**(vars(FakeAdapter.spec) | {
        "name": "two_way", "secret_fields": ("key", "hook"), "entities": tuple(KEPT), "pulled": tuple(KEPT),
        "accounts": ("task",), "consent": {"contact": "email"},
        "signed_headers": ("x-hook-timestamp", "x-hook-signature"),
        "capabilities": FakeAdapter.spec.capabilities | {
            Capability.CONDITIONAL_WRITE, Capability.WEBHOOK, Capability.LIST_COMPLETE}}))

    list = ListedAdapter.list

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        found = super().get(ctx, entity, external_id)
        return None if found is None else replace(found, changed_at=_changed_at(found.body))

    def expected(self, ctx: Context, entity: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return kept(entity, body)

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        given = {"key": cmd.local_id, "body": kept(entity, cmd.body), "source_version": cmd.source_version,
                 "references": dict(cmd.references)}
        known = cmd.external_id
        if known is None and (found := self.find(ctx, entity, {"id": cmd.local_id})):
            known = found[0].external_id
        if known is None:
            return _written(self._ask(ctx, "POST", f"/records/{entity}", json=given, key=cmd.idempotency_key))
        expected = {"expected": cmd.expected_version} if cmd.expected_version else {}
        return _written(self._ask(ctx, "PUT", f"/records/{entity}/{known}", json=given | expected,
                                  key=cmd.idempotency_key))

    def delete(self, ctx: Context, entity: str, external_id: str, *, idempotency_key: str,
               expected_version: str | None = None) -> Written:
        if entity != "contact":
            return super().delete(ctx, entity, external_id, idempotency_key=idempotency_key)
        row = self._ask(ctx, "GET", f"/records/contact/{external_id}")
        given = {"body": row["body"] | UNSUBSCRIBED, "source_version": row["source_version"]}
        return _written(self._ask(ctx, "PUT", f"/records/contact/{external_id}", json=given, key=idempotency_key))

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        since = int(checkpoint or 0)
        rows = self._ask(ctx, "GET", f"/records/{entity}", params={"since": since, "limit": limit, "graves": 1})
        last = max([since, *(row["changed"] for row in rows)])
        return Page(items=[change_of(row) for row in rows], next_cursor=str(last), complete=len(rows) < limit)

    def parse_webhook(self, ctx: Context, headers: Mapping[str, str], body: bytes) -> Sequence[Change]:
        stamp, given = headers.get("x-hook-timestamp", "0"), headers.get("x-hook-signature", "")
        if not hmac.compare_digest(given, signature(ctx.secrets["hook"], stamp, body)):
            raise AuthRefused("the signature is not of this secret")
        if abs(ctx.clock().timestamp() - int(stamp)) > STAMP_S:
            raise AuthRefused("the message is too old")
        return [change_of(row) for row in json.loads(body)]


def kept(entity: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the target keeps of a record."""
    return {name: body[name] for name in KEPT[entity] if name in body}


def change_of(row: Mapping[str, Any]) -> Change:
    """Return a row as a change."""
    return Change(entity=row["entity"], external_id=row["id"], op="delete" if row["gone"] else "upsert",
                  body={} if row["gone"] else row["body"], version=str(row["version"]), account=row["account"] or None,
                  changed_at=_changed_at(row["body"]))


def _changed_at(body: Mapping[str, Any]) -> dt.datetime | None:
    """Return when people changed a record, if they say."""
    return dt.datetime.fromisoformat(body["changed_at"]) if "changed_at" in body else None


def signature(secret: str, stamp: str, body: bytes) -> str:
    """Return the signature of a webhook message."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def signed(body: bytes, *, secret: str = HOOK, age_s: int = 0) -> dict[str, str]:
    """Return the headers that make a message of this body the target's own, so many seconds old."""
    stamp = str(int(utcnow().timestamp()) - age_s)
    return {"x-hook-timestamp": stamp, "x-hook-signature": signature(secret, stamp, body)}


def message(*rows: Row) -> bytes:
    """Return the body of a webhook message about these rows."""
    return json.dumps([vars(row) for row in rows], ensure_ascii=False).encode()


def _written(row: Mapping[str, Any]) -> Written:
    return Written(external_id=row["id"], remote_version=str(row["version"]), body=row["body"])
