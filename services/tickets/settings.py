"""Settings of the tickets service; every room's common keys are in `chassis.config`."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.config import Settings


@dataclass(frozen=True, kw_only=True)
class TicketsSettings(Settings):
    """The common keys suffice."""
