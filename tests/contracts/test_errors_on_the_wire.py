"""Every error class arrives as it left."""

from __future__ import annotations

import importlib
import json
import pkgutil

import pytest

import contracts
from contracts import errors
from contracts.errors import HubError


def classes(base: type[HubError] = HubError) -> list[type[HubError]]:
    """Every error class that there is."""
    for module in pkgutil.iter_modules(contracts.__path__):
        importlib.import_module(f"contracts.{module.name}")
    return [base, *(each for below in base.__subclasses__() for each in classes(below))]


@pytest.mark.parametrize("cls", classes()[1:], ids=lambda cls: cls.__name__)
def test_an_error_keeps_class_fields_and_advice_over_the_wire(cls: type[HubError]) -> None:
    sent = cls("A-1 is short", retry_after_s=2.5, sku="A-1", errors=[{"pointer": "/lines/0", "code": "x"}])
    arrived = HubError.from_wire(json.loads(json.dumps(sent.to_wire())))
    assert type(arrived) is cls
    assert (arrived.message, arrived.fields, arrived.retry_after_s) == (sent.message, sent.fields, 2.5)
    assert str(arrived) == "A-1 is short"


@pytest.mark.parametrize("cls", classes()[1:], ids=lambda cls: cls.__name__)
def test_an_error_without_words_says_what_its_class_means(cls: type[HubError]) -> None:
    assert cls().message
    assert 400 <= cls.status < 600


def test_every_code_belongs_to_one_class() -> None:
    codes = [cls.code for cls in classes()]
    assert len(codes) == len(set(codes))


def test_two_classes_cannot_claim_one_code() -> None:
    with pytest.raises(TypeError, match="both claim"):
        type("Impostor", (HubError,), {"code": "not_found"})


@pytest.mark.parametrize("wire", [
    {"code": "from_the_future", "message": "m", "fields": {"a": 1}, "retry_after_s": None},
    {"code": None}, {}, {"fields": "not a mapping"},
])
def test_an_error_that_this_side_does_not_know_is_internal_and_keeps_its_words(wire: dict[str, object]) -> None:
    arrived = HubError.from_wire(wire)
    assert isinstance(arrived, errors.InternalError)
    assert arrived.message == wire.get("message") or arrived.message


def test_a_field_named_like_a_parameter_does_not_break_the_envelope() -> None:
    wire = {"code": "conflict", "message": "m", "fields": {"message": "x", "retry_after_s": 9, "self": 1}}
    arrived = HubError.from_wire(wire)
    assert isinstance(arrived, errors.Conflict)
    assert arrived.message == "m"
