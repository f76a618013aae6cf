"""Products, prices and stock come from the ERP.

A product changes in three places, each with a stamp of its own: its template (name, price), its variant (code), and its
stock moves (quantity: no stamp of the product moves with stock). A poll walks all three (wires/tryton_walk.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hub_adapter.failure import AdapterError, Invalid
from hub_adapter.port import Change, Page, Remote
from services.integrations.adapters.tryton import mapping
from services.integrations.adapters.tryton.rest import Rest, Row
from services.integrations.adapters.wires import tryton_walk as walk

PRODUCT = "product.product"
STREAMS = (
    walk.Stream("product.template", ("products",), lambda row: row["products"]),
    walk.Stream(PRODUCT, (), lambda row: [row["id"]]),
    walk.Stream(
        "stock.move",
        ("product",),
        lambda row: [row["product"]],
        (["state", "in", ["assigned", "done", "cancelled"]],),
    ),
)


def changes(rest: Rest, checkpoint: str | None, limit: int) -> Page[Change]:
    """The next products to look at, each read as it is now."""
    step = walk.step(rest, STREAMS, checkpoint, limit, rest.settings.overlap_s)
    return Page(items=_as_changes(rest, step.stamps), next_cursor=step.cursor, complete=step.complete)


def get(rest: Rest, external_id: str) -> Remote | None:
    currency, before = _currency(rest), rest.their_now
    rows = _read(rest, [["id", "=", int(external_id)]])
    return _remote(rows[0], currency, before) if rows else None


def find(rest: Rest, keys: Mapping[str, str]) -> list[Remote]:
    """Products by "sku"."""
    if unknown := keys.keys() - {"sku"}:
        raise Invalid(f"a product cannot be found by {sorted(unknown)}")
    currency, before = _currency(rest), rest.their_now
    return [_remote(row, currency, before) for row in _read(rest, [["code", "=", keys["sku"]]])]


def page(rest: Rest, after_id: int, limit: int) -> list[Remote]:
    """Products by id, those without a code too: the caller counts rows to know the end."""
    currency, before = _currency(rest), rest.their_now
    return [_remote(row, currency, before) for row in _read(rest, [["id", ">", after_id]], limit)]


def _as_changes(rest: Rest, stamps: Mapping[int, datetime]) -> list[Change]:
    if not stamps:
        return []
    currency, before = _currency(rest), rest.their_now
    items = []
    for row in _read(rest, [["id", "in", sorted(stamps)]]):
        if not row["code"]:
            continue  # without a code nobody can order it
        stamp = stamps[row["id"]]
        body = mapping.product_of(row, currency, mapping.counted_at(before, stamp))
        items.append(
            Change(
                entity="product",
                external_id=str(row["id"]),
                op="upsert",
                body=body,
                # The stamp alone is not enough: a transaction that began earlier may commit later and change the stock
                # without raising the greatest stamp. The content alone is not either: 5, 4, 5 are three states.
                version=f"{stamp.isoformat()}/{mapping.product_digest(body)}",
                changed_at=stamp,
            )
        )
    return items


def _read(rest: Rest, domain: list[Any], limit: int | None = None) -> list[Row]:
    # Scar: without `locations` in the context every quantity is 0.0, and no error. With `stock_skip_warehouse` a
    # warehouse would count as the place between its own shelves, where nothing lies.
    counted_in = {"locations": [rest.settings.warehouse], "stock_skip_warehouse": False}
    return rest.search(PRODUCT, domain, mapping.PRODUCT_FIELDS, limit=limit, context=counted_in)


def _currency(rest: Rest) -> str:
    """List prices are in the company's currency; the product does not say so."""
    company = rest.one("company.company", [["id", "=", rest.settings.company]], ["currency.code"])
    if company is None:
        raise AdapterError(f"the ERP has no company {rest.settings.company}")
    return str(company["currency."]["code"])


def _remote(row: Row, currency: str, counted_at: datetime) -> Remote:
    body = mapping.product_of(row, currency, counted_at)
    return Remote(
        external_id=str(row["id"]), body=body, version=mapping.product_digest(body), active=bool(body["active"])
    )
