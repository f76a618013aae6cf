"""A broker without a network: it drops, doubles and shuffles, within what a broker may do.

What it has confirmed it keeps until it is taken, unless all of its data is lost; what it has not, it may have.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from chassis.outbox import Pending
from contracts.envelope import Envelope
from services.integrations.routing import WAYS

Publish = Literal["confirmed", "unconfirmed", "dropped"]
"""confirmed: taken, and said so. unconfirmed: taken, and the line broke before it said so. dropped: the line broke."""


class Broker:
    """The queue of the integrations service, in no order, and a mark that tells its relay of lost data."""

    def __init__(self) -> None:
        self.queue: list[str] = []
        self.wiped = False

    def publish(self, rows: Sequence[Pending], fates: Sequence[Publish]) -> list[str]:
        """Take rows until the line breaks; return the ids of those that were confirmed."""
        confirmed = []
        for n, row in enumerate(rows):
            fate = fates[n % len(fates)] if fates else "confirmed"
            if fate != "dropped" and row.event in WAYS:
                self.queue.append(row.body)
            if fate != "confirmed":
                break
            confirmed.append(row.id)
        return confirmed

    def message(self, n: int) -> str:
        """Return one of the messages, whichever has its turn."""
        return self.queue[n % len(self.queue)]

    def acknowledge(self, message: str) -> None:
        """Forget one copy of a message."""
        if message in self.queue:
            self.queue.remove(message)

    def wipe(self) -> None:
        """Lose everything."""
        self.queue.clear()
        self.wiped = True


def envelope_of(message: str) -> Envelope:
    return Envelope.from_wire(json.loads(message))
