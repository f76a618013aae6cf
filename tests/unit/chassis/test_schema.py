"""Contract fields: exact, safe, and sealed on the wire."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from marshmallow import Schema, fields

from contracts import schema
from contracts.errors import Invalid
from contracts.in_clear import in_clear
from contracts.schema import (
    Identifier,
    Money,
    PageRequest,
    Record,
    Request,
    Sensitive,
    SensitiveObject,
    Text,
    Timestamp,
    load,
    page_of,
)


class Line(Request):
    sku = fields.String(required=True)
    price = Money(required=True)


class Order(Request):
    lines = fields.List(fields.Nested(Line), required=True)
    phone = Sensitive()


class _Reversing:
    def seal(self, text: str, purpose: str) -> str:
        return f"{purpose}/{text[::-1]}"

    def open(self, sealed: str, purpose: str) -> str:
        if not sealed.startswith(f"{purpose}/"):
            raise ValueError
        return sealed.removeprefix(f"{purpose}/")[::-1]


def refusals(kind: type[Schema], data: Any) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        load(kind, data)
    return {each["pointer"]: each["code"] for each in refused.value.fields["errors"]}


def test_every_refused_field_is_named_by_its_pointer() -> None:
    assert refusals(Order, {"lines": [{"sku": "A", "price": "1"}, {"price": 1, "a/b": 2}]}) == {
        "/lines/1/sku": "required", "/lines/1/price": "invalid", "/lines/1/a~1b": "unknown_field"}


@pytest.mark.parametrize("text", ["1.23456", "abc", "NaN", "Infinity", "1e400", "100000000000000", "", "1,5"])
def test_an_amount_that_cannot_be_kept_exactly_is_refused(text: str) -> None:
    assert refusals(Line, {"sku": "A", "price": text}) == {"/price": "invalid"}


@pytest.mark.parametrize(("text", "amount"), [("199.00", "199.00"), ("-0.0001", "-0.0001"), ("1e2", "100")])
def test_an_amount_is_exact_in_both_directions(text: str, amount: str) -> None:
    price = load(Line, {"sku": "A", "price": text})["price"]
    assert price == Decimal(amount)
    assert schema.dump(Line, {"sku": "A", "price": price})["price"] == amount


def test_a_time_needs_an_offset_and_is_told_in_utc() -> None:
    moment = Timestamp()
    loaded = moment.deserialize("2026-11-22T16:00:00+08:00")
    assert loaded == dt.datetime(2026, 11, 22, 8, tzinfo=dt.UTC)
    assert moment._serialize(loaded, None, None) == "2026-11-22T08:00:00.000000Z"

    class Moment(Request):
        at = Timestamp()

    for text in ("2026-11-22T16:00:00", "now", 7, None):
        assert list(refusals(Moment, {"at": text})) == ["/at"]


def test_text_is_stripped_and_holds_no_control_characters() -> None:
    class Named(Request):
        name = Text(most=5, least=1)

    assert load(Named, {"name": "  李雷 "}) == {"name": "李雷"}
    for text in ("", "   ", "toolong", "a\x00b", "a\x1bb", "\ud800"):
        assert list(refusals(Named, {"name": text})) == ["/name"]


def test_sensitive_fields_travel_sealed_and_are_clear_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_codec", _Reversing())
    order = {"lines": [], "phone": "138"}
    assert schema.pack(Order, order)["phone"] == "wire/831"
    assert schema.unpack(Order, {"lines": [], "phone": "wire/831"})["phone"] == "138"
    assert load(Order, order)["phone"] == "138"
    with pytest.raises(Invalid, match="refused"):
        schema.unpack(Order, order)  # in clear on the wire


class _Place(Record):
    street = Sensitive(load_default="")
    city = fields.String()


class _Told(Record):
    phone = Sensitive(allow_none=True)
    place = fields.Nested(_Place, allow_none=True)
    places = fields.List(fields.Nested(_Place))
    named = fields.Dict(keys=fields.String(), values=Sensitive(allow_none=True))
    answer = SensitiveObject()
    price = Money()
    at = Timestamp()
    tags = fields.List(fields.String(), load_default=list)


@pytest.mark.parametrize("told", [
    {"phone": "138", "place": {"street": "南京东路", "city": "上海"}, "places": [{"street": "x"}, {"street": "y"}],
     "named": {"a": "1", "b": None}, "answer": {"code": 7}, "price": Decimal("1.50"),
     "at": dt.datetime(2026, 11, 22, tzinfo=dt.UTC), "tags": ["vip"]},
    {"phone": None, "place": None},
    {},
])
def test_an_answer_is_opened_without_a_check_as_it_would_be_with_one(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, Any]
) -> None:
    monkeypatch.setattr(schema, "_codec", _Reversing())
    packed = schema.pack(_Told, told) | {"added_later": 1}
    assert in_clear(_Told, packed) == schema.dump(_Told, schema.unpack(_Told, packed))


def test_an_answer_that_is_not_sealed_is_not_passed_on_as_if_it_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_codec", _Reversing())
    with pytest.raises(ValueError):  # noqa: PT011 (the codec says why)
        in_clear(_Told, {"phone": "138"})


def test_a_record_packed_once_is_packed_no_second_time_but_for_another_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_codec", _Reversing())
    place = {"street": "x", "city": "上海"}
    made = schema.Packed.of(_Place, place)
    place["city"] = "北京"
    assert schema.pack(_Place, made) is made.data
    assert made.data["city"] == "上海"
    with pytest.raises(TypeError, match="packed as"):
        schema.pack(_Told, made)


def test_one_request_written_in_two_ways_has_one_canonical_form() -> None:
    one, other = ({"lines": [{"sku": "a", "price": price}]} for price in ("1.5", "1.500"))
    assert schema.canonical(load(Order, one)) == schema.canonical(load(Order, other))
    dear, cheap = ({"lines": [{"sku": "a", "price": price}]} for price in ("150", "1.5"))
    assert schema.canonical(load(Order, dear)) != schema.canonical(load(Order, cheap))
    at = [schema.canonical(load(_Told, {"at": text})) for text in ("2026-11-22T08:00:00+08:00", "2026-11-22T00:00:00Z")]
    assert at[0] == at[1] == '{"at": "2026-11-22T00:00:00.000000Z", "tags": []}'


def test_nothing_sensitive_travels_without_a_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_codec", None)
    with pytest.raises(RuntimeError, match="codec"):
        schema.pack(Order, {"lines": [], "phone": "138"})


def test_a_record_ignores_what_it_does_not_know_and_a_request_refuses_it() -> None:
    class Thing(Record):
        name = fields.String()

    assert load(Thing, {"name": "x", "new": 1}) == {"name": "x"}
    assert refusals(PageRequest, {"new": 1}) == {"/new": "unknown_field"}
    assert page_of(Thing) is page_of(Thing)


@pytest.mark.parametrize("id", ["", "x" * 36, "0199c0de-0000-7000-8000-00000000000",
                                "0199C0DE-0000-7000-8000-000000000000"])
def test_what_is_no_record_id_is_refused(id: str) -> None:
    class Named(Request):
        id = Identifier()

    assert list(refusals(Named, {"id": id})) == ["/id"]


@pytest.mark.parametrize("limit", [0, 201, "many"])
def test_a_page_has_between_one_and_two_hundred_records(limit: Any) -> None:
    assert load(PageRequest, {})["limit"] == 50
    assert list(refusals(PageRequest, {"limit": limit})) == ["/limit"]
