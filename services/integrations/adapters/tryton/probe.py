"""Would this connection work? Every configured id is looked up, and everything that is wrong is named at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hub_adapter.failure import AdapterError
from hub_adapter.port import CheckResult, Context, Problem
from hub_adapter.settings import SettingsError
from services.integrations.adapters.tryton import products
from services.integrations.adapters.tryton.rest import Rest
from services.integrations.adapters.tryton.settings import TrytonSettings


def probe(ctx: Context) -> CheckResult:
    try:
        settings = TrytonSettings.of(ctx.config, ctx.secrets)
    except SettingsError as error:
        return error.result
    try:
        return CheckResult(problems=tuple(_problems(Rest(ctx), settings)))
    except AdapterError as error:
        field = "rest_key" if error.failure.error_class == "auth" else "base_url"
        return CheckResult(problems=(Problem(field, str(error)),), error_class=error.failure.error_class)


def _problems(rest: Rest, settings: TrytonSettings) -> Iterator[Problem]:
    configured: Mapping[str, tuple[str, Mapping[str, int]]] = {
        "company": ("company.company", {"": settings.company}),
        "web_shop": ("web.shop", {"": settings.web_shop}),
        "payment_term": ("account.invoice.payment_term", {"": settings.payment_term}),
        "uom": ("product.uom", {"": settings.uom}),
        "taxes": ("account.tax", settings.taxes),
    }
    for field, (model, ids) in configured.items():
        there = {row["id"] for row in rest.search(model, [["id", "in", sorted(ids.values())]], ["rec_name"])}
        for code, row_id in ids.items():
            if row_id not in there:
                yield Problem(f"{field}.{code}" if code else field, f"the ERP has no {model} with id {row_id}")
    yield from _wrong_currencies(rest, settings)
    yield from _wrong_warehouse(rest, settings)


def _wrong_currencies(rest: Rest, settings: TrytonSettings) -> Iterator[Problem]:
    rows = rest.search("currency.currency", [["id", "in", sorted(settings.currencies.values())]], ["code"])
    codes: dict[int, Any] = {row["id"]: row["code"] for row in rows}
    for code, row_id in settings.currencies.items():
        if row_id not in codes:
            yield Problem(f"currencies.{code}", f"the ERP has no currency.currency with id {row_id}")
        elif codes[row_id] != code:
            yield Problem(f"currencies.{code}", f"currency {row_id} is {codes[row_id]} in the ERP")


def _wrong_warehouse(rest: Rest, settings: TrytonSettings) -> Iterator[Problem]:
    """A location that is no warehouse would be counted without complaint, and hold 0 of everything."""
    place = rest.one("stock.location", [["id", "=", settings.warehouse]], ["type"])
    if place is None or place["type"] != "warehouse":
        found = f"is a {place['type']} location" if place else "is not there"
        yield Problem("warehouse", f"stock.location {settings.warehouse} {found} in the ERP; a warehouse is needed")
    elif (sku := settings.stock_probe_sku) is not None:
        counted = products.find(rest, {"sku": sku})
        if not counted:
            yield Problem("stock_probe_sku", f"the ERP has no product {sku}")
        elif counted[0].body["on_hand"] in (None, "0"):
            yield Problem("stock_probe_sku", f"the ERP counts none of {sku} in warehouse {settings.warehouse}")
