"""Strangers: what a target had before the hub came, and would have twice were our records made there unasked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from contracts.errors import Conflict, Invalid
from hub_adapter.port import Capability
from services.integrations.adapters import registry
from services.integrations.domain.matching import ENTITIES
from services.integrations.models import Connection
from services.integrations.queries import runs


def unmet(session: Session, connection: Connection, entity: str, without: str) -> Conflict | None:
    """Return why records of an entity may not be made at a target yet; None if they may.

    Args:
        session: the transaction.
        connection: to the target.
        entity: canonical; one whose records are known by nothing but our id cannot be matched, and need not be.
        without: what to do if they are to be made without matching.
    """
    if entity not in ENTITIES or runs.has_completed(session, connection.id, entity, "backfill") or runs.has_completed(
            session, connection.id, entity, "match"):
        return None
    if not can_be_listed(connection):
        return Conflict(f"{connection.name} cannot be listed whole, so its records cannot be matched with ours: look "
                        f"there, then {without}", needs="without_matching")
    return Conflict(f"What {connection.name} has already would be made a second time: run a match over {entity} first, "
                    f"or {without}", needs="match")


def can_be_listed(connection: Connection) -> bool:
    """Tell whether the target can show every record that it has."""
    return Capability.LIST_COMPLETE in registry.load(connection.adapter).spec.capabilities


def waived(asked: Mapping[str, Any], reason: str) -> bool:
    """Tell whether somebody says that nothing there can be a record of ours.

    Raises:
        Invalid: without a reason.
    """
    if asked.get("without_matching") and not reason:
        raise Invalid.of("/reason", "required", "Say why nothing there can be a record of ours.")
    return bool(asked.get("without_matching"))
