"""To whom a queue gives the next ticket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ROUND_ROBIN, LEAST_OPEN, MANUAL = "round_robin", "least_open", "manual"


@dataclass(frozen=True)
class Member:
    """Somebody who answers a queue.

    Attributes:
        user_id: who.
        place: the order in which members joined; no two of a queue have the same.
        load: how many of the queue's tickets they have that are not resolved.
    """

    user_id: str
    place: int
    load: int


def has_room(load: int, max_open: int | None) -> bool:
    """Tell whether one more ticket fits; None is no limit."""
    return max_open is None or load < max_open


def choose(strategy: str, members: Sequence[Member], max_open: int | None, last_place: int) -> Member | None:
    """Return the member who gets the next ticket; None if the strategy gives none out, or nobody has room.

    Args:
        strategy: `round_robin`: whoever comes after the last one, around; `least_open`: whoever has the fewest, of
            several the one whose turn it is; `manual`: nobody.
        members: of the queue.
        max_open: most tickets of a member.
        last_place: place of the member who got the last one, 0 before the first.
    """
    if strategy == MANUAL:
        return None
    in_turn = sorted(members, key=lambda member: (member.place <= last_place, member.place))
    free = [member for member in in_turn if has_room(member.load, max_open)]
    if not free:
        return None
    return free[0] if strategy == ROUND_ROBIN else min(free, key=lambda member: member.load)
