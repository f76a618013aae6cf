"""What a connection to a mailing list of a Tryton needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from hub_adapter.client import NETWORK_PROPERTIES
from hub_adapter.settings import SettingsError, problems_of

SECRET_FIELDS = ("rest_key",)

CONFIG_SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["base_url", "database", "mailing_list"],
    "properties": {
        "base_url": {
            "type": "string",
            "pattern": "^https?://[^/]+",
            "description": "Address of the ERP, without the database: https://erp.example.com",
        },
        "database": {"type": "string", "minLength": 1, "description": "Name of the Tryton database."},
        "mailing_list": {
            "type": "integer",
            "minimum": 1,
            "description": "marketing.email.list to subscribe people to; one list per connection.",
        },
        "language": {"type": "string", "default": "en", "description": "Language of the ERP's messages."},
        "overlap_s": {
            "type": "integer",
            "minimum": 0,
            "default": 600,
            "description": "Seconds of changes read again at each poll; at least the ERP's longest transaction.",
        },
        **NETWORK_PROPERTIES,
    },
}


@dataclass(frozen=True, kw_only=True)
class ListSettings:
    """A connection's settings, checked. Defaults as in `CONFIG_SCHEMA`."""

    base_url: str
    database: str
    mailing_list: int
    rest_key: str
    language: str = "en"
    overlap_s: int = 600

    @classmethod
    def of(cls, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Self:
        """Read settings and secret.

        Raises:
            SettingsError: names every setting that is missing or cannot be used.
        """
        given = {key: value for key, value in config.items() if key not in NETWORK_PROPERTIES}
        problems = problems_of(config, secrets, CONFIG_SCHEMA, SECRET_FIELDS)
        if "mailing_list" not in problems and not _is_whole(given["mailing_list"], 1):
            problems["mailing_list"] = "has to be an id of the ERP, a whole number from 1"
        if "overlap_s" in given and not _is_whole(given["overlap_s"], 0):
            problems["overlap_s"] = "has to be a whole number of seconds from 0"
        if problems:
            raise SettingsError(problems)
        return cls(**given, rest_key=secrets["rest_key"])


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
