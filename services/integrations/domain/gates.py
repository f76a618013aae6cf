"""What keeps a record from a target although nothing is wrong with it: nobody consented, or nobody is to do it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from services.integrations.domain.next_steps import Words


class Barring(Protocol):
    """What an adapter says of its target: see `hub_adapter.port.AdapterSpec`."""

    @property
    def accounts(self) -> Collection[str]:
        """Entities whose records lie in the account of the person they are assigned to."""
        ...

    @property
    def consent(self) -> Mapping[str, str]:
        """Entity → channel that must be granted."""
        ...


@dataclass(frozen=True)
class Barred:
    """Why a record may not stand at a target; `may_return` tells whether its id there is kept for when it may."""

    reason: Words
    may_return: bool


def barring(spec: Barring, entity: str, state: Mapping[str, Any]) -> Barred | None:
    """Return why a record in this state may not stand at the target, or None if it may.

    A channel that is not named in the record's consent was never granted.
    """
    channel = spec.consent.get(entity)
    if channel is not None:
        said = (state.get("consent") or {}).get(channel) or {}
        if said.get("state") != "granted":
            return Barred({"en": f"no consent for {channel}", "zh-CN": f"没有 {channel} 渠道的同意"}, may_return=True)
    if entity in spec.accounts and not state.get("assignee_id"):
        return Barred({"en": "it is assigned to nobody", "zh-CN": "没有分配给任何人"}, may_return=False)
    return None
