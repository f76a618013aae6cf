"""Our canonical records ↔ Tryton's rows. Pure functions: no call, no clock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from hub_adapter.failure import Invalid
from services.integrations.adapters.tryton.settings import TrytonSettings
from services.integrations.adapters.wires.tryton import written_datetime

Row = dict[str, Any]
Json = Mapping[str, Any]

# Scar: PostgreSQL answers 503, for ever, to a text beyond about 2,700 bytes in an indexed column.
LONGEST_INDEXED_BYTES = 2_600
PRICE_DIGITS = 4

CONTACTS = {  # our field → (type, name of the contact mechanism: a free field there, by which we find ours again)
    "email": ("email", "hub:email"),
    "phone": ("mobile", "hub:mobile"),
}
ADDRESS_FIELDS = ("street", "city", "postal_code")
PARTY_FIELDS = (
    "name", "code", "active", "replaced_by",
    "addresses.street", "addresses.city", "addresses.postal_code", "addresses.active",
    "contact_mechanisms.type", "contact_mechanisms.name", "contact_mechanisms.value",
    "contact_mechanisms.value_compact", "contact_mechanisms.active",
)  # fmt: skip
KNOWN_BY_FIELDS = (*PARTY_FIELDS, "identifiers.code", "identifiers.active")
PRODUCT_FIELDS = (
    "code", "active", "list_price", "quantity", "last_modified_at", "template.name", "template.active",
    "template.salable", "template.type", "template.list_price", "template.categories.name",
)  # fmt: skip


# --- values ----------------------------------------------------------------------------------------------------------


def wire_decimal(value: str | Decimal) -> Row:
    return {"__class__": "Decimal", "decimal": str(value)}


def wire_date(day: date) -> Row:
    return {"__class__": "date", "year": day.year, "month": day.month, "day": day.day}


def read_decimal(value: Any) -> Decimal:
    return Decimal(value["decimal"] if isinstance(value, Mapping) else str(value))


def amount(value: Decimal) -> str:
    """A price as we write it: at least two decimals, no more than it needs ("199.00", "0.8512")."""
    short = value.normalize()
    exponent = short.as_tuple().exponent
    return format(short if isinstance(exponent, int) and exponent < -2 else value.quantize(Decimal("0.01")), "f")


def quantity(value: Any) -> str:
    """A quantity as we write it ("2", "0.5"). The ERP counts in floats: 1000000.0."""
    return format(Decimal(str(value)).normalize(), "f") if value else "0"


def digest(body: Json) -> str:
    """A short hash of a canonical record: equal records, equal digests."""
    plain = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()[:20]


def _number(text: Any, pointer: str) -> Decimal:
    try:
        number = Decimal(str(text))
    except InvalidOperation:
        raise Invalid(f"{text!r} is not a number", field=pointer) from None
    if not number.is_finite():
        raise Invalid(f"{text!r} is not a number", field=pointer)
    return number


# --- customer ↔ party ------------------------------------------------------------------------------------------------


def wanted_customer(body: Json) -> Row:
    """The part of a customer that the ERP gets, in canonical form.

    Raises:
        Invalid: there is no name, or it is longer than the ERP can index.
    """
    name = str(body.get("name") or "").strip()
    if not name:
        raise Invalid("a party needs a name", field="/name")
    if len(name.encode()) > LONGEST_INDEXED_BYTES:
        raise Invalid(f"the name is longer than {LONGEST_INDEXED_BYTES} bytes", field="/name")
    address = {
        key: str(value).strip() for key, value in (body.get("address") or {}).items() if key in ADDRESS_FIELDS and value
    }
    return {
        "name": name,
        "email": (body.get("email") or "").strip() or None,
        "phone": (body.get("phone") or "").strip() or None,
        "address": {key: address.get(key) for key in ADDRESS_FIELDS} if address else None,
    }


def expected_customer(body: Json) -> Row:
    """A customer as `customer_of` tells it once it stands there. An address that the hub has none of stays theirs.

    Raises:
        Invalid: as `wanted_customer`.
    """
    wanted = wanted_customer(body)
    contacts = {field: contact_form(field, wanted[field]) if wanted[field] else None for field in CONTACTS}
    address = {"address": wanted["address"]} if wanted["address"] else {}
    return {"name": wanted["name"], **contacts, **address}


def customer_of(party: Json) -> Row:
    """A party in canonical form: the fields that we own there, and nothing of what colleagues keep beside them."""
    address = own_address(party)
    contacts = {field: own_contact(party, field) for field in CONTACTS}
    return {
        "name": party["name"],
        **{
            field: contact_form(field, row["value_compact"] or row["value"]) if row and row["active"] else None
            for field, row in contacts.items()
        },
        "address": {key: address[key] or None for key in ADDRESS_FIELDS} if address and _filled(address) else None,
    }


def known_by(party: Json) -> dict[str, list[str]]:
    """What people at the ERP know a party by, whoever wrote it there; nothing for one that was merged into another."""
    if party["replaced_by"]:
        return {}
    contacts = [row for row in party.get("contact_mechanisms.") or [] if row["active"]]
    phones = [row["value_compact"] or row["value"] for row in contacts if row["type"] in ("phone", "mobile")]
    return {
        "code": [party["code"]],
        "tax_number": [row["code"] for row in party.get("identifiers.") or [] if row["active"]],
        "phone": phones,
        "email": [row["value"] for row in contacts if row["type"] == "email"],
        "name": [party["name"]] if party["name"] else [],
    }


def own_contact(party: Json, field: str) -> Row | None:
    """The contact mechanism we keep for `field`, by its type and our name on it; a colleague's has another name."""
    kind, name = CONTACTS[field]
    rows: list[Row] = party.get("contact_mechanisms.") or []
    return next((row for row in rows if row["type"] == kind and row["name"] == name), None)


