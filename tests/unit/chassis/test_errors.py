"""Errors as Python values; their journey over the wire is in tests/contracts."""

from __future__ import annotations

import pytest

from contracts import errors


def test_an_error_tells_its_first_line_when_nothing_was_said() -> None:
    assert str(errors.StaleVersion()) == "The record has changed since the caller read it"
    assert errors.NotFound("No order o-1").message == "No order o-1"


def test_a_single_refusal_names_its_field() -> None:
    refused = errors.Invalid.of("/lines/0/sku", "unknown", "There is no such product.")
    assert refused.fields["errors"] == [
        {"pointer": "/lines/0/sku", "code": "unknown", "message": "There is no such product."}]


def test_what_the_wire_carries_holds_no_cause() -> None:
    with pytest.raises(errors.Unavailable) as caught:
        raise errors.Unavailable("The database is away", retry_after_s=2) from KeyError("13800138000")
    assert "13800138000" not in str(caught.value.to_wire())


def test_kinds_of_conflict_are_conflicts() -> None:
    for kind in (errors.InvalidTransition, errors.InsufficientStock, errors.DuplicateInFlight, errors.AlreadyExists):
        assert issubclass(kind, errors.Conflict)
        assert kind.status == 409
