"""Acme as the hub sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from hub_adapter.failure import AdapterError
from hub_adapter.port import (
    AdapterBase,
    AdapterSpec,
    CheckResult,
    Context,
    Limits,
    Page,
    Problem,
    Remote,
    Write,
    Written,
)
from crm_hub_acme.mapping import remote_of
from crm_hub_acme.rest import Rest
from crm_hub_acme.settings import CONFIG_SCHEMA, SECRET_FIELDS, missing


class AcmeAdapter(AdapterBase):
    """Acme, over its REST API."""

    spec = AdapterSpec(
        name="acme",
        version="0.1.0",
        title="Acme",
        config_schema=CONFIG_SCHEMA,
        secret_fields=SECRET_FIELDS,
        address=("base_url",),
        entities=("customer",),
        capabilities=frozenset(),
        limits=Limits(rate_per_s=5, burst=5, max_in_flight=2, page_size=100),
    )

    def check(self, ctx: Context) -> CheckResult:
        if problems := missing(ctx.config, ctx.secrets):
            return CheckResult(problems=problems)
        try:
            Rest(ctx).ask("GET", "/")
        except AdapterError as error:
            field = "api_key" if error.failure.error_class == "auth" else "base_url"
            return CheckResult(problems=(Problem(field, str(error)),), error_class=error.failure.error_class)
        return CheckResult()

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        row = Rest(ctx).read(f"/customers/{quote(external_id, safe='')}")
        return None if row is None else remote_of(row)

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> Sequence[Remote]:
        raise AdapterError("find is not written yet")

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        raise AdapterError("write is not written yet")

    def delete(
        self,
        ctx: Context,
        entity: str,
        external_id: str,
        *,
        idempotency_key: str,
        expected_version: str | None = None,
    ) -> Written:
        raise AdapterError("delete is not written yet")

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        raise AdapterError("list is not written yet")
