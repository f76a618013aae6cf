"""Consent by channel: what is said here counts as said; of what is told from elsewhere a refusal wins."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

GRANTED, REFUSED = "granted", "refused"

Consents = Mapping[str, Mapping[str, Any]]
"""Channel → `{state, at, source}`. A channel that is absent has not been granted."""


def say(held: Consents, channel: str, state: str, at: dt.datetime, source: str) -> dict[str, Mapping[str, Any]]:
    """Return the consents after `state` was said of `channel`; saying again what is held keeps its first time."""
    if state_of(held, channel) == state:
        return dict(held)
    return {**held, channel: {"state": state, "at": at, "source": source}}


def state_of(held: Consents, channel: str) -> str | None:
    """Return what is held of a channel; None where nobody said anything."""
    return held[channel]["state"] if channel in held else None


def overruled(held: Consents, channel: str, told: str) -> bool:
    """Tell whether a refusal held here stands against what is told from elsewhere."""
    return told == GRANTED and state_of(held, channel) == REFUSED
