"""The stages of a customer's life."""

from __future__ import annotations

from contracts.errors import InvalidTransition

_NEXT = {
    "prospect": {"active", "ended"},
    "active": {"dormant", "ended"},
    "dormant": {"active", "ended"},
    "ended": {"prospect"},
}


def move(stage: str, to: str, reason: str) -> str:
    """Return the stage after the step `stage` → `to`.

    Going back to `prospect` needs a reason: it restarts the story, and a report must be able to tell why.

    Raises:
        InvalidTransition: the stages do not follow each other, or the reason is missing.
    """
    if stage == to:
        return stage
    allowed = _NEXT[stage] | {"prospect"}
    if to not in allowed:
        raise InvalidTransition(f"A customer that is {stage} cannot become {to}", status=stage, allowed=sorted(allowed))
    if to == "prospect" and not reason:
        raise InvalidTransition("Going back to prospect needs lifecycle_reason", status=stage, allowed=sorted(allowed))
    return to
