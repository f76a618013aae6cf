"""What each answer of the system, or the lack of one, means to the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BufferedIOBase
from typing import Any

from hub_adapter.conformance.checks.rigged import RiggedSuite
from hub_adapter.conformance.rig import EVERY, Rig
from hub_adapter.failure import ErrorClass, Failure, RateLimited

E = ErrorClass
GONE = frozenset({E.NOT_FOUND, E.GONE, E.TRANSIENT, E.INVALID, E.DEPENDENCY_MISSING})
TAKEN = GONE | {E.ALREADY_EXISTS, E.VERSION_CONFLICT}
WAIT = {"Retry-After": "7"}

# Status and headers → what may be made of it. None: `get` may also say that there is no such record.
ASKED: list[tuple[int, Mapping[str, str], frozenset[ErrorClass | None]]] = [
    (302, {"Location": "/login"}, frozenset({E.TRANSIENT})),
    (400, {}, frozenset({E.INVALID})),
    (401, {}, frozenset({E.AUTH})),
    (403, {}, frozenset({E.AUTH, E.INVALID, E.TRANSIENT, None})),
    (404, {}, frozenset({E.NOT_FOUND, E.GONE, E.TRANSIENT, None})),
    (408, {}, frozenset({E.TRANSIENT})),
    (410, {}, frozenset({E.NOT_FOUND, E.GONE, E.TRANSIENT, None})),
    (429, {}, frozenset({E.RATE_LIMITED})),
    (429, WAIT, frozenset({E.RATE_LIMITED})),
    (500, {}, frozenset({E.TRANSIENT})),
    (502, {}, frozenset({E.TRANSIENT})),
    (503, {}, frozenset({E.TRANSIENT})),
    (503, WAIT, frozenset({E.RATE_LIMITED})),
    (504, {}, frozenset({E.TRANSIENT})),
]
CHANGED: list[tuple[int, Mapping[str, str], frozenset[ErrorClass | None]]] = [
    (302, {"Location": "/login"}, frozenset({E.TRANSIENT})),
    (400, {}, frozenset({E.INVALID})),
    (401, {}, frozenset({E.AUTH})),
    (403, {}, frozenset({E.AUTH, E.INVALID})),
    (404, {}, frozenset(GONE)),
    (409, {}, frozenset(TAKEN)),
    (410, {}, frozenset(GONE)),
    (412, {}, frozenset(TAKEN)),
    (413, {}, frozenset({E.INVALID})),
    (422, {}, frozenset({E.INVALID})),
    (429, {}, frozenset({E.RATE_LIMITED})),
    (429, WAIT, frozenset({E.RATE_LIMITED})),
    (500, {}, frozenset({E.TRANSIENT, E.AMBIGUOUS})),
    (502, {}, frozenset({E.AMBIGUOUS})),
    (503, {}, frozenset({E.TRANSIENT, E.AMBIGUOUS})),
    (503, WAIT, frozenset({E.RATE_LIMITED})),
    (504, {}, frozenset({E.AMBIGUOUS})),
]
A_PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 22\r\n\r\n<p>Please sign in.</p>"
HANGS_FOR_S = 0.3


class FailureChecks(RiggedSuite):
    def test_every_status_of_a_question_has_its_class(self, rig: Rig, entity: str) -> None:
        external_id = rig.write(entity, rig.fresh(entity)).external_id
        wrong = _misread(rig, ASKED, lambda: self.adapter.get(rig.open(), entity, external_id), 0)
        assert not wrong, f"told as: {wrong}"

    def test_every_status_of_a_change_has_its_class(self, rig: Rig, entity: str) -> None:
        wrong = _misread(rig, CHANGED, lambda: rig.write(entity, rig.fresh(entity)), rig.changing(entity))
        assert not wrong, f"told as: {wrong}"

    def test_retry_after_is_kept_as_seconds_and_as_a_date(self, rig: Rig, entity: str) -> None:
        skip = rig.changing(entity)
        for status in (429, 503):
            for wait, least, most in (("7", 7, 7), (_http_date(600), 500, 600)):
                rig.fail(skip=skip, times=EVERY, status=status, headers={"Retry-After": wait})
                failure = rig.failure(lambda: rig.write(entity, rig.fresh(entity)))
                rig.healed()
                assert failure is not None, f"{status} with Retry-After is told as success"
                told = failure.retry_after_s
                assert told is not None, f"Retry-After: {wait} is not told on"
                assert least <= told <= most, f"Retry-After: {wait} becomes {told} s"

    def test_a_limit_of_the_hubs_own_is_passed_on(self, rig: Rig, entity: str) -> None:
        def full() -> None:
            raise RateLimited("the connection's rate is used up", seconds=3)

        failure = rig.failure(lambda: rig.write(entity, rig.fresh(entity), admit=full))
        assert failure is not None, "the session let nothing through, and the write tells of success"
        assert (failure.error_class, failure.retry_after_s) == (E.RATE_LIMITED, 3), f"told as {failure}"
        assert rig.proxy.seen == [], "a request went past the session, and so past the connection's rate"

    def test_a_line_that_breaks_or_hangs_has_its_class(self, rig: Rig, entity: str) -> None:
        external_id, skip = rig.write(entity, rig.fresh(entity)).external_id, rig.changing(entity)
        for drop in ("before", "within", "after"):
            rig.fail(drop=drop)
            _require(E.TRANSIENT, rig.failure(lambda: self.adapter.get(rig.open(), entity, external_id)))
            rig.healed()
            rig.fail(skip=skip, drop=drop)
            _require(E.AMBIGUOUS, rig.failure(lambda: rig.write(entity, rig.fresh(entity))))
            rig.healed()
        rig.fail(hang=True)
        waiting = rig.open(read_timeout_s=HANGS_FOR_S)
        _require(E.TRANSIENT, rig.failure(lambda: self.adapter.get(waiting, entity, external_id)))

    def test_a_page_to_sign_in_is_not_taken_for_an_answer(self, rig: Rig, entity: str) -> None:
        external_id, skip = rig.write(entity, rig.fresh(entity)).external_id, rig.changing(entity)
        rig.fail(times=EVERY, instead=_sign_in)
        _require(E.TRANSIENT, rig.failure(lambda: self.adapter.get(rig.open(), entity, external_id)))
        rig.healed()
        rig.fail(skip=skip, times=EVERY, instead=_sign_in)
        failure = rig.failure(lambda: rig.write(entity, rig.fresh(entity)))
        assert failure is not None, "a proxy answered with a page of its own, and the write tells of success"
        assert failure.error_class in (E.AMBIGUOUS, E.TRANSIENT), f"told as {failure.error_class}: {failure.message}"

    # --- credentials --------------------------------------------------------------------------------------------------

    def test_check_passes_a_good_connection_and_changes_nothing(self, rig: Rig) -> None:
        told = self.adapter.check(rig.open())
        assert told.ok, f"check of the suite's own connection finds {told.problems}"
        assert rig.exchanges, "check asks nobody"
        assert not any(exchange.changes for exchange in rig.exchanges), "check is a probe and must not change anything"

    def test_check_fails_on_bad_credentials(self, rig: Rig) -> None:
        told = self.adapter.check(rig.open(secrets=rig.system.refused_secrets))
        assert not told.ok, "check passes a credential that the system refuses"
        assert told.error_class is E.AUTH, f"a refused credential is told as {told.error_class}"

    def test_check_tells_of_a_system_that_is_down(self, rig: Rig) -> None:
        for fault in ({"status": 503}, {"drop": "before"}):
            rig.fail(times=EVERY, **fault)
            told = self.adapter.check(rig.open())
            rig.healed()
            assert not told.ok, f"check passes a system that is down ({fault})"
            assert told.error_class is E.TRANSIENT, f"a system that is down ({fault}) is told as {told.error_class}"

    def test_a_refused_credential_has_its_class_in_every_call(self, rig: Rig, entity: str) -> None:
        cmd, bad = rig.fresh(entity), rig.system.refused_secrets
        for call in (
            lambda: rig.write(entity, cmd, secrets=bad),
            lambda: self.adapter.get(rig.open(secrets=bad), entity, rig.system.nowhere or "1"),
            lambda: self.adapter.list(rig.open(secrets=bad), entity, None, 1),
        ):
            _require(E.AUTH, rig.failure(call))


def _sign_in(line: BufferedIOBase) -> None:
    line.write(A_PAGE)


def _misread(
    rig: Rig,
    table: list[tuple[int, Mapping[str, str], frozenset[ErrorClass | None]]],
    call: Callable[[], Any],
    skip: int,
) -> dict[str, str]:
    """Status → what was wrongly made of it, with every request from `skip` on answered so."""
    wrong = {}
    for status, headers, meant in table:
        rig.fail(skip=skip, times=EVERY, status=status, headers=headers)
        failure = rig.failure(call)
        rig.healed()
        found = failure.error_class if failure else None
        if found not in meant:
            wrong[f"{status} {dict(headers) or ''}".strip()] = str(found or "success")
    return wrong


def _require(meant: ErrorClass, failure: Failure | None) -> None:
    assert failure is not None, f"told as success, and is {meant}"
    assert failure.error_class is meant, f"told as {failure.error_class}, and is {meant}: {failure.message}"


def _http_date(ahead_s: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=ahead_s), usegmt=True)