def own_address(party: Json) -> Row | None:
    """The address we keep up to date: the oldest active one. Later ones belong to single orders or to colleagues."""
    rows: list[Row] = [row for row in party.get("addresses.") or [] if row["active"]]
    return min(rows, key=lambda row: int(row["id"]), default=None)


def _filled(address: Json) -> bool:
    return any(address[key] for key in ADDRESS_FIELDS)


def same_address(ours: Json, theirs: Json) -> bool:
    return all((ours.get(key) or "") == (theirs[key] or "") for key in ADDRESS_FIELDS)


def contact_form(field: str, value: str) -> str:
    """The one form in which a phone number or mail address is compared.

    Scar: with its phone library the ERP stores "+86 138 0013 8000" for "+8613800138000"; compare the compact form, or
    update for ever. Mail addresses come back in lower case.
    """
    return "".join(value.split()).replace("-", "") if field == "phone" else value.casefold()


def same_contact(field: str, ours: str, theirs: Json) -> bool:
    return contact_form(field, ours) == contact_form(field, str(theirs["value_compact"] or theirs["value"]))


def party_values(wanted: Json, code: str) -> Row:
    """A new party, without its contacts (`contact_commands` makes those)."""
    address = {key: value for key, value in (wanted["address"] or {}).items() if value}
    return {"name": wanted["name"], "code": code, "addresses": [["create", [address]]] if address else []}


def party_changes(wanted: Json, party: Json) -> Row:
    """What has to be written so that name and address stand as wanted; empty when they do."""
    changes: Row = {}
    if party["name"] != wanted["name"]:
        changes["name"] = wanted["name"]
    if (ours := wanted["address"]) is not None:
        theirs = own_address(party)
        if theirs is None:
            changes["addresses"] = [["create", [ours]]]
        elif not same_address(ours, theirs):
            changes["addresses"] = [["write", [theirs["id"]], dict(ours)]]
    return changes


def contact_commands(wanted: Json, party: Json) -> dict[str, list[Any]]:
    """Field → commands for `contact_mechanisms` that bring it to what is wanted; nothing for those that stand.

    What the customer no longer has is deactivated, never deleted: the ERP keeps what its documents point at.
    """
    commands: dict[str, list[Any]] = {}
    for field, (kind, name) in CONTACTS.items():
        ours, theirs = wanted[field], own_contact(party, field)
        if theirs is None and (unnamed := _unnamed_contact(party, field, ours)) is not None:
            steps: list[Any] = [["write", [unnamed["id"]], {"name": name}]]
        elif theirs is None:
            steps = [["create", [{"type": kind, "name": name, "value": ours}]]] if ours else []
        else:
            steps = [["write", [theirs["id"]], change] for change in _contact_steps(field, ours, theirs)]
        if steps:
            commands[field] = steps
    return commands


def _unnamed_contact(party: Json, field: str, ours: str | None) -> Row | None:
    """A contact that a colleague wrote down before the hub came, with our value and no name: it becomes ours."""
    kind, _name = CONTACTS[field]
    rows: list[Row] = party.get("contact_mechanisms.") or [] if ours else []
    return next((row for row in rows if row["type"] == kind and row["active"] and not row["name"]
                 and same_contact(field, ours or "", row)), None)


