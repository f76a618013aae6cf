"""Who sees which rows: the whole matrix, on real rows, by the condition and by the check in the hand alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chassis.access import covers, require, visible
from chassis.context import Subject
from chassis.database import NAMING, Database
from contracts.depth import DEPTHS, Depth
from contracts.errors import Forbidden
from contracts.operation import Permission

READ = Permission("deal", "read")


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


class Deal(Base):
    __tablename__ = "deal"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[str | None]
    team_id: Mapped[str | None]


class Share(Base):
    __tablename__ = "share"
    deal_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(primary_key=True)


# Every combination: mine, a colleague's or nobody's; in my team, one below it, a stranger's or none; shared or not.
OWNERS, TEAMS = ("me", "you", None), ("mine", "below", "theirs", None)
ROWS = {
    f"{owner}/{team}/{'shared' if shared else 'kept'}": (owner, team, shared)
    for owner, team, shared in itertools.product(OWNERS, TEAMS, (False, True))
}


def within(depth: Depth, owner: str | None, team: str | None, shared: bool) -> bool:
    """The rule in words that owe nothing to the code: each depth adds to the one before."""
    if depth == "none":
        return False
    reach = owner == "me" or shared
    reach |= depth in ("team", "tree") and team == "mine"
    reach |= depth == "tree" and team == "below"
    return reach or depth == "all"


def me(depth: Depth, **more: Any) -> Subject:
    return Subject("me", "user", "me", ("mine",), ("mine", "below"), {"deal": {"read": depth}}, **more)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    db = Database(f"sqlite:///{Path(tmp_path_factory.mktemp('access'))}/deals.sqlite")
    with db.write() as session:
        Base.metadata.create_all(session.connection())
        session.add_all(Deal(id=name, owner_id=owner, team_id=team) for name, (owner, team, _) in ROWS.items())
        session.add_all(Share(deal_id=name, user_id="me") for name, (_, _, shared) in ROWS.items() if shared)
        session.add_all(Share(deal_id=name, user_id="you") for name in ROWS)
    with db.read() as session:
        yield session
    db.close()


def seen(session: Session, subject: Subject, **reach: Any) -> set[str]:
    return set(session.scalars(select(Deal.id).where(visible(subject, READ, **reach))))


def shares_of(subject: Subject) -> Any:
    return select(Share.deal_id).where(Share.deal_id == Deal.id, Share.user_id == subject.id)


@pytest.mark.parametrize("depth", DEPTHS)
def test_each_depth_sees_exactly_its_rows(session: Session, depth: Depth) -> None:
    subject = me(depth)
    expected = {name for name, row in ROWS.items() if within(depth, *row)}
    assert seen(session, subject, owner=Deal.owner_id, team=Deal.team_id, members=shares_of(subject)) == expected
    assert {n for n, (owner, team, shared) in ROWS.items()
            if covers(subject, READ, owner=owner, team=team, member=shared)} == expected


@pytest.mark.parametrize("depth", DEPTHS)
def test_without_shares_the_row_itself_decides(session: Session, depth: Depth) -> None:
    expected = {name for name, (owner, team, _) in ROWS.items() if within(depth, owner, team, False)}
    assert seen(session, me(depth), owner=Deal.owner_id, team=Deal.team_id) == expected


def test_a_count_under_the_same_condition_agrees_with_the_list(session: Session) -> None:
    subject = me("team")
    where = visible(subject, READ, owner=Deal.owner_id, team=Deal.team_id, members=shares_of(subject))
    assert session.scalar(select(func.count()).select_from(Deal).where(where)) == len(
        session.scalars(select(Deal).where(where)).all()
    )


def test_each_depth_sees_all_that_the_one_before_it_sees(session: Session) -> None:
    sights = [seen(session, me(depth), owner=Deal.owner_id, team=Deal.team_id) for depth in DEPTHS]
    assert all(narrow <= wide for narrow, wide in itertools.pairwise(sights))
    assert sights[0] == set()
    assert sights[-1] == set(ROWS)


def test_a_right_that_is_not_listed_sees_nothing(session: Session) -> None:
    stranger = Subject("me", "user", "me", ("mine",), ("mine", "below"))
    assert seen(session, stranger, owner=Deal.owner_id, team=Deal.team_id, members=shares_of(stranger)) == set()


def test_a_right_to_something_else_sees_nothing(session: Session) -> None:
    for depths in ({"deal": {"change": "all"}}, {"customer": {"read": "all"}}, {"*": {"change": "all"}}):
        subject = Subject("me", "user", "me", depths=depths)
        assert seen(session, subject, owner=Deal.owner_id) == set()


def test_wildcards_reach_every_entity_and_every_action(session: Session) -> None:
    for depths in ({"*": {"*": "all"}}, {"*": {"read": "all"}}, {"deal": {"*": "all"}}):
        assert seen(session, Subject("me", "user", "me", depths=depths)) == set(ROWS)


def test_a_noun_without_owner_and_team_is_seen_by_all_or_not_at_all(session: Session) -> None:
    for depth in DEPTHS:
        assert seen(session, me(depth)) == (set(ROWS) if depth == "all" else set())


def test_nobodys_rows_are_for_those_who_see_all(session: Session) -> None:
    orphans = {"None/None/kept", "None/None/shared"}
    for depth in ("own", "team", "tree"):
        assert not orphans & seen(session, me(depth), owner=Deal.owner_id, team=Deal.team_id)
    assert orphans <= seen(session, me("all"), owner=Deal.owner_id, team=Deal.team_id)


def test_require_admits_any_depth_and_names_what_is_missing() -> None:
    require(me("own"), READ)
    require(me("none"), None)
    with pytest.raises(Forbidden, match="may not read") as refused:
        require(me("none"), READ)
    assert refused.value.fields == {"entity": "deal", "action": "read"}
