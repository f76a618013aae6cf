"""What became of a check that did not simply pass or fail, and which capability a check proves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from hub_adapter.port import Capability


class Outcome(StrEnum):
    """How a check ended."""

    PROVEN = "proven"
    FAILED = "failed"
    NOT_CLAIMED = "not claimed"
    """The adapter does not say that it can do this."""
    NOT_SHOWN = "not shown"
    """Nothing here could show it; the reason tells what the suite would have to be given."""


class Told(Exception):
    """Ends a check without a verdict on the adapter; the report tells why."""

    outcome: Outcome


class NotClaimed(Told):
    """The adapter does not claim what the check would prove."""

    outcome = Outcome.NOT_CLAIMED


class NotShown(Told):
    """The check had nothing to work with."""

    outcome = Outcome.NOT_SHOWN


def proves(capability: Capability) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a check as one that proves a capability; an adapter that does not declare it is not asked."""

    def marked(check: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(check)
        def asked(self: Any, **fixtures: Any) -> None:
            if capability not in self.adapter.spec.capabilities:
                raise NotClaimed(f"the adapter does not declare {capability}")
            check(self, **fixtures)

        asked.proves = capability  # type: ignore[attr-defined]  # read by the plug-in
        return asked

    return marked


def one_record(check: Callable[..., None]) -> Callable[..., None]:
    """Mark a check as one about a record staying one: failing it costs the guarantee."""
    check.once = True  # type: ignore[attr-defined]  # read by the plug-in
    return check
