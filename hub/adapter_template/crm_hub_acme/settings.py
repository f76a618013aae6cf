"""What a connection to Acme needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub_adapter.client import NETWORK_PROPERTIES
from hub_adapter.port import Problem

SECRET_FIELDS = ("api_key",)

CONFIG_SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["base_url"],
    "properties": {
        "base_url": {
            "type": "string",
            "pattern": "^https?://[^/]+",
            "description": "Address of its API: https://acme.example.com/api",
        },
        **NETWORK_PROPERTIES,
    },
}


def missing(config: Mapping[str, Any], secrets: Mapping[str, str]) -> tuple[Problem, ...]:
    """Everything that a connection lacks, at once."""
    given = {**config, **secrets}
    wanted = (*CONFIG_SCHEMA["required"], *SECRET_FIELDS)
    return tuple(Problem(name, "is missing") for name in wanted if not given.get(name))
