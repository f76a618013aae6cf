"""The adapter by which tests of the hub speak to the conformance kit's scriptable target: records, faults on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hub_adapter.client import NETWORK_PROPERTIES
from hub_adapter.conformance.target import GOOD_KEY, REFRESH_KEY, Row, running
from hub_adapter.conformance.target import RecordsTarget as FakeTarget
from hub_adapter.port import (
    AdapterBase,
    AdapterSpec,
    AlreadyExists,
    Capability,
    Change,
    CheckResult,
    Context,
    DependencyMissing,
    ErrorClass,
    Limits,
    Page,
    Problem,
    Refreshed,
    Remote,
    Write,
    Written,
    failure_of,
)
from hub_adapter.verdict import Reply, refusal


class FakeAdapter(AdapterBase):
    """Speaks to a `FakeTarget`. It looks before it creates, as the port asks."""

    spec = AdapterSpec(
        name="fake", version="1.0.0", title="Fake target",
        config_schema={
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": False,
            "required": ["base_url"],
            "properties": {"base_url": {"type": "string", "pattern": "^https?://", "description": "Where it is."},
                           "warehouse": {"type": "integer", "minimum": 1, "description": "A number."},
                           **NETWORK_PROPERTIES},
        },
        secret_fields=("key",), address=("base_url",), entities=("customer", "order", "product"), pulled=("product",),
        capabilities=frozenset({Capability.FIND_BY_LOCAL_KEY, Capability.IDEMPOTENCY_KEY, Capability.INCREMENTAL}),
        limits=Limits(rate_per_s=10_000, burst=10_000, max_in_flight=16, page_size=50),
    )

    def check(self, ctx: Context) -> CheckResult:
        try:
            self._ask(ctx, "GET", "/ping")
        except Exception as error:
            failure = failure_of(error)
            return CheckResult(problems=(Problem("key", failure.message),), error_class=ErrorClass(failure.error_class))
        return CheckResult()

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        reply = self._send(ctx, "GET", f"/records/{entity}/{external_id}")
        return None if reply.status == 404 else _remote(_told(reply, ctx))

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> list[Remote]:
        return [_remote(row) for row in self._ask(ctx, "GET", f"/records/{entity}", params={"key": keys["id"]})]

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        given = {"key": cmd.local_id, "body": dict(cmd.body), "source_version": cmd.source_version,
                 "references": dict(cmd.references)}
        known = cmd.external_id
        if known is None and (found := self.find(ctx, entity, {"id": cmd.local_id})):
            known = found[0].external_id
        if known is not None:
            row = self._ask(ctx, "PUT", f"/records/{entity}/{known}", json=given, key=cmd.idempotency_key)
        else:
            row = self._ask(ctx, "POST", f"/records/{entity}", json=given, key=cmd.idempotency_key)
        return Written(external_id=row["id"], remote_version=str(row["version"]))

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        since = int(checkpoint or 0)
        rows = self._ask(ctx, "GET", f"/records/{entity}", params={"since": since, "limit": limit})
        items = [Change(entity=entity, external_id=row["id"], op="upsert", body=row["body"],
                        version=str(row["version"])) for row in rows]
        last = max([since, *(row["changed"] for row in rows)])
        return Page(items=items, next_cursor=str(last), complete=len(rows) < limit)

    def delete(self, ctx: Context, entity: str, external_id: str, *, idempotency_key: str,
               expected_version: str | None = None) -> Written:
        self._ask(ctx, "DELETE", f"/records/{entity}/{external_id}", key=idempotency_key)
        return Written(external_id=external_id)

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        page = self.changes(ctx, entity, cursor, limit)
        return Page(items=[Remote(external_id=c.external_id, body=c.body, version=c.version) for c in page.items],
                    next_cursor=None if page.complete else page.next_cursor, complete=page.complete)

    def _ask(self, ctx: Context, method: str, path: str, **options: Any) -> Any:
        return _told(self._send(ctx, method, path, **options), ctx)

    def _send(self, ctx: Context, method: str, path: str, *, key: str | None = None, **options: Any) -> Reply:
        headers = {"Authorization": f"Bearer {ctx.secrets['key']}"} | ({"Idempotency-Key": key} if key else {})
        return ctx.http.request(method, f"{ctx.config['base_url']}{path}", headers=headers, **options)


class AskOnlyAdapter(FakeAdapter):
    """The same target, but it honours no key: only a look-up can end a doubt."""

    spec = AdapterSpec(**(vars(FakeAdapter.spec) | {
        "name": "fake_ask_only", "capabilities": frozenset({Capability.FIND_BY_LOCAL_KEY, Capability.INCREMENTAL})}))


class TradingAdapter(FakeAdapter):
    """The same target; a key that has ended is traded for the one that holds."""

    spec = AdapterSpec(**(vars(FakeAdapter.spec) | {
        "name": "fake_trading", "capabilities": FakeAdapter.spec.capabilities | {Capability.REFRESH}}))

    def refresh(self, ctx: Context) -> Refreshed:
        reply = ctx.http.post(f"{ctx.config['base_url']}/token", json={"refresh": REFRESH_KEY})
        return Refreshed(secrets={"key": _told(reply, ctx)["key"]})


class BlindAdapter(FakeAdapter):
    """The same target, but it can neither be asked nor told twice: what it is told twice it makes twice."""

    spec = AdapterSpec(**(vars(FakeAdapter.spec) | {
        "name": "fake_blind", "capabilities": frozenset({Capability.INCREMENTAL})}))

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> list[Remote]:
        return []


class ListedAdapter(FakeAdapter):
    """The same target, which also lists every record, by its id, four at once, with what it is known by."""

    spec = AdapterSpec(**(vars(FakeAdapter.spec) | {
        "name": "fake_listed", "limits": replace(FakeAdapter.spec.limits, page_size=4),
        "capabilities": FakeAdapter.spec.capabilities | {Capability.LIST_COMPLETE}}))

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        rows = self._ask(ctx, "GET", f"/records/{entity}", params={"after": cursor or 0, "limit": limit})
        complete = len(rows) < limit
        return Page(items=[_remote(row) for row in rows], next_cursor=None if complete else rows[-1]["id"],
                    complete=complete)


class BlindListedAdapter(ListedAdapter):
    """The same target: it lists what it has, and can neither be asked for one record nor told twice."""

    spec = AdapterSpec(**(vars(ListedAdapter.spec) | {
        "name": "fake_blind_listed", "capabilities": frozenset({Capability.INCREMENTAL, Capability.LIST_COMPLETE})}))

    find = BlindAdapter.find


class TellingAdapter(FakeAdapter):
    """The same target; it says what it takes, and looks taxes up in a table of its settings."""

    spec = AdapterSpec(**(vars(FakeAdapter.spec) | {
        "name": "fake_telling",
        "config_schema": {**FakeAdapter.spec.config_schema, "properties": {
            **FakeAdapter.spec.config_schema["properties"], "taxes": {"type": "object", "description": "Tax codes."}}},
        "fields": {
            "customer": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "phone": {"type": ["string", "null"]}, "term": {"type": "integer"},
                "group": {"type": ["string", "null"]}, "address": {"type": ["object", "null"]}}},
            "order": {"type": "object", "properties": {"lines": {"type": "array", "items": {
                "type": "object", "properties": {"tax_code": {"type": "string", "codeTable": "taxes"}}}}}}}}))


def _told(reply: Reply, ctx: Context) -> Any:
    if reply.ok:
        return reply.json()
    message = reply.json().get("message", "")
    if reply.status == 409:
        raise AlreadyExists(message, http_status=409)
    if reply.status == 424:
        raise DependencyMissing(message, http_status=424, dependency="customer")
    raise refusal(reply, ctx.clock(), message)


def _remote(row: Mapping[str, Any]) -> Remote:
    return Remote(external_id=row["id"], body=row["body"], version=str(row["version"]))


ADAPTERS = {"fake": FakeAdapter, "fake_ask_only": AskOnlyAdapter, "fake_blind": BlindAdapter,
            "fake_listed": ListedAdapter, "fake_blind_listed": BlindListedAdapter,
            "fake_telling": TellingAdapter, "fake_trading": TradingAdapter}


__all__ = ["ADAPTERS", "GOOD_KEY", "FakeAdapter", "FakeTarget", "Row", "running"]
