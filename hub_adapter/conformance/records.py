"""An adapter that passes the whole kit: read it before you write yours. It speaks to `target.RecordsTarget`."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hub_adapter.client import NETWORK_PROPERTIES
from hub_adapter.conformance.target import SIGNATURE, STAMP, signature
from hub_adapter.failure import AdapterError, AlreadyExists, AuthRefused, Invalid, NotFound
from hub_adapter.port import (
    AdapterBase,
    AdapterSpec,
    Capability,
    Change,
    CheckResult,
    Context,
    Limits,
    Page,
    Problem,
    Refreshed,
    Remote,
    Write,
    Written,
)
from hub_adapter.verdict import Reply, refusal

SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["base_url"],
    "properties": {
        "base_url": {"type": "string", "pattern": "^https?://", "description": "Where the records are."},
        **NETWORK_PROPERTIES,
    },
}
WINDOW_S = 300.0
"""How far a message's stamp may be from our time."""


class RecordsAdapter(AdapterBase):
    """Every call of the port, in as few words as it takes."""

    spec = AdapterSpec(
        name="records",
        version="1.0.0",
        title="Records to practise on",
        config_schema=SCHEMA,
        secret_fields=("key", "refresh_key", "hook_secret"),
        entities=("note",),
        pulled=("note",),
        address=("base_url",),
        signed_headers=(SIGNATURE, STAMP),
        capabilities=frozenset(Capability) - {Capability.NATIVE_UPSERT},
        limits=Limits(rate_per_s=100, burst=100, page_size=50),
    )

    def check(self, ctx: Context) -> CheckResult:
        missing = [Problem("base_url", "is missing")] if not ctx.config.get("base_url") else []
        missing += [Problem(name, "is missing") for name in self.spec.secret_fields if not ctx.secrets.get(name)]
        if missing:
            return CheckResult(problems=tuple(missing))
        try:
            answered(send(ctx, "GET", "/ping"), ctx)
        except AdapterError as error:
            return CheckResult(problems=(Problem("key", str(error)),), error_class=error.failure.error_class)
        return CheckResult()

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        try:
            return _remote(answered(send(ctx, "GET", f"/records/{entity}/{external_id}"), ctx))
        except NotFound:
            return None

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> Sequence[Remote]:
        if keys.keys() != {"id"}:
            raise Invalid(f"a record is found by its id, not by {sorted(keys)}")
        rows = answered(send(ctx, "GET", f"/records/{entity}", params={"key": keys["id"]}), ctx)
        return [_remote(row) for row in rows]

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        known = cmd.external_id
        adopted = False
        if known is None and (found := self.find(ctx, entity, {"id": cmd.local_id})):
            known, adopted = found[0].external_id, True
        given = {"key": cmd.local_id, "body": dict(cmd.body), "source_version": cmd.source_version}
        if ctx.dry_run:
            return Written(external_id=known or "", details={"would": "update" if known else "create"})
        if known is None:
            try:
                row = answered(send(ctx, "POST", f"/records/{entity}", json=given), ctx)
            except AlreadyExists:  # somebody was faster: a lost request of our own, say
                known, adopted = self.find(ctx, entity, {"id": cmd.local_id})[0].external_id, True
        if known is not None:
            given |= {"expected": cmd.expected_version}
            row = answered(send(ctx, "PUT", f"/records/{entity}/{known}", json=given), ctx)
        return Written(external_id=row["id"], remote_version=str(row["version"]), adopted=adopted, body=row["body"])

    def delete(
        self,
        ctx: Context,
        entity: str,
        external_id: str,
        *,
        idempotency_key: str,
        expected_version: str | None = None,
    ) -> Written:
        if not ctx.dry_run:
            headers = {"If-Match": expected_version} if expected_version else {}
            try:
                answered(send(ctx, "DELETE", f"/records/{entity}/{external_id}", headers=headers), ctx)
            except NotFound:
                return Written(external_id=external_id, details={"state": "gone"})
        return Written(external_id=external_id, details={"state": "deleted"})

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        asked = {"after": cursor or "0", "limit": limit}
        rows = answered(send(ctx, "GET", f"/records/{entity}", params=asked), ctx)
        complete = len(rows) < limit
        next_cursor = None if complete else rows[-1]["id"]
        return Page(items=[_remote(row) for row in rows], next_cursor=next_cursor, complete=complete)

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        asked = {"since": checkpoint or "0", "limit": limit, "graves": "1"}
        rows = answered(send(ctx, "GET", f"/records/{entity}", params=asked), ctx)
        seen = max([int(checkpoint or 0), *(row["changed"] for row in rows)])
        return Page(items=[_change(row) for row in rows], next_cursor=str(seen), complete=len(rows) < limit)

    def parse_webhook(self, ctx: Context, headers: Mapping[str, str], body: bytes) -> Sequence[Change]:
        signed = self.spec.signed(headers)
        stamp, given = (signed.get(name.lower(), "") for name in (STAMP, SIGNATURE))
        if not hmac.compare_digest(given.encode(), signature(ctx.secrets["hook_secret"], stamp, body).encode()):
            raise AuthRefused("the signature is not of this secret")
        if abs(ctx.clock().timestamp() - int(stamp)) > WINDOW_S:
            raise AuthRefused("the stamp is too far from our time")
        return [_change(json.loads(body))]

    def refresh(self, ctx: Context) -> Refreshed:
        reply = ctx.http.post(f"{ctx.config['base_url']}/token", json={"refresh": ctx.secrets["refresh_key"]})
        return Refreshed(secrets={"key": answered(reply, ctx)["key"]})


def send(
    ctx: Context, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
) -> Reply:
    """Send one request with the connection's key."""
    sent = {"Authorization": f"Bearer {ctx.secrets['key']}", **(headers or {})}
    return ctx.http.request(method, f"{ctx.config['base_url']}{path}", headers=sent, **options)


def answered(reply: Reply, ctx: Context) -> Any:
    """What the target answered, or the exception that its refusal means."""
    if reply.ok:
        return reply.json()
    if reply.status == 409:
        raise AlreadyExists("the key is taken", http_status=409)
    raise refusal(reply, ctx.clock())


def _remote(row: Mapping[str, Any]) -> Remote:
    return Remote(external_id=row["id"], body=row["body"], version=str(row["version"]))


def _change(row: Mapping[str, Any]) -> Change:
    op = "delete" if row["gone"] else "upsert"
    return Change(entity=row["entity"], external_id=row["id"], op=op, body=row["body"], version=str(row["version"]))
