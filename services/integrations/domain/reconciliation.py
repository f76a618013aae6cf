"""Two sides of an entity, ours and a target's: what is missing, differs, stands twice, or is bound to what has gone.

Everything here compares what was read; whoever reads goes page by page, and asks both sides again before it believes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from services.integrations.domain import takeovers
from services.integrations.domain.runs import DECISIONS

Kind = Literal["missing_remote", "missing_local", "mismatch", "duplicate_remote", "stale_binding"]
Policy = Literal["report", "repair", "adopt", "quarantine"]
KINDS: tuple[Kind, ...] = get_args(Kind)
POLICIES: tuple[Policy, ...] = get_args(Policy)

DONE_UNLESS_ASKED: Mapping[Kind, Policy] = {
    "missing_remote": "repair", "missing_local": "report", "mismatch": "repair", "duplicate_remote": "quarantine",
    "stale_binding": "repair"}
"""What is done about each kind unless the run's options say otherwise. A double at the target is nobody's to delete but
its people's."""
CHANGING: tuple[Policy, ...] = ("repair", "adopt")
"""Policies that change a record on either side."""
COUNTED: tuple[Policy, ...] = (*CHANGING, "quarantine")
"""Policies that count towards the limit of what is done unasked: many conflicts are work for people as well."""

VANISHED_MOST, VANISHED_MOST_SHARE = 50, 0.05
"""More records that were there and are not point at a listing gone wrong, or another database behind the address."""
UNASKED_MOST, UNASKED_MOST_SHARE = 100, 0.01
"""More changes than these wait until a person has confirmed their number."""


class WrongPolicy(ValueError):
    """The options of a run name a kind or a policy that there is not, or that does not go together."""


@dataclass(frozen=True, kw_only=True)
class Ours:
    """A record of ours, as far as the comparison needs it.

    Attributes:
        external_id: what it is bound to there; None if to nothing.
        wanted: whether it is to stand there; one that was deleted, or lacks consent, is not.
        settled: whether nothing of it is under way and no person has it on his desk already.
    """

    local_id: str
    external_id: str | None
    wanted: bool = True
    settled: bool = True


@dataclass(frozen=True, kw_only=True)
class Theirs:
    """A record that the target has listed.

    Attributes:
        carries_ours: whether it carries the key of the record that it is compared with: our id or the natural key.
        active: False for one that is out of use there.
    """

    external_id: str
    carries_ours: bool = False
    active: bool = True


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """Something that looks wrong, until both sides were asked again.

    Attributes:
        external_id: what it is about over there; of `stale_binding` and `missing_remote`, what has gone.
        candidate: of `stale_binding`, the record that carries our key.
    """

    kind: Kind
    local_id: str | None
    external_id: str | None = None
    candidate: str | None = None


def of_ours(ours: Ours, there: Sequence[Theirs]) -> list[Suspect]:
    """Return what is wrong with a record of ours but for its fields.

    Args:
        ours: the record.
        there: of a complete listing, what it is bound to, what carries its key, and copies of it; nothing that is bound
            to another record.
    """
    if not ours.settled:
        return []
    bound = [one for one in there if one.external_id == ours.external_id]
    others = [one for one in there if one.external_id != ours.external_id]
    if not ours.wanted:
        return [Suspect(kind="missing_local", local_id=ours.local_id, external_id=one.external_id)
                for one in bound if one.active]
    if not bound:
        carrying = [one for one in others if one.carries_ours]
        if not carrying:
            return [Suspect(kind="missing_remote", local_id=ours.local_id, external_id=ours.external_id)]
        stale = Suspect(kind="stale_binding", local_id=ours.local_id, external_id=ours.external_id,
                        candidate=carrying[0].external_id)
        return [stale, *_doubles(ours, carrying[1:])]
    return _doubles(ours, [*bound[1:], *others])


