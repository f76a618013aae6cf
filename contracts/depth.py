"""How deep a right reaches: the words that roles, tokens and the visibility predicate share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

Depth = Literal["none", "own", "team", "tree", "all"]
DEPTHS: tuple[Depth, ...] = get_args(Depth)
"""Narrowest first. Each depth sees what the one before it sees, and more: nothing, one's own records, those of one's
teams, those of the teams below them too, everything."""

Depths = Mapping[str, Mapping[str, Depth]]
"""entity → action → depth; `*` stands for every entity or every action. What is not listed is `none`."""
ANY = "*"


def depth_of(depths: Depths, entity: str, action: str) -> Depth:
    """Return how deep `action` on `entity` is granted.

    Rights only add up: of the entries that match (exact, `*` action, `*` entity, both), the widest counts.
    """
    return widest(depths.get(e, {}).get(a, "none") for e in (entity, ANY) for a in (action, ANY))


def widest(depths: Iterable[Depth]) -> Depth:
    """Return the widest of some depths, `none` of no depths."""
    return max(depths, key=DEPTHS.index, default="none")


def narrowest(one: Depth, other: Depth) -> Depth:
    """Return the narrower of two depths."""
    return min(one, other, key=DEPTHS.index)
