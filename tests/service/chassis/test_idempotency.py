"""One key, one effect, on both databases."""

from __future__ import annotations

from typing import Any

import eventlet
import pytest
from sqlalchemy import func, select

from chassis.context import Subject
from chassis.idempotency import IDEMPOTENCY
from chassis.outbox import OUTBOX
from contracts import errors
from tests.service.chassis.laboratory import Lab


def count(lab: Lab, table: Any) -> int:
    found: int = lab.rows(select(func.count()).select_from(table))[0][0]
    return found


def test_fifty_callers_with_one_key_make_one_row_and_one_event_and_get_one_body(lab_on: Lab, somebody: Subject) -> None:
    lab_on.start()

    def ask(_number: int) -> Any:
        while True:
            try:
                return lab_on.add("one", key="k", subject=somebody, timeout_s=30, hold_s=0.05)
            except errors.DuplicateInFlight as busy:
                eventlet.sleep(busy.retry_after_s or 0.1)

    answers = list(eventlet.GreenPool(50).imap(ask, range(50)))
    assert len({answer.value["id"] for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1
    assert lab_on.notes() == ["one"]
    assert (count(lab_on, IDEMPOTENCY), count(lab_on, OUTBOX)) == (1, 1)


def test_a_rival_that_takes_too_long_is_reported_as_in_flight_and_later_replayed(
        lab_on_postgres: Lab, somebody: Subject) -> None:
    lab_on_postgres.start()
    first = eventlet.spawn(lab_on_postgres.add, "slow", key="k", subject=somebody, hold_s=3.0, timeout_s=10)
    eventlet.sleep(0.5)
    with pytest.raises(errors.DuplicateInFlight) as busy:
        lab_on_postgres.add("slow", key="k", subject=somebody, hold_s=3.0, timeout_s=10)
    assert busy.value.retry_after_s
    made = first.wait()
    again = lab_on_postgres.add("slow", key="k", subject=somebody, hold_s=3.0)
    assert (again.value, again.replayed) == (made.value, True)


def test_a_failed_request_leaves_its_key_free(lab_on: Lab, somebody: Subject) -> None:
    lab_on.start()
    with pytest.raises(errors.InternalError):
        lab_on.add("x", key="k", subject=somebody, fail="bug")
    assert count(lab_on, IDEMPOTENCY) == 0
    assert not lab_on.add("x", key="k", subject=somebody).replayed


def test_a_key_belongs_to_its_principal(lab: Lab, somebody: Subject) -> None:
    lab.start()
    lab.add("mine", key="k", subject=somebody)
    assert not lab.add("yours", key="k").replayed
    assert lab.notes() == ["mine", "yours"]


def test_a_key_that_is_too_long_is_refused(lab: Lab) -> None:
    lab.start()
    with pytest.raises(errors.BadRequest):
        lab.add("x", key="k" * 256)
