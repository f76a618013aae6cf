"""Where a person must act: the hub pauses by itself, says why in words, and a resume clears it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from chassis.audit.tables import AUDIT_ENTRY
from contracts.errors import Conflict
from hub_adapter.failure import AuthRefused, TryLater
from services.integrations.adapters import registry
from services.integrations.domain import breaker, pauses
from services.integrations.models import Credential
from services.integrations.operations import connections
from tests.service.integrations.conftest import ADMIN, Hub
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.processes import eventually
from tests.support.refreshing import Issuer, RefreshingAdapter


def resume(hub: Hub, connection_id: str) -> None:
    with hub.db.write() as session:
        connections.resume(session, {"id": connection_id}, by=ADMIN)
    hub.engine.wake([connection_id])


def until_paused(hub: Hub, connection_id: str, code: str) -> None:
    eventually(lambda: hub.connection(connection_id).pause_code == code)
    connection = hub.connection(connection_id)
    assert connection.desired_state == "paused"
    assert (connection.pause_reason or "").startswith(f"{code}: ")
    assert connection.pause_advice == pauses.ADVICE[code]  # type: ignore[index]


# --- a fault of the mapping ---------------------------------------------------------------------------------------


def test_twenty_records_refused_one_after_the_other_stop_the_line(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "REFUSED_RECORDS", 6)
    connection_id = hub.connect(target, "customer", max_in_flight=2)
    refusal = target.fail(method="POST", times=1000, status=422, message="unit: unknown")
    ids = [hub.customer() for _ in range(20)]
    hub.run()

    until_paused(hub, connection_id, "mapping_fault")

    assert hub.connection(connection_id).health == "mapping_fault"
    assert "unit: unknown" in (hub.connection(connection_id).pause_reason or "")
    eventually(lambda: not any(hub.states(id) == ["leased"] for id in ids))
    dead = hub.ledger(connection_id).dead
    assert 6 <= dead <= 7, "only what was on the wire already"
    refusal.times = 0
    resume(hub, connection_id)
    eventually(lambda: hub.ledger(connection_id).delivered == 20 - dead)
    assert hub.connection(connection_id).health == "ok"
    assert hub.connection(connection_id).pause_code is None
    assert hub.ledger(connection_id).balanced


def test_records_refused_among_others_that_are_taken_are_their_own_fault(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "REFUSED_RECORDS", 3)
    connection_id = hub.connect(target, "customer")
    hub.run()

    for _ in range(3):
        for _ in range(2):
            target.fail(method="POST", status=422)
            hub.until(hub.customer(), "dead")
        hub.until(hub.customer(), "delivered")

    assert hub.connection(connection_id).desired_state == "active"


# --- gone ---------------------------------------------------------------------------------------------------------


def test_a_target_that_says_it_is_gone_is_for_a_person_and_no_attempt_is_used(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    gone = target.fail(method="POST", times=100, status=410, message="the tenant was closed")
    hub.run()
    id = hub.customer()

    until_paused(hub, connection_id, "gone")

    assert hub.deliveries(id)[0].attempts == 0
    gone.times = 0
    resume(hub, connection_id)
    hub.until(id, "delivered")


def test_a_record_that_is_gone_is_made_anew_and_pauses_nothing(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer")
    hub.run()
    id = hub.customer()
    hub.until(id, "delivered")
    target.fail(method="PUT", status=410)

    hub.customer(2, id)
    eventually(lambda: hub.states(id)[-1] == "retry_wait")
    hub.hurry(id)

    hub.until(id, "delivered", "delivered")
    assert hub.connection(connection_id).desired_state == "active"


# --- in doubt -----------------------------------------------------------------------------------------------------


def test_doubts_that_no_look_clears_up_pause_and_a_resume_looks_for_each_again(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "DOUBTS", 5)
    monkeypatch.setattr(breaker, "LEAST_CALLS", 1000)
    connection_id = hub.connect(target, "customer")
    hub.run()
    target.fail(method="POST", times=6, drop="after")
    ids = [hub.customer() for _ in range(6)]
    eventually(lambda: all(hub.states(id) == ["in_doubt"] for id in ids))
    hub.quiet(0.3)
    assert hub.connection(connection_id).desired_state == "active", "nobody has looked yet"

    blind = target.fail(method="GET", times=1000, status=500)
    hub.hurry()
    until_paused(hub, connection_id, "in_doubt")

    eventually(lambda: all(row.lease_owner is None for id in ids for row in hub.deliveries(id)))
    blind.times = 0
    resume(hub, connection_id)
    for id in ids:
        hub.until(id, "delivered")
    assert len(target.of("customer")) == 6
    assert hub.connection(connection_id).desired_state == "active"


# --- tokens that end ----------------------------------------------------------------------------------------------


@pytest.fixture
def issuer(target: FakeTarget, monkeypatch: pytest.MonkeyPatch) -> Issuer:
    """An issuer of tokens, to which the adapter `fake_refreshing` turns; it issues the one that holds."""
    made = Issuer(lambda: target.accepted_key)
    monkeypatch.setattr(RefreshingAdapter, "issuer", made, raising=False)
    monkeypatch.setitem(registry.OURS, "fake_refreshing", "tests.support.refreshing:RefreshingAdapter")
    registry.load.cache_clear()
    return made


def test_a_token_that_ends_under_ten_workers_is_refreshed_once_and_all_goes_on(
    hub: Hub, target: FakeTarget, issuer: Issuer
) -> None:
    connection_id = hub.connect(target, "customer", adapter="fake_refreshing", max_in_flight=16)
    other = hub.new_engine()
    ids = [hub.customer() for _ in range(10)]
    target.accepted_key = "the-next-token"
    hub.run()
    hub.run(other)
    other.wake([connection_id])

    for id in ids:
        hub.until(id, "delivered")

    assert issuer.asked == 1
    assert {hub.deliveries(id)[0].attempts for id in ids} == {0}
    assert hub.connection(connection_id).health == "ok"
    assert len(target.of("customer")) == 10
    shown = str([vars(row) for id in ids for row in hub.attempts(id)])
    assert GOOD_KEY not in shown
    assert "the-next-token" not in shown
    [credential] = hub.rows(Credential)
    assert (credential.version, credential.status, credential.refresh_owner) == (2, "accepted", None)
    assert hub.connection(connection_id).checked_version == hub.connection(connection_id).setup_version
    with hub.db.read() as session:
        audited = session.execute(sa.select(AUDIT_ENTRY.c.action, AUDIT_ENTRY.c.record_id)).all()
    assert audited == [("integrations.refresh_credential", connection_id)]


def test_a_token_that_ends_between_polls_is_refreshed_too(hub: Hub, target: FakeTarget, issuer: Issuer) -> None:
    connection_id = hub.connect(target, "product", adapter="fake_refreshing", direction="pull")
    target.accepted_key = "the-next-token"
    target.put("product", "A-1", {"sku": "A-1"})
    hub.run()

    eventually(lambda: hub.connection(connection_id).last_success_at is not None)

    assert issuer.asked == 1
    assert hub.connection(connection_id).desired_state == "active"


def test_a_refresh_that_is_refused_is_tried_once_and_then_a_person_has_to_come(
    hub: Hub, target: FakeTarget, issuer: Issuer
) -> None:
    def refused() -> str:
        raise AuthRefused("the refresh token is spent")

    issuer.issue = refused
    connection_id = hub.connect(target, "customer", adapter="fake_refreshing")
    target.accepted_key = "the-next-token"
    ids = [hub.customer() for _ in range(10)]
    hub.run()

    until_paused(hub, connection_id, "auth")

    eventually(lambda: not any(hub.states(id) == ["leased"] for id in ids))
    assert issuer.asked == 1
    assert {hub.deliveries(id)[0].attempts for id in ids} == {0}
    with pytest.raises(Conflict):
        resume(hub, connection_id)


def test_an_issuer_that_is_down_pauses_nothing(hub: Hub, target: FakeTarget, issuer: Issuer) -> None:
    def unwell() -> str:
        raise TryLater("the issuer answered 500")

    issuer.issue = unwell
    connection_id = hub.connect(target, "customer", adapter="fake_refreshing")
    target.accepted_key = "the-next-token"
    hub.run()
    id = hub.customer()

    hub.until(id, "retry_wait")

    assert hub.connection(connection_id).desired_state == "active"
    issuer.issue = lambda: "the-next-token"
    hub.hurry(id)
    hub.until(id, "delivered")


def test_a_fresh_token_that_is_refused_as_well_is_for_a_person(hub: Hub, target: FakeTarget, issuer: Issuer) -> None:
    issuer.issue = lambda: "worthless"
    connection_id = hub.connect(target, "customer", adapter="fake_refreshing")
    target.accepted_key = "the-next-token"
    hub.run()
    hub.customer()

    until_paused(hub, connection_id, "auth")

    assert issuer.asked == 1
