"""The equation that shows that nothing was lost: what was accepted is settled or open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.integrations.domain.deliveries import OPEN, TERMINAL


@dataclass(frozen=True)
class Ledger:
    """Where everything that a connection accepted is.

    `accepted` is counted where deliveries are accepted; the others are counted where they are. Neither side is ever
    derived from the other, else the equation would prove nothing.
    """

    connection_id: str
    accepted: int
    delivered: int
    skipped: int
    superseded: int
    dead: int
    cancelled: int
    open: int

    @property
    def balanced(self) -> bool:
        """Whether the two sides are equal."""
        settled = self.delivered + self.skipped + self.superseded + self.dead + self.cancelled
        return self.accepted == settled + self.open

    @classmethod
    def of(cls, connection_id: str, accepted: int, counts: Mapping[str, int]) -> Ledger:
        """Return the ledger of a connection from a count per state."""
        return cls(connection_id, accepted, **{state: counts.get(state, 0) for state in TERMINAL},
                   open=sum(counts.get(state, 0) for state in OPEN))