def _contact_steps(field: str, ours: str | None, theirs: Json) -> list[Row]:
    if not ours:
        return [{"active": False}] if theirs["active"] else []
    # Scar: the value of an inactive contact is read-only, and a write that brings both at once is refused whole.
    revived: list[Row] = [] if theirs["active"] else [{"active": True}]
    return revived if same_contact(field, ours, theirs) else [*revived, {"value": ours}]


# --- order → sale ----------------------------------------------------------------------------------------------------


def sale_lines(order: Json, products: Mapping[str, int], settings: TrytonSettings) -> list[Row]:
    """The lines of a sale. `products` maps each SKU to the ERP's product id.

    Raises:
        Invalid: names the line, by JSON pointer, and what about it cannot be booked.
    """
    lines = order.get("lines") or []
    if not lines:
        raise Invalid("the order has no lines", field="/lines")
    return [_sale_line(line, f"/lines/{n}", products, settings) for n, line in enumerate(lines)]


def _sale_line(line: Json, pointer: str, products: Mapping[str, int], settings: TrytonSettings) -> Row:
    sku, tax = str(line.get("sku")), str(line.get("tax_code") or "")
    if sku not in products:
        raise Invalid(f"the ERP has no active product {sku!r}", field=f"{pointer}/sku")
    if tax and tax not in settings.taxes:
        raise Invalid(f"the tax code {tax!r} is not mapped in the connection's settings", field=f"{pointer}/tax_code")
    price = _number(line.get("unit_price"), f"{pointer}/unit_price")
    if price != round(price, PRICE_DIGITS):
        raise Invalid(f"the ERP keeps {PRICE_DIGITS} decimals of a price, not {price}", field=f"{pointer}/unit_price")
    return {
        "product": products[sku],
        "quantity": float(_number(line.get("quantity"), f"{pointer}/quantity")),
        "unit": settings.uom,
        "unit_price": wire_decimal(price),
        "taxes": [["add", [settings.taxes[tax]]]] if tax else [],
    }


def sale_values(
    order: Json, web_id: str, party: int, address: int, lines: Sequence[Row], settings: TrytonSettings, now: datetime
) -> Row:
    """A new sale, complete: over the API the ERP fills nothing in by itself.

    Raises:
        Invalid: the order's currency is not mapped.
    """
    currency = str(order.get("currency"))
    if currency not in settings.currencies:
        raise Invalid(f"the currency {currency!r} is not mapped in the connection's settings", field="/currency")
    return {
        "reference": order.get("number"),
        "web_shop": settings.web_shop,
        "web_id": web_id,
        "party": party,
        "currency": settings.currencies[currency],
        "invoice_address": address,
        "shipment_address": address,
        "payment_term": settings.payment_term,
        "warehouse": settings.warehouse,
        "invoice_method": "order",
        "shipment_method": "order",
        "sale_date": wire_date(sale_date(order, settings, now)),
        "lines": [["create", list(lines)]],
    }


def sale_date(order: Json, settings: TrytonSettings, now: datetime) -> date:
    """The day of the confirmation in the company's zone: 23:30 UTC is tomorrow already in Shanghai."""
    confirmed = order.get("confirmed_at")
    moment = datetime.fromisoformat(confirmed) if confirmed else now
    return moment.astimezone(ZoneInfo(settings.time_zone)).date()


# --- product → canonical ---------------------------------------------------------------------------------------------


def counted_at(before: datetime, stamp: datetime) -> datetime:
    """When the ERP counted, by its own clock, as its shipments tell their time: ours may be off.

    Args:
        before: its clock before the count was asked for, in whole seconds.
        stamp: of the newest change that the count is known to hold. Goods that left with it have left before the count.
    """
    return max(before, stamp + timedelta(milliseconds=1))


def product_of(row: Json, currency: str, as_of: datetime) -> Row:
    """A product as sales takes it. `on_hand` is None for what is not kept in stock (services)."""
    template = row["template."]
    own_price = row["list_price"]  # null: inherited from the template
    price = own_price if own_price is not None else template["list_price"]
    categories = sorted(category["name"] for category in template.get("categories.") or [])
    return {
        "sku": row["code"],
        "name": template["name"],
        "price": amount(read_decimal(price)) if price is not None else None,
        "currency": currency,
        "category": categories[0] if categories else None,
        "active": bool(row["active"] and template["active"] and template["salable"]),
        "on_hand": None if template["type"] == "service" else quantity(row["quantity"]),
        "as_of": written_datetime(as_of),
    }


def product_digest(body: Json) -> str:
    """As `digest`, without the moment of reading."""
    return digest({key: value for key, value in body.items() if key != "as_of"})
