"""What a connection to a Ghost needs to know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from hub_adapter.client import NETWORK_PROPERTIES
from hub_adapter.settings import SettingsError, problems_of

SECRET_FIELDS = ("admin_key", "webhook_secret")
OBJECT_ID = "^[0-9a-f]{24}$"
ADMIN_KEY = re.compile(r"[0-9a-f]{24}:(?:[0-9a-f]{2}){32}")

CONFIG_SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["base_url", "newsletter"],
    "properties": {
        "base_url": {
            "type": "string",
            "pattern": "^https?://[^/]+",
            "description": "Address of the site, without /ghost: https://news.example.com",
        },
        "newsletter": {
            "type": "string",
            "pattern": OBJECT_ID,
            "description": "Id of the newsletter to subscribe people to; one newsletter per connection.",
        },
        "label_prefix": {
            "type": "string",
            "minLength": 1,
            "maxLength": 20,
            "default": "hub:",
            "description": "How the labels begin that the hub makes of tags; all others are left alone.",
        },
        "overlap_s": {
            "type": "integer",
            "minimum": 1,
            "default": 120,
            "description": "Seconds of subscriptions read again at each poll.",
        },
        **NETWORK_PROPERTIES,
    },
}


@dataclass(frozen=True, kw_only=True)
class GhostSettings:
    """A connection's settings, checked. Defaults as in `CONFIG_SCHEMA`."""

    base_url: str
    newsletter: str
    admin_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    label_prefix: str = "hub:"
    overlap_s: int = 120

    @classmethod
    def of(cls, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Self:
        """Read settings and secrets.

        Raises:
            SettingsError: names every setting that is missing or cannot be used.
        """
        given = {key: value for key, value in config.items() if key not in NETWORK_PROPERTIES}
        problems = problems_of(config, secrets, CONFIG_SCHEMA, SECRET_FIELDS)
        if "newsletter" not in problems and not re.fullmatch(OBJECT_ID, str(given["newsletter"])):
            problems["newsletter"] = "has to be an id of Ghost, 24 hexadecimal digits"
        prefix, overlap = given.get("label_prefix", "hub:"), given.get("overlap_s", 120)
        if not isinstance(prefix, str) or not 1 <= len(prefix) <= 20:
            problems["label_prefix"] = "has to be a text of 1 to 20 characters"
        if not isinstance(overlap, int) or isinstance(overlap, bool) or overlap < 1:
            problems["overlap_s"] = "has to be a whole number of seconds from 1"
        if "admin_key" not in problems and not ADMIN_KEY.fullmatch(secrets["admin_key"]):
            problems["admin_key"] = "has to be an Admin API key, id:secret"
        if problems:
            raise SettingsError(problems)
        return cls(**given, admin_key=secrets["admin_key"], webhook_secret=secrets["webhook_secret"])
