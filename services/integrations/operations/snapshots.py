"""Sealed states: what a target was seen to have, and what both sides agreed on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chassis import telemetry
from chassis.crypto import Keyring, SealBroken
from services.integrations.operations.records import canonical

log = telemetry.logger(__name__)


def seal(keyring: Keyring, kind: str, place: tuple[str, str, str], state: Mapping[str, Any] | None) -> str | None:
    """Return `state` as its column keeps it.

    Args:
        keyring: the keys to seal with.
        kind: `base` or `sought` of a binding, or `seen` of a sighting; a state opens nowhere else.
        place: connection, entity and id of the row.
        state: None where nothing is known.
    """
    return None if state is None else keyring.seal(canonical(state), _aad(kind, place))


def opened(keyring: Keyring, kind: str, place: tuple[str, str, str], sealed: str | None) -> dict[str, Any] | None:
    """Return what `seal` was given; None too if it does not open, for then nothing is known."""
    if sealed is None:
        return None
    try:
        state: dict[str, Any] = json.loads(keyring.open(sealed, _aad(kind, place)))
    except (SealBroken, ValueError) as error:
        log.error("snapshot_unreadable", kind=kind, entity=place[1], id=place[2], error=type(error).__name__)
        return None
    return state


def base_of(keyring: Keyring, binding: Any) -> dict[str, Any] | None:
    """Return what both sides agreed on last, as a binding keeps it; None if it keeps nothing, or there is none."""
    return opened(keyring, "base", _lane(binding), binding.base_snapshot) if binding is not None else None


def sought_before(keyring: Keyring, binding: Any) -> Mapping[str, str] | None:
    """Return the natural key under which a record was last begun to be made; None if it has none there."""
    return opened(keyring, "sought", _lane(binding), binding.sought_sealed) if binding is not None else None


def _lane(binding: Any) -> tuple[str, str, str]:
    return binding.connection_id, binding.entity, binding.local_id


def _aad(kind: str, place: tuple[str, str, str]) -> str:
    return "|".join((kind, *place))
