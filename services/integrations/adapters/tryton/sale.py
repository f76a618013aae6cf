"""A sale as the hub reads it. Pure functions: no call, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from services.integrations.adapters.tryton import mapping
from services.integrations.adapters.tryton.mapping import Json, Row
from services.integrations.adapters.wires.tryton import read_datetime, written_datetime

REPORTED = (
    "number", "web_id", "state", "shipment_state", "invoice_state", "last_modified_at",
    "shipments.number", "shipments.state", "shipments.last_modified_at",
    "shipments.outgoing_moves.sale", "shipments.outgoing_moves.product.code", "shipments.outgoing_moves.quantity",
    "shipments.outgoing_moves.state", "shipments.outgoing_moves.last_modified_at",
)  # fmt: skip
"""What tells how a sale stands."""
FIELDS = (
    *REPORTED, "reference", "party", "total_amount", "currency.code",
    "lines.type", "lines.product.code", "lines.quantity", "lines.unit_price",
)  # fmt: skip
"""And what it sells."""


def is_cancelled(sale: Json) -> bool:
    """Scar: a sale that was processed never becomes `cancelled`. One of which everything was called off is done, with
    nothing shipped and nothing invoiced."""
    undone = (sale["state"], sale["shipment_state"], sale["invoice_state"]) == ("done", "none", "none")
    return bool(undone or sale["state"] == "cancelled")


def is_left_behind(sale: Json) -> bool:
    """Tell whether a sale still waits for shipments, all of which have ended.

    Scar: what a shipment's end means for its sale is done after the shipment is committed. An ERP that is killed in
    between, and has no queue worker, never does it.
    """
    open_ = {row["state"] for row in sale.get("shipments.") or ()} - {"done", "cancelled"}
    waits = sale["state"] == "processing" and _word(sale["shipment_state"]) in ("waiting", "partially_shipped")
    return bool(waits and sale.get("shipments.") and not open_)


def last_touched(sale: Json) -> datetime:
    """When the ERP last wrote a sale or one of its shipments, by the clock there."""
    return max(read_datetime(row["last_modified_at"]) for row in (sale, *(sale.get("shipments.") or ())))


def order_of(sale: Json) -> Row:
    """A sale as sales takes it (`contracts.sales.ExternalOrder`), with its shipments in the order they were made."""
    return {
        "id": sale["web_id"],
        "number": sale["number"],
        "state": "cancelled" if is_cancelled(sale) else sale["state"],
        "shipment_state": _word(sale["shipment_state"]),
        "invoice_state": _word(sale["invoice_state"]),
        "shipments": [_shipment(row, sale["id"]) for row in _by_id(sale.get("shipments."))],
    }


def _word(state: str | None) -> str:
    """Their "partially shipped" as one word."""
    return (state or "none").replace(" ", "_")


def _by_id(rows: Sequence[Row] | None) -> list[Row]:
    return sorted(rows or (), key=lambda row: int(row["id"]))


def _shipment(row: Json, sale_id: int) -> Row:
    """What of a shipment is this sale's: colleagues may put several sales into one."""
    moves = [
        move
        for move in _by_id(row.get("outgoing_moves."))
        if move["sale"] == sale_id and (move["state"] != "cancelled" or row["state"] == "cancelled")
    ]
    # The earliest: when the books are closed, the ERP touches moves of long ago once more.
    stamps = [read_datetime(move["last_modified_at"]) for move in moves]
    done = row["state"] == "done" and stamps
    return {
        "external_id": str(row["id"]),
        "number": row["number"],
        "state": row["state"],
        "lines": [
            {"sku": (move.get("product.") or {}).get("code") or "", "quantity": mapping.quantity(move["quantity"])}
            for move in moves
        ],
        "done_at": written_datetime(min(stamps)) if done else None,
    }


def order_version(sale: Json) -> str:
    """Another one for every state that a sale was seen in, be it one that it had been in before.

    The content alone would not do: A, B, A are three states. The stamp alone neither: a transaction that began earlier
    may commit later, without raising the greatest stamp.
    """
    return f"{last_touched(sale).isoformat()}/{mapping.digest(order_of(sale))}"


def booked(sale: Json) -> Row:
    """What a sale sells, and for how much."""
    total = sale["total_amount"]
    return {
        "currency": (sale.get("currency.") or {}).get("code"),
        "total": mapping.amount(mapping.read_decimal(total)) if total is not None else None,
        "lines": [
            {
                "sku": (line.get("product.") or {}).get("code"),
                "quantity": mapping.quantity(line["quantity"]),
                "unit_price": mapping.amount(mapping.read_decimal(line["unit_price"])),
            }
            for line in sale.get("lines.") or []
            if line["type"] == "line"
        ],
    }


def same_lines(order: Json, sale: Json) -> bool:
    """Whether a sale sells what the order says: products, quantities, prices, in this order."""
    ours = [
        (line.get("sku"), Decimal(str(line["quantity"])), Decimal(str(line["unit_price"])))
        for line in order.get("lines") or []
    ]
    theirs = [(line["sku"], Decimal(line["quantity"]), Decimal(line["unit_price"])) for line in booked(sale)["lines"]]
    return ours == theirs
