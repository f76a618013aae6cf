"""Calling a sale off. How far that goes without a person depends on how far the ERP's people have come with it.

A draft is cancelled. A sale in processing never becomes `cancelled` in the ERP: its shipments and its draft invoice
are, the sale is told to ignore both, and processed once more it is done with nothing shipped and nothing invoiced. Each
step begins with what stands there, so a call whose answer was lost goes on where that one ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hub_adapter.failure import Invalid, TryLater
from hub_adapter.port import Written
from services.integrations.adapters.tryton import mapping
from services.integrations.adapters.tryton import sale as sale_of
from services.integrations.adapters.tryton.rest import Rest, Row

SALE, SHIPMENT, INVOICE, LINE = "sale.sale", "stock.shipment.out", "account.invoice", "sale.line"
FIELDS = (
    *sale_of.FIELDS,
    "invoices.number", "invoices.state", "invoices.total_amount", "invoices_ignored",
    "lines.moves.state", "lines.moves_ignored",
)  # fmt: skip
UNTOUCHED = ("draft", "waiting", "assigned")
"""Shipments that nobody has picked goods for yet."""
UNPOSTED = ("draft", "validated")
MOST_STEPS = 200


def cancel(rest: Rest, external_id: str) -> Written:
    """Call the sale off, all of it or nothing.

    Raises:
        Invalid: goods are picked or gone, or an invoice is posted; the text says which, and what a person can do.
        TryLater: the ERP took a step and shows nothing of it yet.
    """
    sale = _read(rest, external_id)
    for _ in range(MOST_STEPS):
        if sale is None or _is_over(sale):
            break
        _require_untouched(sale)
        if rest.dry_run:
            break
        sale = _after(rest, sale, _next_step(rest, sale))
    if sale is None:
        return Written(external_id=external_id, details={"state": "gone"})
    return Written(
        external_id=external_id,
        remote_version=sale_of.order_version(sale),
        body=sale_of.order_of(sale),
        details={"state": sale_of.order_of(sale)["state"], "number": sale["number"]},
    )


def _after(rest: Rest, before: Row, take: Callable[[], None]) -> Row | None:
    """The sale after a step. One that is refused is no matter if somebody else has moved the sale meanwhile."""
    refused: Invalid | None = None
    try:
        take()
    except Invalid as error:
        refused = error
    sale = _read(rest, str(before["id"]))
    if sale == before:
        raise refused or TryLater(f"sale {before['number']} stays {before['state']} in the ERP", seconds=5)
    return sale


def _is_over(sale: Row) -> bool:
    """Whether nothing is left to call off; an invoice that a person has credited counts as called off too."""
    settled = not _open_shipments(sale) and not _open_invoices(sale) and not _posted(sale)
    return sale_of.is_cancelled(sale) or (sale["state"] == "done" and settled and not _gone(sale))


def _require_untouched(sale: Row) -> None:
    name = f"sale {sale['number'] or sale['id']}"
    for shipment in _gone(sale):
        raise Invalid(
            f"shipment {shipment['number']} of {name} is {shipment['state']} in the ERP: the goods have left. "
            "Enter a return there when they come back"
        )
    for shipment in _open_shipments(sale):
        if shipment["state"] not in UNTOUCHED:
            raise Invalid(
                f"shipment {shipment['number']} of {name} is {shipment['state']} in the ERP: somebody has the goods in "
                "hand. Cancel it there and cancel the sale again from here, or let it go and enter a return"
            )
    for invoice in _posted(sale):
        raise Invalid(
            f"invoice {invoice['number']} of {name} is {invoice['state']} in the ERP: credit it there, with a refund, "
            "and cancel the sale again from here"
        )
    if sale["state"] == "done":
        raise Invalid(f"{name} is done in the ERP: enter a return there")


def _next_step(rest: Rest, sale: Row) -> Callable[[], None]:
    """What is missing first. `cancel` is refused on a confirmed sale: it goes back to draft before."""
    if sale["state"] in ("draft", "quotation", "confirmed"):
        button = "draft" if sale["state"] == "confirmed" else "cancel"
        return lambda: rest.press(SALE, sale["id"], button)
    for shipment in _open_shipments(sale):
        return lambda: rest.press(SHIPMENT, shipment["id"], "cancel")
    for invoice in _open_invoices(sale):
        return lambda: rest.press(INVOICE, invoice["id"], "cancel")
    return _ignoring(rest, sale) or (lambda: rest.press(SALE, sale["id"], "process"))


def _ignoring(rest: Rest, sale: Row) -> Callable[[], None] | None:
    """Tell the sale not to wait for what was cancelled; it would ask a person what to do about it."""
    known = set(sale["invoices_ignored"] or ())
    cancelled = [row["id"] for row in sale.get("invoices.") or () if row["state"] == "cancelled"]
    if invoices := sorted(set(cancelled) - known):
        return lambda: rest.write(SALE, sale["id"], {"invoices_ignored": [["add", invoices]]})
    for line in sale.get("lines.") or ():
        gone = {move["id"] for move in line.get("moves.") or () if move["state"] == "cancelled"}
        if moves := sorted(gone - set(line["moves_ignored"] or ())):
            ignored: dict[str, Any] = {"moves_ignored": [["add", moves]]}
            return lambda: rest.write(LINE, line["id"], ignored)
    return None


def _gone(sale: Row) -> list[Row]:
    return [row for row in sale.get("shipments.") or () if row["state"] in ("shipped", "done")]


def _open_shipments(sale: Row) -> list[Row]:
    return [row for row in sale.get("shipments.") or () if row["state"] not in ("shipped", "done", "cancelled")]


def _open_invoices(sale: Row) -> list[Row]:
    return [row for row in sale.get("invoices.") or () if row["state"] in UNPOSTED]


def _posted(sale: Row) -> list[Row]:
    """Invoices that ask for money; a credit note asks for less than none."""
    closed = [row for row in sale.get("invoices.") or () if row["state"] not in (*UNPOSTED, "cancelled")]
    return [row for row in closed if mapping.read_decimal(row["total_amount"]) > 0]


def _read(rest: Rest, external_id: str) -> Row | None:
    return rest.one(SALE, [["id", "=", int(external_id)]], FIELDS)
