"""One key, one effect, where the work outlasts a transaction: the key is held by a lease meanwhile."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import eventlet
import pytest
from sqlalchemy import func, select, update

from chassis import owner, rpc
from chassis.context import Subject
from chassis.database import CHASSIS, Database, utcnow
from chassis.idempotency import IDEMPOTENCY, Claim, prune
from contracts import errors
from tests.service.chassis.laboratory import Lab, eventually, measured
from tests.support.postgres import Postgres


def keys(lab: Lab) -> int:
    found: int = lab.rows(select(func.count()).select_from(IDEMPOTENCY))[0][0]
    return found


def ring_until_answered(lab: Lab, **options: Any) -> Any:
    """Ask as a client does: again while the first one is still being worked on."""
    while True:
        try:
            return lab.ring("one", key="k", **options)
        except errors.DuplicateInFlight as busy:
            eventlet.sleep(min(busy.retry_after_s or 0.1, 0.1))


def test_a_repeat_is_answered_without_calling_the_outside_again(lab_on: Lab, somebody: Subject) -> None:
    lab_on.start()
    first = lab_on.ring("one", key="k", subject=somebody)
    again = lab_on.ring("one", key="k", subject=somebody)
    assert (again.value, first.replayed, again.replayed) == (first.value, False, True)
    assert (lab_on.runs("ring"), lab_on.notes(), keys(lab_on)) == (1, ["one"], 1)
    with pytest.raises(errors.IdempotencyMismatch):
        lab_on.ring("two", key="k", subject=somebody)


def test_an_operation_that_keeps_no_answer_with_its_effect_is_told_to_be_broken(lab: Lab, somebody: Subject) -> None:
    lab.start()
    with pytest.raises(errors.InternalError):
        lab.ring("one", key="k", subject=somebody, keep=False)


def test_twenty_callers_with_one_key_call_the_outside_once(lab_on: Lab, somebody: Subject) -> None:
    lab_on.start()
    answers = list(eventlet.GreenPool(20).imap(
        lambda _: ring_until_answered(lab_on, subject=somebody, seconds=0.2), range(20)))
    assert len({answer.value["id"] for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1
    assert (lab_on.runs("ring"), lab_on.notes(), keys(lab_on)) == (1, ["one"], 1)


def test_a_second_one_hears_that_the_first_is_in_flight_or_has_another_body(lab_on: Lab, somebody: Subject) -> None:
    lab_on.start()
    first = eventlet.spawn(lab_on.ring, "slow", key="k", subject=somebody, seconds=2.5)
    eventually(lambda: keys(lab_on) == 1)
    with pytest.raises(errors.IdempotencyMismatch):
        lab_on.ring("other", key="k", subject=somebody)
    with pytest.raises(errors.DuplicateInFlight) as busy:
        lab_on.ring("slow", key="k", subject=somebody, seconds=2.5)
    assert busy.value.retry_after_s
    assert not lab_on.ring("slow", key="another", subject=somebody).replayed, "no transaction is held meanwhile"
    assert not first.wait().replayed


def test_work_that_failed_leaves_its_key_free(lab_on: Lab, somebody: Subject) -> None:
    lab_on.start()
    with pytest.raises(errors.InternalError):
        lab_on.ring("x", key="k", subject=somebody, fail="fail")
    assert keys(lab_on) == 0
    assert not lab_on.ring("x", key="k", subject=somebody).replayed


def test_a_crash_frees_the_key_when_its_lease_ends(lab: Lab, somebody: Subject) -> None:
    lab.process(HUB_FAILPOINTS="ring.leased=kill")
    with pytest.raises(errors.HubError):
        lab.ring("x", key="k", subject=somebody, timeout_s=1)
    assert keys(lab) == 1
    lab.process()
    answers: list[Any] = []

    def answered() -> bool:
        try:
            answers.append(lab.ring("x", key="k", subject=somebody))
        except (errors.DuplicateInFlight, errors.Unavailable):
            return False
        return True

    eventually(answered)
    assert not answers[0].replayed
    assert (lab.runs("ring"), lab.notes()) == (1, ["x"])


def test_a_key_is_free_as_soon_as_the_database_that_was_away_when_its_work_failed_is_back(
    lab_on_postgres: Lab, postgres: Postgres, somebody: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "LEASE_TIMES", 100.0)
    lab = lab_on_postgres
    lab.start()
    under_way = eventlet.spawn(lab.ring, "one", key="k", subject=somebody, seconds=0.5)
    eventually(lambda: keys(lab) == 1)
    postgres.kill()
    with pytest.raises(errors.Unavailable):
        under_way.wait()
    postgres.start()
    began = time.monotonic()

    def answered() -> bool:
        try:
            return not lab.ring("one", key="k", subject=somebody, seconds=0.5).replayed
        except (errors.DuplicateInFlight, errors.Unavailable):
            return False

    eventually(answered, 15)
    measured(f"R of a leased key after a PostgreSQL kill -9: {time.monotonic() - began:.1f} s")
    assert lab.notes() == ["one"]


def test_a_key_held_by_a_process_that_has_gone_is_taken_over_at_once(
    db_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(db_uri)
    CHASSIS.create_all(database.engine)
    claim = Claim("somebody", "ring", "k", "f")
    host = owner.this_process().partition("/")[0]
    with monkeypatch.context() as killed, database.write() as session:
        killed.setattr(owner, "this_process", lambda: f"{host}/99999999/1")
        assert claim.lease(session, "the first", for_s=60)
    with database.write() as session:
        assert claim.lease(session, "the second", for_s=60)
    with database.write() as session, pytest.raises(errors.DuplicateInFlight):
        claim.lease(session, "the third", for_s=60)
    database.close()


def test_whoever_lost_the_lease_undoes_its_effect(lab_on: Lab, somebody: Subject) -> None:
    container = lab_on.start()
    slow = eventlet.spawn(lab_on.ring, "one", key="k", subject=somebody, seconds=0.5)
    eventually(lambda: keys(lab_on) == 1)
    _end_leases(container.runtime.db)
    second = lab_on.ring("one", key="k", subject=somebody, seconds=0.5)
    with pytest.raises(errors.DuplicateInFlight):
        slow.wait()
    assert (lab_on.runs("ring"), lab_on.notes()) == (2, ["one"])
    assert lab_on.ring("one", key="k", subject=somebody, seconds=0.5).value == second.value


def _end_leases(db: Database) -> None:
    with db.write() as session:
        for row in session.execute(select(IDEMPOTENCY)).all():
            over = row.answer | {"$until": "2000-01-01T00:00:00+00:00"}
            session.execute(update(IDEMPOTENCY).where(IDEMPOTENCY.c.key == row.key).values(answer=over))


def test_the_row_tells_nothing_of_what_was_asked(lab: Lab, somebody: Subject) -> None:
    container = lab.start()
    lab.ring("a secret in the request", key="k", subject=somebody, seconds=0.01)
    row = lab.rows(select(IDEMPOTENCY))[0]
    assert "secret" not in row.fingerprint
    claim = Claim(somebody.id, "ring", "k", row.fingerprint)
    with container.runtime.db.write() as session:
        assert claim.known(session)
        claim.release(session, "nobody")
        assert claim.known(session), "only a lease can be released"


def test_a_key_taken_over_is_kept_as_long_as_a_new_one(db_uri: str) -> None:
    database = Database(db_uri)
    CHASSIS.create_all(database.engine)
    claim = Claim("somebody", "ring", "k", "f")
    with database.write() as session:
        assert claim.lease(session, "the first, which died", for_s=-1)
        session.execute(update(IDEMPOTENCY).values(created_at=utcnow() - dt.timedelta(days=30)))
    with database.write() as session:
        assert claim.lease(session, "the second", for_s=60)
        claim.settle(session, "the second", {"ok": True})
        assert prune(session, before=utcnow() - dt.timedelta(days=1)) == 0
    database.close()
