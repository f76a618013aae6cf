"""What a connection to a Tryton needs to know: ids are Tryton's own, as `check` finds or misses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hub_adapter.client import NETWORK_PROPERTIES
from hub_adapter.settings import SettingsError, problems_of

SECRET_FIELDS = ("rest_key",)

_ID = {"type": "integer", "minimum": 1}
_CODES = {"type": "object", "additionalProperties": _ID}
CONFIG_SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["base_url", "database", "company", "web_shop", "warehouse", "payment_term", "uom", "currencies"],
    "properties": {
        "base_url": {
            "type": "string",
            "pattern": "^https?://[^/]+",
            "description": "Address of the ERP, without the database: https://erp.example.com",
        },
        "database": {"type": "string", "minLength": 1, "description": "Name of the Tryton database."},
        "company": _ID | {"description": "company.company that sells."},
        "language": {"type": "string", "default": "en", "description": "Language of the ERP's messages."},
        "web_shop": _ID | {"description": "web.shop whose web_id keeps an order from being booked twice."},
        "warehouse": _ID | {"description": "stock.location (a warehouse) to ship from and count in."},
        "payment_term": _ID | {"description": "account.invoice.payment_term of the orders."},
        "uom": _ID | {"description": "product.uom in which our quantities are meant."},
        "currencies": _CODES | {"minProperties": 1, "description": "ISO code → currency.currency."},
        "taxes": _CODES | {"default": {}, "description": "Our tax code → account.tax."},
        "time_zone": {
            "type": "string",
            "default": "UTC",
            "description": "IANA zone of the company: it decides the date of a sale.",
        },
        "reactivate": {
            "type": "boolean",
            "default": True,
            "description": "Bring a deactivated party back when its customer changes; else refuse the change.",
        },
        "empty_address": {
            "type": "boolean",
            "default": True,
            "description": "Give a party without address an empty one when it orders; else refuse the order.",
        },
        "overlap_s": {
            "type": "integer",
            "minimum": 0,
            "default": 600,
            "description": "Seconds of changes read again at each poll; at least the ERP's longest transaction.",
        },
        "stock_probe_sku": {
            "type": "string",
            "description": "A product that is never out of stock; `check` complains when the ERP counts 0 of it.",
        },
        **NETWORK_PROPERTIES,
    },
}


@dataclass(frozen=True, kw_only=True)
class TrytonSettings:
    """A connection's settings, checked. Defaults as in `CONFIG_SCHEMA`."""

    base_url: str
    database: str
    company: int
    web_shop: int
    warehouse: int
    payment_term: int
    uom: int
    currencies: Mapping[str, int]
    rest_key: str
    taxes: Mapping[str, int] = field(default_factory=dict)
    language: str = "en"
    time_zone: str = "UTC"
    reactivate: bool = True
    empty_address: bool = True
    overlap_s: int = 600
    stock_probe_sku: str | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Self:
        """Read settings and secret.

        Raises:
            SettingsError: names every setting that is missing or cannot be used.
        """
        given = {key: value for key, value in config.items() if key not in NETWORK_PROPERTIES}
        problems = problems_of(config, secrets, CONFIG_SCHEMA, SECRET_FIELDS)
        for key in ("company", "web_shop", "warehouse", "payment_term", "uom"):
            if key not in problems and not _is_id(given[key]):
                problems[key] = "has to be an id of the ERP, a whole number from 1"
        for key in ("currencies", "taxes"):
            if key not in problems and not _is_code_table(given.get(key, {})):
                problems[key] = "has to map our codes to ids of the ERP"
        try:
            ZoneInfo(given.get("time_zone", "UTC"))
        except (ZoneInfoNotFoundError, ValueError, TypeError):
            problems["time_zone"] = "is no IANA time zone"
        if problems:
            raise SettingsError(problems)
        names = {known.name for known in fields(cls)}
        return cls(**{key: value for key, value in given.items() if key in names}, rest_key=secrets["rest_key"])


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_code_table(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and _is_id(v) for k, v in value.items())
