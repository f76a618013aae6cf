"""An order is a sale. (web_shop, web_id) is unique in the ERP, and web_id is our order's id.

A sale walks draft → quotation → confirmed → processing, one button each. Whatever was lost on the way, the next call
finds the sale by its web_id, reads the state that stands, and presses only what is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from hub_adapter.failure import AlreadyExists, DependencyMissing, Invalid, NotFound, TryLater
from hub_adapter.port import Change, Page, Remote, Write, Written
from services.integrations.adapters.tryton import mapping
from services.integrations.adapters.tryton import sale as sale_of
from services.integrations.adapters.tryton.rest import Rest, Row
from services.integrations.adapters.wires import tryton_walk as walk

SALE = "sale.sale"
PROCESSED_WITHIN_S = 15
READ_AT_ONCE = 20
"""Sales in one answer: with the most lines that an order may have, they stay below the cap of an answer."""
NEXT_BUTTON = {"draft": "quote", "quotation": "confirm", "confirmed": "process"}


def get(rest: Rest, external_id: str) -> Remote | None:
    row = rest.one(SALE, [["id", "=", int(external_id)]], sale_of.FIELDS)
    return _remote(row) if row else None


def find(rest: Rest, keys: Mapping[str, str]) -> list[Remote]:
    """Sales of our web shop by "id" (= web_id) or "number" (= reference)."""
    columns = {"id": "web_id", "number": "reference"}
    if unknown := keys.keys() - columns.keys():
        raise Invalid(f"a sale cannot be found by {sorted(unknown)}")
    clauses = [[columns[key], "=", value] for key, value in keys.items()]
    return [_remote(row) for row in rest.search(SALE, [_our_shop(rest), *clauses], sale_of.FIELDS, limit=50)]


def page(rest: Rest, after_id: int, limit: int) -> list[Remote]:
    rows = rest.search(SALE, [_our_shop(rest), ["id", ">", after_id]], ["web_id"], limit=limit)
    return [_remote(row) for row in _reported(rest, [row["id"] for row in rows])]


def changes(rest: Rest, checkpoint: str | None, limit: int) -> Page[Change]:
    """The next sales of our web shop to look at, each read as it is now, with its shipments.

    A second partial delivery need not touch the sale: shipments are walked too. A sale that the ERP left behind its
    shipments is moved on by the same button as one that it left confirmed, and told by the polls after.
    """
    step = walk.step(rest, _streams(rest), checkpoint, limit, rest.settings.overlap_s)
    rows = _reported(rest, sorted(step.stamps))
    for row in filter(sale_of.is_left_behind, rows):
        _catch_up(rest, row)
    return Page(items=_as_changes(rows, step.stamps), next_cursor=step.cursor, complete=step.complete)


def write(rest: Rest, cmd: Write) -> Written:
    """Have the order stand as a processing sale, made once.

    Raises:
        DependencyMissing: the customer has no party yet.
        Invalid: the ERP cannot book it as it stands (the field says which line), or the sale was cancelled there.
        NotFound: the bound sale is gone.
    """
    customer = cmd.references.get("customer")
    if not customer:
        raise DependencyMissing("the order's customer is not in the ERP yet", dependency="customer")
    sale = _standing(rest, cmd)
    if rest.dry_run:
        return _rehearsed(rest, cmd, sale)
    adopted = sale is not None and cmd.external_id is None
    if sale is None:
        sale, adopted = _create(rest, cmd, int(customer))
    elif sale["state"] == "draft" and not sale_of.same_lines(cmd.body, sale):
        sale = _rewrite_draft(rest, cmd, sale)
    return _written(cmd, _advance(rest, sale), adopted)


def _standing(rest: Rest, cmd: Write) -> Row | None:
    """The sale as it stands, if there is one.

    Raises:
        NotFound: we hold its id, and it is gone.
        Invalid: it was cancelled in the ERP. It keeps its web_id, so there can be no second one.
    """
    sale = _by_id(rest, int(cmd.external_id)) if cmd.external_id else _by_web_id(rest, cmd.local_id)
    if sale is None and cmd.external_id:
        raise NotFound(f"sale {cmd.external_id} is gone from the ERP")
    if sale is not None and sale_of.is_cancelled(sale):
        raise Invalid(f"sale {sale['number'] or sale['id']} was cancelled in the ERP", field="/status")
    return sale


def _create(rest: Rest, cmd: Write, party: int) -> tuple[Row, bool]:
    """A draft, and whether it turned out to be there already."""
    lines = mapping.sale_lines(cmd.body, _product_ids(rest, cmd.body), rest.settings)
    address = _address(rest, party, cmd.body)
    values = mapping.sale_values(cmd.body, cmd.local_id, party, address, lines, rest.settings, rest.clock())
    try:
        sale, adopted = _by_id(rest, rest.create(SALE, values)), False
    except Invalid:
        # An empty look-up right after a cut proves nothing: the lost create may land while we send it again. The
        # refusal is translated, so search by the key instead of reading it.
        sale, adopted = _by_web_id(rest, cmd.local_id), True
        if sale is None:
            raise
    if sale is None:
        raise AlreadyExists(f"the ERP made a sale for web_id {cmd.local_id} and does not show it")
    return sale, adopted


def _rewrite_draft(rest: Rest, cmd: Write, sale: Row) -> Row:
    """A draft that an earlier version of this order left behind is still free to be changed."""
    lines = mapping.sale_lines(cmd.body, _product_ids(rest, cmd.body), rest.settings)
    old = [line["id"] for line in sale["lines."]]
    rest.write(SALE, sale["id"], {"lines": [["delete", old], ["create", lines]]})
    return _by_id(rest, sale["id"]) or sale


def _advance(rest: Rest, sale: Row) -> Row:
    """Press what is missing, reading the state after each button.

    Scar: `confirm` answers "confirmed" although processing has happened, and with a queue worker it has not yet; so the
    answer is never believed. Where `confirmed` lasts, `process` is pressed.

    Raises:
        TryLater: somebody else's confirmation is being processed this very moment.
    """
    pressed = None
    for _ in NEXT_BUTTON:
        button, before = NEXT_BUTTON.get(sale["state"]), sale["state"]
        if button is None:
            break
        if button == "process" and pressed != "confirm":
            _require_settled(rest, sale)
        try:
            rest.press(SALE, sale["id"], button)
            pressed = button
        except Invalid:
            # A passed button is refused. If somebody pressed it meanwhile, the state has moved on and all is well. A
            # warning of the ERP is a refusal too, and is not skipped: it asks a person.
            sale = _by_id(rest, sale["id"]) or sale
            if sale["state"] == before:
                raise
            continue
        sale = _by_id(rest, sale["id"]) or sale
    return sale


def _catch_up(rest: Rest, sale: Row) -> None:
    """Have the ERP do what it left undone; until it lets us, the sale is told as it stands."""
    if _untouched_s(rest, sale) >= PROCESSED_WITHIN_S and not rest.dry_run:
        with contextlib.suppress(Invalid):
            rest.press(SALE, sale["id"], "process")


def _untouched_s(rest: Rest, sale: Row) -> float:
    return (rest.their_now - sale_of.last_touched(sale)).total_seconds()


def _require_settled(rest: Rest, sale: Row) -> None:
    """Scar: a confirmation whose answer was lost may still be at work, and an ERP on SQLite, which locks no row, then
    invoices the sale once more for each `process` beside it. PostgreSQL holds that off; being late costs nothing."""
    age_s = _untouched_s(rest, sale)
    if age_s < PROCESSED_WITHIN_S:
        raise TryLater(f"the ERP confirmed the sale {max(age_s, 0):.0f} s ago and is processing it", seconds=5)


def _product_ids(rest: Rest, order: Mapping[str, Any]) -> dict[str, int]:
    """SKU → product id. An inactive product may share its code with an active one: only active ones count."""
    skus = sorted({str(line.get("sku")) for line in order.get("lines") or []})
    rows = rest.search("product.product", [["code", "in", skus], ["active", "=", True]], ["code", "template.active"])
    return {row["code"]: row["id"] for row in rows if row["template."]["active"]}


def _address(rest: Rest, party_id: int, order: Mapping[str, Any]) -> int:
    """The address to ship to: the order's own if it names one, else the party's.

    Scar: SQLite accepts a sale for a party that does not exist, and a missing address shows only at `quote`, when the
    draft is already made. Both are settled here, before it.
    """
    party = rest.one("party.party", [["id", "=", party_id]], mapping.PARTY_FIELDS)
    if party is None:
        raise DependencyMissing(f"party {party_id} is gone from the ERP", dependency="customer")
    ship_to = order.get("ship_to")
    if ship_to and any(ship_to.get(key) for key in mapping.ADDRESS_FIELDS):
        for address in party.get("addresses.") or []:
            if address["active"] and mapping.same_address(ship_to, address):
                return int(address["id"])
        values = {key: ship_to.get(key) for key in mapping.ADDRESS_FIELDS}
        return rest.create("party.address", {"party": party_id, **values})
    if (own := mapping.own_address(party)) is not None:
        return int(own["id"])
    if not rest.settings.empty_address:
        raise Invalid("the customer has no address, and the ERP quotes no sale without one", field="/ship_to")
    return rest.create("party.address", {"party": party_id})


def _written(cmd: Write, sale: Row, adopted: bool) -> Written:
    total = cmd.body.get("total")
    booked = sale_of.booked(sale)["total"]
    warnings = []
    if not sale_of.same_lines(cmd.body, sale):
        warnings.append("the lines in the ERP differ from the order's")
    if total is not None and booked is not None and Decimal(total) != Decimal(booked):
        warnings.append(f"the order's total is {total}, the ERP's {booked}")
    if sale["state"] in NEXT_BUTTON:
        warnings.append(f"the sale is still {sale['state']} in the ERP")
    return Written(
        external_id=str(sale["id"]),
        remote_version=sale_of.order_version(sale),
        adopted=adopted,
        body=sale_of.order_of(sale),
        details={"number": sale["number"], "state": sale["state"], "total": booked, "warnings": warnings},
    )


def _rehearsed(rest: Rest, cmd: Write, sale: Row | None) -> Written:
    if sale is not None:
        missing = NEXT_BUTTON.get(sale["state"])
        return Written(
            external_id=str(sale["id"]),
            details={"would": missing or "nothing", "from": sale_of.booked(sale), "to": dict(cmd.body)},
        )
    mapping.sale_lines(cmd.body, _product_ids(rest, cmd.body), rest.settings)
    return Written(external_id="", details={"would": "create", "to": dict(cmd.body)})


def _streams(rest: Rest) -> tuple[walk.Stream, ...]:
    shop = rest.settings.web_shop
    return (
        walk.Stream(SALE, (), lambda row: [row["id"]], (_our_shop(rest),)),
        walk.Stream(
            "stock.shipment.out", ("outgoing_moves.sale",), _sales_shipped, (["moves.sale.web_shop", "=", shop],)
        ),
    )


def _sales_shipped(shipment: Row) -> list[int]:
    return sorted({move["sale"] for move in shipment.get("outgoing_moves.") or () if move["sale"]})


def _as_changes(rows: Sequence[Row], stamps: Mapping[int, datetime]) -> list[Change]:
    return [
        Change(
            entity="order",
            external_id=str(row["id"]),
            op="upsert",
            body=sale_of.order_of(row),
            version=sale_of.order_version(row),
            changed_at=stamps[row["id"]],
        )
        for row in rows
    ]


def _reported(rest: Rest, ids: Sequence[int]) -> list[Row]:
    """How these sales stand, as far as they are our shop's; in order of id."""
    rows = []
    for first in range(0, len(ids), READ_AT_ONCE):
        wanted = ["id", "in", list(ids[first : first + READ_AT_ONCE])]
        rows += rest.search(SALE, [_our_shop(rest), wanted], sale_of.REPORTED)
    return rows


def _our_shop(rest: Rest) -> list[Any]:
    return ["web_shop", "=", rest.settings.web_shop]


def _by_web_id(rest: Rest, web_id: str) -> Row | None:
    return rest.one(SALE, [_our_shop(rest), ["web_id", "=", web_id]], sale_of.FIELDS)


def _by_id(rest: Rest, sale_id: int) -> Row | None:
    return rest.one(SALE, [["id", "=", sale_id]], sale_of.FIELDS)


def _remote(sale: Row) -> Remote:
    return Remote(
        external_id=str(sale["id"]),
        body=sale_of.order_of(sale),
        version=sale_of.order_version(sale),
        active=not sale_of.is_cancelled(sale),
    )
