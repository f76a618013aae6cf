"""Two adapters as they are written in a hurry, and their suites; tests/adapters/test_naive_adapter.py runs them."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from hub_adapter.conformance.records import RecordsAdapter, answered, send
from hub_adapter.conformance.suite import ConformanceSuite
from hub_adapter.conformance.system import System
from hub_adapter.conformance.target import RecordsTarget, running
from hub_adapter.failure import AuthRefused, RateLimited
from hub_adapter.port import Capability, Change, CheckResult, Context, Page, Remote, Write, Written
from tests.adapters.test_records_adapter import records_system

RECORDS = RecordsAdapter.spec


class NaiveAdapter(RecordsAdapter):
    """Creates without a look-up, swallows 429, ignores versions."""

    spec = replace(RECORDS, name="naive", capabilities=RECORDS.capabilities - {Capability.IDEMPOTENCY_KEY})

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        if ctx.dry_run:
            return Written(external_id=cmd.external_id or "")
        given = {"key": cmd.local_id, "body": dict(cmd.body), "source_version": cmd.source_version}
        method, id = ("PUT", f"/{cmd.external_id}") if cmd.external_id else ("POST", "")
        try:
            row = answered(send(ctx, method, f"/records/{entity}{id}", json=given), ctx)
        except RateLimited:
            return Written(external_id=cmd.external_id or "")
        return Written(external_id=row["id"], remote_version=str(row["version"]), body=row["body"])


class SloppyAdapter(RecordsAdapter):
    """Looks before it creates, and gets nearly everything else wrong."""

    spec = replace(RECORDS, name="sloppy")

    def check(self, ctx: Context) -> CheckResult:
        logging.getLogger("sloppy").debug("asking with %s", ctx.secrets.get("key"))
        if ctx.config.get("base_url", "").startswith("http://127"):
            request = urllib.request.Request(f"{ctx.config['base_url']}/ping")  # noqa: S310
            request.add_header("Authorization", f"Bearer {RECORDS.name}")
            try:
                urllib.request.urlopen(request).close()  # noqa: S310
            except OSError:
                return CheckResult()
        return CheckResult()

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> Sequence[Remote]:
        return super().find(ctx, entity, {"id": keys.get("id", "")})

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        said: dict[str, Any] = dict(cmd.body)
        amount = f"{float(said['amount']):.1f}"
        said |= {"text": str(said["text"])[:60], "amount": amount, "due_at": said["due_at"][:19]}
        return super().write(replace(ctx, dry_run=False), entity, replace(cmd, body=said))

    def delete(
        self,
        ctx: Context,
        entity: str,
        external_id: str,
        *,
        idempotency_key: str,
        expected_version: str | None = None,
    ) -> Written:
        answered(send(ctx, "DELETE", f"/records/{entity}/{external_id}"), ctx)
        return Written(external_id=external_id)

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        try:
            rows = answered(send(ctx, "GET", f"/records/{entity}", params={"since": cursor or 0, "limit": limit}), ctx)
        except Exception:
            return Page(items=[], next_cursor=None, complete=True)
        items = [Remote(external_id=row["id"], body=row["body"], version=str(row["version"])) for row in rows]
        return Page(items=items, next_cursor=rows[-1]["changed"] if rows else None, complete=len(rows) < limit)

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        page = super().changes(ctx, entity, checkpoint, limit)
        return replace(page, items=[replace(change, version=str(change.body)[:20]) for change in page.items])

    def parse_webhook(self, ctx: Context, headers: Mapping[str, str], body: bytes) -> Sequence[Change]:
        return super().parse_webhook(ctx, RecordsTarget.signed(body), body)

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        try:
            return super().get(ctx, entity, external_id)
        except AuthRefused:
            self.refresh(ctx)
            raise


@pytest.fixture(scope="module")
def target() -> Iterator[RecordsTarget]:
    yield from running()


@pytest.fixture
def system(target: RecordsTarget) -> System:
    return records_system(target)


class TestNaive(ConformanceSuite):
    adapter = NaiveAdapter()

    @pytest.fixture
    def system(self, target: RecordsTarget) -> Iterator[System]:
        """One that takes a key as often as it is sent."""
        target.unique = False
        yield records_system(target)
        target.unique = True


class TestSloppy(ConformanceSuite):
    adapter = SloppyAdapter()
