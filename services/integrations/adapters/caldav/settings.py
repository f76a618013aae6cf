"""What a connection to a CalDAV server needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hub_adapter.client import NETWORK_PROPERTIES
from hub_adapter.settings import SettingsError, problems_of

SECRET_FIELDS = ("username", "password")

CONFIG_SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["base_url", "home"],
    "properties": {
        "base_url": {
            "type": "string",
            "pattern": "^https?://[^/]+",
            "description": "Address of the CalDAV server, without a path: https://cal.example.com",
        },
        "home": {
            "type": "string",
            "pattern": "^/.*/$",
            "description": "Collection that holds one task calendar per person, such as /team/; the hub's user makes"
            " calendars in it.",
        },
        "time_zone": {
            "type": "string",
            "default": "UTC",
            "description": "IANA zone of the people: when a due date without a time, or a time without a zone, is.",
        },
        **NETWORK_PROPERTIES,
    },
}


@dataclass(frozen=True, kw_only=True)
class CaldavSettings:
    """A connection's settings, checked. `home` begins and ends with a slash."""

    base_url: str
    home: str
    zone: ZoneInfo
    username: str
    password: str

    @classmethod
    def of(cls, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Self:
        """Read settings and secrets.

        Raises:
            SettingsError: names every setting that is missing or cannot be used.
        """
        problems = problems_of(config, secrets, CONFIG_SCHEMA, SECRET_FIELDS)
        home = str(config.get("home", ""))
        if "home" not in problems and not (home.startswith("/") and home.endswith("/")):
            problems["home"] = "has to begin and end with a slash"
        if ":" in secrets.get("username", ""):
            problems["username"] = "must hold no colon (RFC 7617)"
        try:
            zone = ZoneInfo(config.get("time_zone", "UTC"))
        except (ZoneInfoNotFoundError, ValueError, TypeError):
            problems["time_zone"] = "is no IANA time zone"
        if problems:
            raise SettingsError(problems)
        return cls(
            base_url=str(config["base_url"]).rstrip("/"),
            home=home,
            zone=zone,
            username=secrets["username"],
            password=secrets["password"],
        )
