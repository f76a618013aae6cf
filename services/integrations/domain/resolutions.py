"""What people may decide about a conflict: by why it is one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from services.integrations.domain import takeovers

Resolution = Literal["keep_local", "keep_remote", "dismissed"]

DELETE_REFUSED = "delete_refused"
"""The code of a conflict about a record that the target does not let go."""
CHANGED_ON_BOTH_SIDES = "changed_on_both_sides"
MISSING_REMOTE, STALE_BINDING = "missing_remote", "stale_binding"
MADE_ANEW = frozenset({MISSING_REMOTE, STALE_BINDING})
"""Codes of conflicts about a record that does not stand any more where the hub has it."""
OF_THE_RECORD = MADE_ANEW | {DELETE_REFUSED, "duplicate_remote"}
"""Codes of conflicts about whether a record stands there at all: what its fields hold comes after that."""

REASONS: Mapping[str, str] = {
    CHANGED_ON_BOTH_SIDES: "the fields were changed here and there, and each side keeps its own until somebody decides",
    MISSING_REMOTE: "the record was there and has gone",
    "missing_local": "a record stands there that should be known here, or should not stand there any more",
    "mismatch": "the record stands there otherwise than here",
    "duplicate_remote": "the record stands there a second time: keep one of the two there, the hub deletes neither",
    STALE_BINDING: "the record stands there under another id than the hub knows",
}
"""Code → what a person is told who has to decide, of conflicts that the hub finds by itself."""

_REFUSED: Mapping[tuple[str, Resolution], str] = {
    (DELETE_REFUSED, "keep_remote"):
        "The record was taken away here and is not made again: keep_local tries once more to take it away there",
    ("duplicate_remote", "keep_local"):
        "The hub does not write to a double: merge or delete one of the two there, then dismiss the conflict",
    ("duplicate_remote", "keep_remote"):
        "A double is not taken over: merge or delete one of the two there, then dismiss the conflict",
    (STALE_BINDING, "keep_remote"):
        "What the hub knows has gone there, and the record stands under another id: keep_local finds it by our key",
}
"""(code, resolution) → why that is not done, and what is to be done instead."""


def why_not(code: str, resolution: Resolution, entity: str, fields: Collection[str], *, bound: bool) -> str | None:
    """Return why a conflict cannot be decided so, for the person who wants to; None if it can.

    Args:
        code, entity, fields: of the conflict; no fields stand for the whole record.
        resolution: what is wanted.
        bound: whether a record of ours is concerned.
    """
    if (said := _REFUSED.get((code, resolution))) is not None:
        return said
    if resolution != "keep_remote":
        return None
    if code == MISSING_REMOTE and entity not in takeovers.ENDED:
        return f"That this {entity} has gone there does not end it here: delete it here, or dismiss the conflict"
    if not fields and not bound and entity not in takeovers.BORN:
        return f"This {entity} was made there and is not taken over: make it here, or delete it there"
    if not takeovers.taken(entity, fields):
        return takeovers.refusal(entity) + ", or decide keep_local"
    return None
