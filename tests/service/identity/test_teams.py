"""The tree of teams: the closure table is right after any sequence of moves."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import select

from chassis.context import Subject
from contracts.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound, StaleVersion
from contracts.schema import load
from contracts.teams import ListTeams
from services.identity.models import Team, TeamPath
from services.identity.operations import teams
from services.identity.queries import teams as queries

from .conftest import ROOT


def move(identity: Any, id: str, parent_id: str | None, by: Subject = ROOT) -> None:
    with identity.db.write() as session:
        teams.change(session, id, {"parent_id": parent_id}, by, session.get_one(Team, id).version)


def closure(identity: Any) -> tuple[set[tuple[str, str, int]], set[tuple[str, str, int]]]:
    """Return the table's paths, and the paths that the parents say there are."""
    with identity.db.read() as session:
        kept = {(p.ancestor_id, p.descendant_id, p.distance) for p in session.scalars(select(TeamPath))}
        parents = {team.id: team.parent_id for team in session.scalars(select(Team))}
    told = set()
    for id in parents:
        at, distance = id, 0
        while at is not None:
            told.add((at, id, distance))
            at, distance = parents[at], distance + 1
    return kept, told


def test_after_any_moves_the_closure_says_what_the_parents_say(identity: Any) -> None:
    dice = random.Random(7)
    made: list[str] = []
    for n in range(8):
        made.append(identity.team(f"t{n}", dice.choice([None, *made])))
    for _ in range(25):
        id, parent_id = dice.choice(made), dice.choice([None, *made])
        try:
            move(identity, id, parent_id)
        except Invalid:
            continue  # it would have been below itself
        kept, told = closure(identity)
        assert kept == told


def test_a_team_is_never_below_itself(identity: Any) -> None:
    top = identity.team("top")
    below = identity.team("below", top)
    for parent in (top, below):
        with pytest.raises(Invalid) as refused:
            move(identity, top, parent)
        assert refused.value.fields["errors"][0]["code"] == "cycle"


def test_a_move_changes_what_people_of_the_teams_above_reach(identity: Any) -> None:
    north, south = identity.team("north"), identity.team("south")
    shop = identity.team("shop", north)
    boss = identity.user("boss", "manager", team_ids=(south,))
    assert set(identity.subject(boss).tree) == {south}
    move(identity, shop, south)
    assert set(identity.subject(boss).tree) == {south, shop}
    assert identity.events()[-1] == ("access.changed", "everyone")


def test_names_are_unique_under_one_parent_at_the_top_too(identity: Any) -> None:
    top = identity.team("sales")
    identity.team("sales", top)
    with pytest.raises(AlreadyExists):
        identity.team("sales")
    with pytest.raises(AlreadyExists):
        identity.team("sales", top)


def test_an_unknown_parent_is_refused(identity: Any) -> None:
    with pytest.raises(Invalid):
        identity.team("lost", "0" * 36)


def test_a_team_is_deleted_only_when_empty(identity: Any) -> None:
    top = identity.team("top")
    below = identity.team("below", top)
    identity.user("wei", team_ids=(below,))
    empty = identity.team("empty", top)
    for id in (top, below):
        with pytest.raises(Conflict), identity.db.write() as session:
            teams.remove(session, id, ROOT, 1)
    with pytest.raises(StaleVersion), identity.db.write() as session:
        teams.remove(session, empty, ROOT, 2)
    with identity.db.write() as session:
        teams.remove(session, empty, ROOT, 1)
    kept, told = closure(identity)
    assert kept == told


def test_a_leader_grows_the_own_branch_and_no_other(identity: Any) -> None:
    mine, theirs = identity.team("mine"), identity.team("theirs")
    leader = Subject("x", "user", "x", (mine,), (mine,), {"team": {"*": "tree"}})
    with identity.db.write() as session:
        teams.create(session, {"name": "new", "parent_id": mine}, leader)
    for parent in (theirs, None):
        with pytest.raises(Forbidden), identity.db.write() as session:
            teams.create(session, {"name": "new", "parent_id": parent}, leader)
    with pytest.raises(NotFound), identity.db.write() as session:
        teams.change(session, theirs, {"name": "stolen"}, leader, 1)
    with identity.db.read() as session:
        page = queries.listed(session, load(ListTeams, {}), leader, identity.codec)
        assert [team.name for team in page.items] == ["mine"]
