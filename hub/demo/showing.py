"""What the jobs of the demo have in common: a row of the table, and how progress is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Tell = Callable[[str], None]
"""Says that a step is done."""


@dataclass(frozen=True)
class Row:
    """One leg of a job.

    Attributes:
        leg: what went where.
        here: as the hub holds it, read through the gateway.
        there: as the target holds it, read over the target's own API.
        took_s: seconds from the acknowledgement on one side until it was read on the other; None where nothing travels.
    """

    leg: str
    here: str
    there: str
    took_s: float | None = None


def ledger_row(connection: str, ledger: Mapping[str, Any]) -> Row:
    """Return a connection's ledger as a row."""
    ends = ("delivered", "skipped", "superseded", "dead", "cancelled", "open")
    told = " + ".join(f"{ledger[end]} {end}" for end in ends if ledger[end])
    return Row(f"ledger of {connection}", f"{ledger['accepted']} accepted = {told or '0'}",
               "adds up" if ledger["balanced"] else "DOES NOT ADD UP")
