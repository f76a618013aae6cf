"""Go-live matching in the database: what is joined, how much of it, and what of people can be read there."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.database import new_id, utcnow
from hub_adapter.port import Remote
from services.integrations.models import Binding, MatchKey, MatchPair, MatchRemote, Run
from services.integrations.models.matching import OURS, THEIRS
from services.integrations.operations import matching
from services.integrations.operations.matching import Judged, Matching
from services.integrations.queries import matching as queries
from tests.service.integrations.conftest import Hub, on_sqlite
from tests.support.fake_target import FakeTarget
from tests.support.plans import plan_of, searched_by

PAGE = 3


def opened(hub: Hub, target: FakeTarget) -> Matching:
    """A matching of customers on a connection without a route."""
    connection_id, run_id, now = hub.connect(target), new_id(), utcnow()
    with hub.db.write() as session:
        session.add(Run(id=run_id, connection_id=connection_id, entity="customer", kind="match", filter={}, options={},
                        position={}, counts={}, created_by="u", due_at=now, created_at=now))
    return Matching(run_id=run_id, connection_id=connection_id, entity="customer", region="CN")


def party(external_id: str, *, active: bool = True, **known_by: str) -> Remote:
    told = {kind: [value] for kind, value in known_by.items()}
    return Remote(external_id=external_id, body={}, known_by=told, active=active)


def judged(hub: Hub, of: Matching, theirs: Iterable[Remote]) -> dict[str, Judged]:
    """List both sides a page at a time, join them, and judge each of ours."""
    listing = list(theirs)
    pages = [listing[n:n + PAGE] for n in range(0, len(listing), PAGE)]
    for page in [*pages, *pages[-1:]]:  # the last one twice: as after a kill between its notes and the next position
        with hub.db.write() as session:
            matching.note(session, of, matching.noted_theirs(hub.keyring, of, page))
    found: dict[str, Judged] = {}

    def note(session: Session, after: str) -> str | None:
        page = session.execute(*queries.unbound(of.connection_id, of.entity, after, PAGE)).all()
        matching.note(session, of, matching.noted_ours(hub.keyring, of, page))
        return page[-1].id if page else None

    def pair(session: Session, after: str) -> str | None:
        last: str | None = session.scalar(queries.last_of_stretch(of.run_id, after, PAGE))
        if last is not None:
            matching.pair(session, of, after, last)
        return last

    def judge(session: Session, after: str) -> str | None:
        ids = list(session.scalars(queries.next_ours(of.run_id, after, PAGE)))
        found.update({one.local_id: one for one in matching.judge(session, hub.keyring, of, ids)})
        return ids[-1] if ids else None

    for step in (note, pair, judge):
        after: str | None = ""
        while after is not None:
            with hub.db.write() as session:
                after = step(session, after)
    return found


def verdicts(found: dict[str, Judged], **ours: str) -> dict[str, tuple[str, list[str]]]:
    return {name: (found[id].judgement.verdict, [one.external_id for one in found[id].judgement.candidates])
            for name, id in ours.items()}


def test_what_is_there_already_is_certain_and_whatever_is_less_is_doubtful(hub: Hub, target: FakeTarget) -> None:
    of = opened(hub, target)
    ours = {
        "known": hub.customer(name="上海晨光贸易有限公司", phone="+8613800138001", email="a@example.com"),
        "twice": hub.customer(name="北京远方科技有限公司", phone="+8613800138002"),
        "misspelt": hub.customer(name="广州明珠电子有限公司", phone="+8613800138003"),
        "namesake": hub.customer(name="李雷", phone="+8613800138004"),
        "retired": hub.customer(name="Old Friend Ltd", email="old@example.com"),
        "apart": hub.customer(name="王芳", phone="+8613800138005", email="wang@example.com"),
        "new": hub.customer(name="成都新客有限公司", phone="+8613800138006"),
    }
    found = judged(hub, of, [
        party("1", name="晨光贸易", phone="138 0013 8001"), party("2", name="北京远方科技", phone="13800138002"),
        party("3", name="北京远方", phone="+86 138 0013 8002"), party("4", name="广州明珠电孑有限公司"),
        party("5", name="李雷", phone="13900000000"), party("6", email="OLD@example.com", active=False),
        party("7", phone="13800138005", email="fang@example.com"), party("8", name="somebody else"),
    ])
    assert verdicts(found, **ours) == {
        "known": ("certain", ["1"]), "twice": ("doubtful", ["2", "3"]), "misspelt": ("doubtful", ["4"]),
        "namesake": ("doubtful", ["5"]), "retired": ("doubtful", ["6"]), "apart": ("doubtful", ["7"]),
        "new": ("new", [])}
    assert found[ours["known"]].known_by["name"] == ["上海晨光贸易有限公司"]
    with hub.db.read() as session:
        assert queries.only_theirs(session, of.run_id) == 1
        assert matching.shown(session, hub.keyring, of, ["4"]) == {"4": {"name": ["广州明珠电孑有限公司"]}}


@on_sqlite
def test_two_of_ours_that_share_one_of_theirs_are_both_doubtful(hub: Hub, target: FakeTarget) -> None:
    of = opened(hub, target)
    one, other = hub.customer(phone="+8613800138001"), hub.customer(email="a@example.com")
    found = judged(hub, of, [party("1", phone="13800138001", email="a@example.com")])
    assert verdicts(found, one=one, other=other) == {"one": ("doubtful", ["1"]), "other": ("doubtful", ["1"])}


@on_sqlite
def test_what_is_bound_or_being_made_takes_no_part(hub: Hub, target: FakeTarget) -> None:
    of = opened(hub, target)
    bound, begun, free = (hub.customer(phone=f"+861380013800{n}") for n in (1, 2, 3))
    with hub.db.write() as session:
        for id, state, external_id in ((bound, "bound", "1"), (begun, "creating", None)):
            session.add(Binding(connection_id=of.connection_id, entity="customer", local_id=id, state=state,
                                external_id=external_id, create_key=id))
    found = judged(hub, of, [party(str(n), phone=f"1380013800{n}") for n in (1, 2, 3)])
    assert verdicts(found, **{id: id for id in found}) == {free: ("certain", ["3"])}
    assert {row.external_id for row in hub.rows(MatchRemote)} == {"2", "3"}


def test_a_key_that_many_share_costs_each_a_few_pairs_and_never_the_product(hub: Hub, target: FakeTarget) -> None:
    of, many = opened(hub, target), 2 * queries.PAIRED_MOST
    ours = [hub.customer(phone="+862161000000") for _ in range(many)]
    found = judged(hub, of, [party(str(n), phone="021-6100 0000") for n in range(many)])
    assert {found[id].judgement.verdict for id in ours} == {"doubtful"}
    assert len(hub.rows(MatchPair)) == many * queries.PAIRED_MOST


@pytest.mark.parametrize(("by_us", "by_them"), [(4, 1), (1, 4)])
def test_a_key_that_too_many_of_a_side_have_is_none_and_the_preview_says_so(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch, by_us: int, by_them: int
) -> None:
    monkeypatch.setattr(queries, "HELD_MOST", 3)
    nobody: dict[str, Any] = {"phone": "+8613800000000"}
    of = opened(hub, target)
    ours = [hub.customer(name=f"ours {n}", email=f"a{n}@example.com", **nobody) for n in range(by_us)]
    theirs = [party(f"{n}", email=f"a{n}@example.com", **nobody) for n in range(by_them)]
    other = hub.customer(name="namesake", email="other@example.com", **nobody)
    found = judged(hub, of, [*theirs, party("9", email="other@example.com", phone="+8613900139000")])
    assert verdicts(found, first=ours[0], other=other) == {"first": ("certain", ["0"]), "other": ("certain", ["9"])}
    assert {found[id].judgement.verdict for id in ours[by_them:]} <= {"new"}
    assert {one.too_common for one in found.values()} == {frozenset({"phone"})}
    assert {row.kind for row in hub.rows(MatchPair)} == {"email"}
    with hub.db.read() as session:
        assert session.scalar(queries.too_common(of.run_id, "", "~")) == 1


@on_sqlite
def test_nothing_of_a_person_stands_in_clear(hub: Hub, target: FakeTarget) -> None:
    of = opened(hub, target)
    hub.customer(name="李雷", phone="+8613800138001", email="lilei@example.com")
    judged(hub, of, [party("1", name="李雷", phone="13800138001", email="lilei@example.com")])
    kept = [row for table in (MatchKey, MatchRemote, MatchPair) for row in hub.rows(table)]
    told = " ".join(str(getattr(row, column.key)) for row in kept for column in row.__table__.columns)
    assert hub.rows(MatchPair)
    assert not [clear for clear in ("李雷", "13800138001", "lilei", "example") if clear in told]


def test_every_step_is_answered_by_an_index(hub: Hub, target: FakeTarget) -> None:
    of = opened(hub, target)
    hashes = [f"{n:022}" for n in range(2000)]
    with hub.db.write() as session:
        session.execute(sa.insert(MatchKey), [
            {"run_id": of.run_id, "hash": hash, "side": side, "id": f"{side}-{n}", "kind": "code"}
            for n, hash in enumerate(hashes) for side in (OURS, THEIRS)])
        session.execute(sa.insert(MatchPair), [
            {"run_id": of.run_id, "local_id": str(n), "external_id": str(n), "kind": "code", "others": 0}
            for n in range(2000)])
        session.execute(sa.text("ANALYZE"))
    steps: dict[str, tuple[Any, str]] = {
        "last_of_stretch": (queries.last_of_stretch(of.run_id, hashes[20], 20), "hash"),
        "pairs_of_stretch": (queries.pairs_of_stretch(of.run_id, hashes[20], hashes[40]), "hash"),
        "too_common": (queries.too_common(of.run_id, hashes[20], hashes[40]), "hash"),
        "strong_of": (queries.strong_of(of.run_id, OURS, ["ours-5", "ours-6"]), "id"),
        "next_ours": (queries.next_ours(of.run_id, "ours-5", 5), "id"),
        "pairs_of": (queries.pairs_of(of.run_id, ["1", "2"]), "local_id"),
        "wanted_by_several": (queries.wanted_by_several(of.run_id, ["1", "2"]), "external_id"),
    }
    for name, (statement, column) in steps.items():
        with hub.db.write() as session:
            plan = plan_of(session, partial(session.execute, statement), may_sort=True)
        searches = [by for table in ("match_key", "match_pair") for by in searched_by(plan, table)]
        assert searches, f"{name}: {plan}"
        assert all("run_id" in by and column in by for by in searches), f"{name}: {plan}"


@on_sqlite
def test_nothing_is_left_of_a_matching_that_has_ended(hub: Hub, target: FakeTarget) -> None:
    ended, open_ = opened(hub, target), opened(hub, target)
    for of in (ended, open_):
        hub.customer(phone="+8613800138001")
        judged(hub, of, [party("1", phone="13800138001")])
    with hub.db.write() as session:
        session.execute(sa.update(Run).where(Run.id == ended.run_id).values(state="completed", ended_at=utcnow()))
    hub.engine.pruner.prune()
    assert {row.run_id for table in (MatchKey, MatchRemote, MatchPair) for row in hub.rows(table)} == {open_.run_id}
