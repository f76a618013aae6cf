"""A customer of ours ↔ a customer of Acme's. Pure functions: no call, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub_adapter.port import Remote


def row_of(local_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What Acme is sent of a customer."""
    return {"reference": local_id, "name": body["name"]}


def remote_of(row: Mapping[str, Any]) -> Remote:
    """What Acme has, in canonical form: only fields that it can tell."""
    return Remote(external_id=str(row["id"]), body={"name": row["name"]}, version=str(row["version"]))
