"""Tryton as the hub sees it: customers and orders out; products, and what becomes of orders, in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType

from hub_adapter.failure import AdapterError, Invalid
from hub_adapter.port import (
    AdapterBase,
    AdapterSpec,
    Capability,
    Change,
    CheckResult,
    Context,
    Json,
    Limits,
    Page,
    Remote,
    Write,
    Written,
)
from services.integrations.adapters.tryton import cancellations, customers, mapping, orders, products
from services.integrations.adapters.tryton.fields import FIELDS
from services.integrations.adapters.tryton.probe import probe
from services.integrations.adapters.tryton.rest import Rest
from services.integrations.adapters.tryton.settings import CONFIG_SCHEMA, SECRET_FIELDS

ROOMS: Mapping[str, ModuleType] = {"customer": customers, "order": orders, "product": products}


class TrytonAdapter(AdapterBase):
    """Tryton 8.2 with the modules party, product, sale, stock, account_invoice and web_shop, over its REST door."""

    spec = AdapterSpec(
        name="tryton",
        version="1.0.0",
        title="Tryton ERP",
        config_schema=CONFIG_SCHEMA,
        secret_fields=SECRET_FIELDS,
        entities=tuple(ROOMS),
        pulled=("product", "order"),
        address=("base_url", "database"),
        fields=FIELDS,
        # A party's code and a sale's (web shop, web id) are unique over there and hold our ids: what is sent twice is
        # refused, and adopted.
        capabilities=frozenset(
            {
                Capability.IDEMPOTENCY_KEY,
                Capability.FIND_BY_LOCAL_KEY,
                Capability.LIST_COMPLETE,
                Capability.INCREMENTAL,
            }
        ),
        # Measured: 2.5 orders/s with one client, 3.0 with four or eight. More in flight only queues over there.
        limits=Limits(rate_per_s=20, burst=20, max_in_flight=4, page_size=200),
    )

    def check(self, ctx: Context) -> CheckResult:
        return probe(ctx)

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        remote: Remote | None = _room(entity).get(Rest(ctx), external_id)
        return remote

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> Sequence[Remote]:
        if not keys:
            raise Invalid("a look-up needs a key")
        found: Sequence[Remote] = _room(entity).find(Rest(ctx), keys)
        return found

    def expected(self, ctx: Context, entity: str, body: Json) -> Json:
        if entity == "customer":
            return mapping.expected_customer(body)
        # Of a sale the hub owns the key; what it sells stands fast once it is confirmed, and `get` tells the rest.
        return {"id": body["id"]} if entity == "order" else {}

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        if entity == "customer":
            return customers.write(Rest(ctx), cmd)
        if entity == "order":
            return orders.write(Rest(ctx), cmd)
        raise AdapterError(f"the hub does not write {entity} to the ERP")

    def delete(
        self,
        ctx: Context,
        entity: str,
        external_id: str,
        *,
        idempotency_key: str,
        expected_version: str | None = None,
    ) -> Written:
        if entity == "customer":
            return customers.retire(Rest(ctx), external_id)
        if entity == "order":
            return cancellations.cancel(Rest(ctx), external_id)
        raise AdapterError(f"the hub does not delete {entity} in the ERP")

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        rows: Sequence[Remote] = _room(entity).page(Rest(ctx), int(cursor or 0), limit)
        complete = len(rows) < limit
        return Page(items=rows, next_cursor=None if complete else rows[-1].external_id, complete=complete)

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        if entity == "product":
            return products.changes(Rest(ctx), checkpoint, limit)
        if entity == "order":
            return orders.changes(Rest(ctx), checkpoint, limit)
        return super().changes(ctx, entity, checkpoint, limit)


def _room(entity: str) -> ModuleType:
    if entity not in ROOMS:
        raise AdapterError(f"Tryton has no {entity} for the hub")
    return ROOMS[entity]
