"""Products, prices and stock come from the ERP; it sends no webhooks, so we ask what changed.

A product changes in three places, each with a stamp of its own: its template (name, price), its variant (code), and its
stock moves (quantity: no stamp of the product moves with stock). A poll walks all three and reads each product that
shows up as it is now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hub_adapter.failure import AdapterError, Invalid
from hub_adapter.port import Change, Page, Remote
from services.integrations.adapters.tryton import mapping
from services.integrations.adapters.tryton.rest import Rest, Row

PRODUCT = "product.product"


@dataclass(frozen=True)
class Stream:
    """One place to look for changes: `products` reads the product ids off a row."""

    model: str
    product_field: str
    domain: tuple[Any, ...] = ()

    def products(self, row: Row) -> list[int]:
        found = row[self.product_field]
        return list(found) if isinstance(found, list) else [found]


STREAMS = (
    Stream("product.template", "products"),
    Stream("product.product", "id"),
    Stream("stock.move", "product", (["state", "in", ["assigned", "done", "cancelled"]],)),
)


@dataclass
class Checkpoint:
    """How far the poll has come.

    `seen`: per stream, the greatest stamp that was in an answer, never a clock of ours: stamps there are the start of a
    transaction, and rows have shown up 4.6 s after theirs. `walking`: the stream in hand and the row to go on after.
    """

    seen: dict[str, str] = field(default_factory=dict)
    walking: int = 0
    after: tuple[str, int] | None = None

    @classmethod
    def read(cls, text: str) -> Checkpoint:
        try:
            known = json.loads(text)
            after = known["after"]
            return cls(known["seen"], known["walking"], (after[0], after[1]) if after else None)
        except (ValueError, KeyError, TypeError, IndexError):
            raise AdapterError(f"not a checkpoint of this adapter: {text[:100]!r}") from None

    def text(self) -> str:
        return json.dumps({"seen": self.seen, "walking": self.walking, "after": self.after})


def changes(rest: Rest, checkpoint: str | None, limit: int) -> Page[Change]:
    """The next products to look at. Each poll begins `overlap_s` before the greatest stamp seen, and is walked by
    (stamp, id), so that a batch of equal stamps longer than a page loses nothing."""
    point = Checkpoint.read(checkpoint) if checkpoint else _beginning(rest)
    stamps: dict[int, datetime] = {}
    room = max(limit, 1)
    while room > 0 and point.walking < len(STREAMS):
        stream = STREAMS[point.walking]
        rows = _rows_after(rest, stream, point, room)
        for row in rows:
            stamp = mapping.read_datetime(row["last_modified_at"])
            for product in stream.products(row):
                stamps[product] = max(stamp, stamps.get(product, stamp))
        if rows:
            last = mapping.read_datetime(rows[-1]["last_modified_at"]).isoformat()
            point.seen[stream.model] = max(last, point.seen.get(stream.model, last), key=datetime.fromisoformat)
            point.after = (last, rows[-1]["id"])
        if len(rows) < room:
            point.walking, point.after = point.walking + 1, None
        room -= len(rows)
    complete = point.walking == len(STREAMS)
    if complete:
        point.walking, point.after = 0, None
    return Page(items=_as_changes(rest, stamps), next_cursor=point.text(), complete=complete)


def get(rest: Rest, external_id: str) -> Remote | None:
    rows = _read(rest, [["id", "=", int(external_id)]])
    return _remote(rows[0], _currency(rest), rest.clock()) if rows else None


def find(rest: Rest, keys: Mapping[str, str]) -> list[Remote]:
    """Products by "sku"."""
    if unknown := keys.keys() - {"sku"}:
        raise Invalid(f"a product cannot be found by {sorted(unknown)}")
    currency, now = _currency(rest), rest.clock()
    return [_remote(row, currency, now) for row in _read(rest, [["code", "=", keys["sku"]]])]


def page(rest: Rest, after_id: int, limit: int) -> list[Remote]:
    """Products by id, those without a code too: the caller counts rows to know the end."""
    currency, now = _currency(rest), rest.clock()
    return [_remote(row, currency, now) for row in _read(rest, [["id", ">", after_id]], limit)]


def _beginning(rest: Rest) -> Checkpoint:
    """The first poll reports every product once, through its template, and reads its stock then. Variants and moves are
    followed from now on only: years of stock moves would say the same products over and over."""
    point = Checkpoint()
    for stream in STREAMS[1:]:
        newest = rest.search(
            stream.model, list(stream.domain), ["last_modified_at"], limit=1, order=[["last_modified_at", "DESC"]]
        )
        if newest:
            point.seen[stream.model] = mapping.read_datetime(newest[0]["last_modified_at"]).isoformat()
    return point


def _rows_after(rest: Rest, stream: Stream, point: Checkpoint, limit: int) -> list[Row]:
    domain: list[Any] = list(stream.domain)
    if point.after is not None:
        stamp, row_id = mapping.wire_datetime(datetime.fromisoformat(point.after[0])), point.after[1]
        later = [["last_modified_at", ">", stamp]]
        domain.append(["OR", later, [["last_modified_at", "=", stamp], ["id", ">", row_id]]])
    elif (seen := point.seen.get(stream.model)) is not None:
        start = datetime.fromisoformat(seen) - timedelta(seconds=rest.settings.overlap_s)
        domain.append(["last_modified_at", ">=", mapping.wire_datetime(start)])
    by_stamp = [["last_modified_at", "ASC"], ["id", "ASC"]]
    return rest.search(stream.model, domain, [stream.product_field, "last_modified_at"], limit=limit, order=by_stamp)


def _as_changes(rest: Rest, stamps: Mapping[int, datetime]) -> list[Change]:
    if not stamps:
        return []
    currency, now = _currency(rest), rest.clock()
    items = []
    for row in _read(rest, [["id", "in", sorted(stamps)]]):
        if not row["code"]:
            continue  # without a code nobody can order it
        body = mapping.product_of(row, currency, now)
        stamp = stamps[row["id"]]
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


def _remote(row: Row, currency: str, now: datetime) -> Remote:
    body = mapping.product_of(row, currency, now)
    return Remote(
        external_id=str(row["id"]), body=body, version=mapping.product_digest(body), active=bool(body["active"])
    )
