"""States and steps, as pure rules."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.integrations.domain import deliveries
from services.integrations.domain.deliveries import IllegalStep, Wait, is_stale, step, succeed, supersedes
from services.integrations.domain.ledger import Ledger
from services.integrations.routing import ACCOUNT, DEPENDS_ON, WAYS, dependencies

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
states = st.sampled_from(deliveries.STATES)


@given(st.sampled_from(deliveries.TERMINAL), states)
def test_no_step_leads_out_of_a_final_state(before: deliveries.State, after: deliveries.State) -> None:
    with pytest.raises(IllegalStep):
        step(before, after)


@given(st.sampled_from(deliveries.OPEN))
def test_every_open_state_can_still_come_to_an_end(start: deliveries.State) -> None:
    reached, edge = {start}, [start]
    while edge:
        edge = [after for state in edge for after in deliveries.STEPS[state] if after not in reached]
        reached.update(edge)
    assert reached & set(deliveries.TERMINAL)


def test_every_state_is_open_or_final_and_never_both() -> None:
    assert set(deliveries.OPEN) | set(deliveries.TERMINAL) == set(deliveries.STATES)
    assert not set(deliveries.OPEN) & set(deliveries.TERMINAL)


waits = st.builds(Wait, state=st.sampled_from(deliveries.WAITING), due_at=st.datetimes(timezones=st.just(dt.UTC)),
                  attempts=st.integers(0, 11), deferrals=st.integers(0, 99))


@given(waits)
def test_a_newer_upsert_goes_on_where_the_waiting_one_was(waiting: Wait) -> None:
    assert succeed("upsert", waiting, NOW) == waiting


@given(waits | st.none())
def test_a_delete_does_not_wait_for_the_back_off_of_what_it_makes_pointless(waiting: Wait | None) -> None:
    assert succeed("delete", waiting, NOW) == Wait("pending", NOW)


def test_a_fact_replaces_nothing_and_is_replaced_by_nothing() -> None:
    assert not supersedes("append", "upsert")
    assert not any(supersedes(op, "append") for op in ("upsert", "delete", "append"))
    assert supersedes("upsert", "upsert")
    assert supersedes("delete", "upsert")


@given(st.integers(0, 99), st.integers(0, 99))
def test_of_two_versions_exactly_the_newer_is_news(one: int, other: int) -> None:
    assert is_stale(one, other) == (one <= other)
    assert not is_stale(one, None)


counts = st.dictionaries(states, st.integers(0, 10**6))


@given(counts)
def test_a_ledger_balances_exactly_when_every_accepted_delivery_is_somewhere(counted: dict[str, int]) -> None:
    everything = sum(counted.values())
    assert Ledger.of("c", everything, counted).balanced
    assert not Ledger.of("c", everything + 1, counted).balanced


def test_an_order_names_its_customer_and_a_customer_names_nobody() -> None:
    assert dependencies("order", {"customer_id": "c1"}) == [("customer", "c1")]
    assert dependencies("order", {}) == []
    assert dependencies("customer", {"customer_id": "c1"}) == []


def test_what_something_waits_for_has_a_way_of_its_own_and_no_circle_leads_back() -> None:
    carried = {way.entity for way in WAYS.values()} | {ACCOUNT}  # which an administrator puts
    for entity, needed in DEPENDS_ON.items():
        assert {entity, *(need.entity for need in needed)} <= carried

    def above(entity: str, path: tuple[str, ...] = ()) -> None:
        assert entity not in path
        for need in DEPENDS_ON.get(entity, ()):
            above(need.entity, (*path, entity))

    for entity in DEPENDS_ON:
        above(entity)
