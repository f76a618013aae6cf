"""What of our records Tryton takes, as `mapping.py` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXT = {"type": "string"}
_MAYBE = {"type": ["string", "null"]}
_AMOUNT = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "description": "A decimal, as text."}
_ADDRESS = {
    "type": ["object", "null"],
    "properties": {"street": _MAYBE, "city": _MAYBE, "postal_code": _MAYBE},
}

FIELDS: Mapping[str, Mapping[str, Any]] = {
    "customer": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": _TEXT | {"minLength": 1},
            "email": _MAYBE,
            "phone": _MAYBE,
            "address": _ADDRESS,
        },
    },
    "order": {
        "type": "object",
        "required": ["currency", "lines"],
        "properties": {
            "number": _MAYBE | {"description": "Becomes the reference of the sale."},
            "currency": _TEXT | {"codeTable": "currencies"},
            "confirmed_at": {"type": ["string", "null"], "format": "date-time"},
            "ship_to": _ADDRESS | {"description": "Where it goes, if not to the customer's own address."},
            "total": {"type": ["string", "null"], "description": "Compared with what the ERP comes to."},
            "lines": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["sku", "quantity", "unit_price"],
                    "properties": {
                        "sku": _TEXT,
                        "quantity": _AMOUNT,
                        "unit_price": _AMOUNT,
                        "tax_code": _MAYBE | {"codeTable": "taxes"},
                    },
                },
            },
        },
    },
}
