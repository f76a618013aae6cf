"""Arithmetic of rights: what several roles give together, what is left of it in a narrower key, what exceeds what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from contracts.depth import ANY, Depth, Depths, depth_of, narrowest, widest

Rights = dict[str, dict[str, Depth]]


def merged(grants: Iterable[Depths]) -> Rights:
    """Return what several roles give together: in every place the widest of them."""
    together: Rights = {}
    for grant in grants:
        for entity, actions in grant.items():
            mine = together.setdefault(entity, {})
            for action, depth in actions.items():
                mine[action] = widest((mine.get(action, "none"), depth))
    return together


def intersection(one: Depths, other: Depths) -> Rights:
    """Return the rights that both give: in every place the narrower of the two."""
    both: Rights = {}
    for entity, action in _places(one, other):
        depth = narrowest(depth_of(one, entity, action), depth_of(other, entity, action))
        if depth != "none":
            both.setdefault(entity, {})[action] = depth
    return both


def excess(inner: Depths, outer: Depths) -> list[str]:
    """Return each `entity.action` in which `inner` reaches deeper than `outer`: nobody may give those away."""
    beyond = []
    for place in _places(inner, outer):
        wanted = depth_of(inner, *place)
        if narrowest(wanted, depth_of(outer, *place)) != wanted:
            beyond.append(".".join(place))
    return sorted(beyond)


def _places(one: Depths, other: Depths) -> Iterator[tuple[str, str]]:
    """Yield every (entity, action) at which either changes; between them, wildcards included, both are constant."""
    entities = {ANY, *one, *other}
    actions = {ANY, *(a for grant in (one, other) for named in grant.values() for a in named)}
    return ((entity, action) for entity in entities for action in actions)
