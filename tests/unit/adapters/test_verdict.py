"""What an answer means for the delivery."""

from datetime import UTC, datetime

import pytest
from requests.structures import CaseInsensitiveDict

from hub_adapter.failure import ErrorClass, TryLater, failure_of
from hub_adapter.port import (
    AT_LEAST_ONCE,
    EFFECTIVELY_ONCE,
    AdapterSpec,
    Capability,
    guarantee,
)
from hub_adapter.verdict import Reply, refusal, retry_after_s

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        (" 0 ", 0.0),
        ("Sun, 22 Nov 2026 12:02:00 GMT", 120.0),
        ("Sunday, 22-Nov-26 12:02:00 GMT", 120.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Mon, 22 Nov 2027 12:00:00 GMT", 86_400.0),
        ("99999999999999999999", 86_400.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_understood_in_both_forms_and_never_beyond_a_day(
    value: str | None, seconds: float | None
) -> None:
    assert retry_after_s(value, NOON) == seconds


@pytest.mark.parametrize(
    ("status", "retry_after", "changes", "expected"),
    [
        (429, None, True, "rate_limited"),
        (429, "7", True, "rate_limited"),
        (503, "7", True, "rate_limited"),
        (503, None, True, "transient"),
        (500, None, True, "transient"),
        (502, None, True, "ambiguous"),
        (504, None, True, "ambiguous"),
        (504, None, False, "transient"),
        (401, None, True, "auth"),
        (403, None, False, "auth"),
        (404, None, True, "not_found"),
        (410, None, True, "not_found"),
        (412, None, True, "version_conflict"),
        (400, None, True, "invalid"),
        (409, None, True, "invalid"),
        (422, None, True, "invalid"),
        (302, None, True, "transient"),
    ],
)
def test_each_status_has_its_class(status: int, retry_after: str | None, changes: bool, expected: str) -> None:
    headers = CaseInsensitiveDict({"retry-after": retry_after} if retry_after else {})
    failure = refusal(Reply(status=status, headers=headers, body=b"", changes=changes), NOON, "because").failure
    assert (failure.error_class, failure.http_status) == (expected, status)
    assert "because" in failure.message
    assert failure.retry_after_s == (7.0 if retry_after else None)


def test_what_was_raised_on_purpose_tells_its_class_and_the_rest_is_a_defect() -> None:
    assert failure_of(TryLater("down", seconds=3)).retry_after_s == 3
    assert failure_of(KeyError("x")).error_class is ErrorClass.ADAPTER_ERROR


def test_the_promise_of_a_connection_follows_from_what_its_target_can_do() -> None:
    assert guarantee(frozenset({Capability.IDEMPOTENCY_KEY})) == EFFECTIVELY_ONCE
    assert guarantee(frozenset({Capability.FIND_BY_LOCAL_KEY, Capability.INCREMENTAL})) == EFFECTIVELY_ONCE
    assert guarantee(frozenset({Capability.CONDITIONAL_WRITE, Capability.NATIVE_UPSERT})) == AT_LEAST_ONCE


@pytest.mark.parametrize("capability", Capability)
def test_the_engine_sends_again_by_what_the_promise_counts_and_by_nothing_else(capability: Capability) -> None:
    spec = AdapterSpec(name="x", version="1", title="X", config_schema={}, secret_fields=(), entities=("order",),
                       capabilities=frozenset({capability}))  # fmt: skip
    resolved = spec.honours_key or spec.sought_by("order", "ours", {}) is not None
    assert resolved == (spec.guarantee == EFFECTIVELY_ONCE)


def test_a_secret_cannot_be_declared_as_a_setting() -> None:
    with pytest.raises(ValueError, match="secret"):
        AdapterSpec(
            name="x",
            version="1",
            title="X",
            config_schema={"properties": {"key": {}}},
            secret_fields=("key",),
            entities=("customer",),
            capabilities=frozenset(),
        )