def _doubles(ours: Ours, there: Sequence[Theirs]) -> list[Suspect]:
    return [Suspect(kind="duplicate_remote", local_id=ours.local_id, external_id=id)
            for id in dict.fromkeys(one.external_id for one in there if one.active)]


def vanished_too_many(vanished: int, bound: int, most: int | None = None) -> bool:
    """Tell whether so many of the bound records are gone that nothing may be concluded from it.

    Args:
        vanished: bound records that a complete listing does not show.
        bound: all that are bound.
        most: what a person has said may be gone, in place of the limits.
    """
    if most is not None:
        return vanished > most
    return vanished > VANISHED_MOST or vanished > VANISHED_MOST_SHARE * bound


def needs_approval(changes: int, compared: int) -> bool:
    """Tell whether a person has to confirm so many changes to `compared` records."""
    return changes > UNASKED_MOST or changes > UNASKED_MOST_SHARE * compared


def drift(counts: Mapping[str, int]) -> float:
    """Return the share of the compared records that was found otherwise there than here."""
    return sum(counts.get(kind, 0) for kind in KINDS) / max(counts.get("compared", 0), 1)


def why_not(decision: str, kind: str, entity: str, *, local_id: str | None = None, external_id: str | None = None,
            fields: Collection[str] = ()) -> str | None:
    """Return why that cannot be done about a finding, and what can, for a person; None if it can.

    Args:
        decision, kind: what is wanted, about what.
        entity: of the record.
        local_id, external_id: ours and theirs, if there are any.
        fields: in which it differs, where it does.
    """
    if decision == "quarantine" and external_id is None:
        return "It was never there: repair brings it there, ignore leaves it"
    if decision != "adopt":
        return None
    if kind == "missing_local" and (local_id is not None or entity not in takeovers.BORN):
        return f"No {entity} is made here of this one: delete it there, or quarantine it"
    return None if takeovers.taken(entity, fields) else f"{takeovers.refusal(entity)}, or repair it there"


def done_about(policy: Policy, kind: str, entity: str, *, local_id: str | None, external_id: str | None,
               fields: Collection[str], asks_if_gone: bool) -> Policy:
    """Return what is done about a finding by itself; one that the policy cannot be carried out about is only told.

    Args:
        policy: about the kind.
        kind, entity, local_id, external_id, fields: as `why_not`.
        asks_if_gone: whether the route says that a person is asked about what has gone.
    """
    if kind == "missing_remote" and external_id is not None and policy == "repair" and asks_if_gone:
        return "quarantine"
    wrong = why_not(policy, kind, entity, local_id=local_id, external_id=external_id, fields=fields)
    return policy if wrong is None else "report"


def policies(asked: Mapping[str, str]) -> dict[Kind, Policy]:
    """Return what is done about each kind.

    Raises:
        WrongPolicy: the options ask for what there is not, or cannot be done about such a finding.
    """
    if unknown := asked.keys() - set(KINDS):
        raise WrongPolicy(f"there is no such kind of finding: {', '.join(sorted(unknown))}")
    chosen: dict[Kind, Policy] = dict(DONE_UNLESS_ASKED)
    for kind in KINDS:
        possible = [policy for policy in POLICIES if policy in DECISIONS[kind]]
        wanted = asked.get(kind, chosen[kind])
        if wanted not in possible:
            raise WrongPolicy(f"{kind}: one of {', '.join(possible)}, not {wanted}")
        chosen[kind] = next(policy for policy in possible if policy == wanted)
    return chosen


def require_taken_over(chosen: Mapping[Kind, Policy], entity: str) -> None:
    """Raise where a policy would take over what the owner of the entity's records does not.

    Raises:
        WrongPolicy: with what can be done instead.
    """
    for kind, policy in chosen.items():
        if policy == "adopt" and (wrong := why_not(policy, kind, entity)) is not None:
            raise WrongPolicy(f"{kind}: {wrong}")
