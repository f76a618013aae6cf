"""The adapter of bench/target.py: one call for each write. Plugged in from outside, as a company's own is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hub_adapter.client import NETWORK_PROPERTIES
from hub_adapter.port import (
    AdapterBase,
    AdapterSpec,
    Capability,
    Change,
    CheckResult,
    Context,
    Limits,
    Page,
    Remote,
    Write,
    Written,
)
from hub_adapter.verdict import refusal


class BenchAdapter(AdapterBase):
    """The target honours an idempotency key, so that nothing has to be looked for before it is written."""

    spec = AdapterSpec(
        name="bench", version="1.0.0", title="Bench target",
        config_schema={
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": False,
            "required": ["base_url"],
            "properties": {"base_url": {"type": "string", "description": "Where it listens."}, **NETWORK_PROPERTIES},
        },
        secret_fields=("key",), entities=("customer", "order", "product"), pulled=("product",),
        capabilities=frozenset({Capability.IDEMPOTENCY_KEY, Capability.INCREMENTAL}),
        limits=Limits(rate_per_s=100_000, burst=100_000, max_in_flight=16),
    )

    def check(self, ctx: Context) -> CheckResult:
        """Ask whether it is there."""
        self._ask(ctx, "GET", "/ping")
        return CheckResult()

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        """It tells nothing of what it has."""
        return None

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> Sequence[Remote]:
        """It cannot be searched."""
        return []

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        """Write the record, in one call."""
        made = self._ask(ctx, "POST", f"/records/{entity}", json=dict(cmd.body),
                         headers={"Idempotency-Key": cmd.idempotency_key})
        return Written(external_id=made["id"], remote_version=made["version"])

    def delete(self, ctx: Context, entity: str, external_id: str, *, idempotency_key: str,
               expected_version: str | None = None) -> Written:
        """Delete the record."""
        self._ask(ctx, "DELETE", f"/records/{entity}", headers={"Idempotency-Key": idempotency_key})
        return Written(external_id=external_id)

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        """It lists nothing."""
        return Page(items=[], next_cursor=None, complete=True)

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        """Report its products once."""
        rows = [] if checkpoint else self._ask(ctx, "GET", "/products")
        items = [Change(entity=entity, external_id=row["sku"], op="upsert", body=row, version=row["sku"])
                 for row in rows]
        return Page(items=items, next_cursor="told", complete=True)

    def _ask(self, ctx: Context, method: str, path: str, **options: Any) -> Any:
        reply = ctx.http.request(method, f"{ctx.config['base_url']}{path}", **options)
        if not reply.ok:
            raise refusal(reply, ctx.clock())
        return reply.json()


def plug_in(folder: Path) -> str:
    """Install the adapter's entry point in `folder`, as pip would; return what to put on PYTHONPATH."""
    info = folder / "crm_hub_bench-1.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: crm-hub-bench\nVersion: 1.0.0\n")
    (info / "entry_points.txt").write_text("[crm_hub.adapters]\nbench = bench.adapter:BenchAdapter\n")
    return str(folder)
