"""Masks: on every answer for whoever lacks the right, off where it reaches, and never over what is kept."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema, fields

from chassis import masking
from chassis.context import Subject
from chassis.database import new_id
from contracts import customers, masks, schema
from contracts.depth import Depth
from contracts.errors import Forbidden, Invalid
from contracts.operation import Operation
from contracts.schema import Record, Request, Sensitive, load, pack, page_of, unpack

CONTRACTS = [importlib.import_module(f"contracts.{file.stem}")
             for file in (Path(__file__).parents[3] / "contracts").glob("*.py") if "OPERATIONS" in file.read_text()]


class Home(Record):
    street = Sensitive(mask=masks.whole)
    town = fields.String()


class Person(Record):
    masked_as = "person"

    id = fields.String(required=True)
    phone = Sensitive(allow_none=True, mask=masks.phone)
    note = Sensitive()
    home = fields.Nested(Home, allow_none=True)
    owner_id = fields.String()
    team_id = fields.String()


class Friend(Record):
    masked_as = "friend"
    reached_through = "person"

    id = fields.String(required=True)
    phone = Sensitive(mask=masks.phone)


class _Plain:
    def seal(self, text: str, purpose: str) -> str:
        return f"{purpose}/{text}"

    def open(self, sealed: str, purpose: str) -> str:
        return sealed.removeprefix(f"{purpose}/")


@pytest.fixture(autouse=True)
def codec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_codec", _Plain())


def subject(entity: str = "person", teams: tuple[str, ...] = (), **depths: Depth) -> Subject:
    return Subject("me", "user", "Li Na", teams=teams, tree=teams, depths={entity: depths} if depths else {})


def person(**more: Any) -> dict[str, Any]:
    return {"id": "p1", "phone": "13812345678", "note": "calls at noon", "home": {"street": "Nanjing Road 1",
            "town": "Shanghai"}, "owner_id": "me", "team_id": "t1"} | more


def look(by: Subject, *people: dict[str, Any]) -> list[dict[str, Any]]:
    kind = page_of(Person)
    return list(unpack(kind, masking.seen(kind, pack(kind, {"items": people, "next": None}), by).answer)["items"])


@pytest.mark.parametrize(("mask", "value", "shown"), [
    (masks.phone, "13812345678", "138****5678"), (masks.phone, "+8613812345678", "+86138****5678"),
    (masks.phone, "12345678", "****78"), (masks.phone, "7", "****7"), (masks.email, "zhang.san@example.com",
     "z***@example.com"), (masks.email, "no address", "***"), (masks.account, "wx_zhang8", "w***8"),
    (masks.account, "ab", "***"), (masks.whole, "Nanjing Road 1", "***")])
def test_a_mask_shows_enough_to_recognise(mask: masks.Mask, value: str, shown: str) -> None:
    assert mask(value) == shown


def test_whoever_may_read_but_not_see_finds_every_value_masked() -> None:
    (shown,) = look(subject(read="all"), person())
    assert shown["phone"] == "138****5678"
    assert shown["home"] == {"street": "***", "town": "Shanghai"}
    assert shown["note"] == "calls at noon"


def test_what_is_empty_stays_empty() -> None:
    for empty in (None, ""):
        (shown,) = look(subject(read="all"), person(phone=empty, home=None))
        assert (shown["phone"], shown["home"]) == (empty, None)


def test_the_right_shows_what_its_depth_reaches() -> None:
    """Somebody finds all of them by a deeper right to read."""
    people = person(), person(id="p2", owner_id="you"), person(id="p3", owner_id="you", team_id="t9")
    depths: tuple[Depth, ...] = ("none", "own", "team", "tree", "all")
    clear = {depth: [shown["phone"] == "13812345678"
                     for shown in look(subject(teams=("t1",), unmask=depth, read="all"), *people)]
             for depth in depths}
    assert clear == {"none": [False] * 3, "own": [True, False, False], "team": [True, True, False],
                     "tree": [True, True, False], "all": [True] * 3}


def test_every_action_includes_to_unmask() -> None:
    rights = Subject("me", "user", "Li Na", depths={"person": {"*": "own", "read": "all"}})
    assert [shown["phone"] for shown in look(rights, person(), person(id="p2", owner_id="you"))] == [
        "13812345678", "138****5678"]


def test_the_answer_that_is_kept_is_not_touched() -> None:
    packed = pack(Person, person())
    before = json.dumps(packed)
    masked = masking.seen(Person, packed, subject(read="all"))
    assert json.dumps(packed) == before
    assert masked.answer["phone"] == "wire/138****5678"


def test_the_door_knows_whose_values_went_out_in_clear() -> None:
    kind = page_of(Person)
    packed = pack(kind, {"items": [person(), person(id="p2", owner_id="you"), person(id="p3", phone=None, home=None)],
                         "next": None})
    looked = masking.seen(kind, packed, subject(unmask="own", read="all"))
    assert (looked.entity, looked.revealed) == ("person", ("p1",))
    assert masking.seen(kind, packed, subject(read="all")).revealed == ()


def test_a_record_that_is_found_by_no_deeper_right_is_seen_as_it_is_whoever_owns_it() -> None:
    by = subject(unmask="own", read="own")
    assert [shown["phone"] for shown in look(by, person(owner_id="you"))] == ["13812345678"]


def test_a_record_without_an_owner_is_seen_as_far_as_the_right_by_which_it_was_found() -> None:
    packed = pack(Friend, {"id": "f1", "phone": "13812345678"})

    def shown(unmask: Depth, read: Depth, *within: str) -> bool:
        by = Subject("me", "user", "Li Na", depths={"friend": {"unmask": unmask}, "person": {"read": read}})
        return masking.seen(Friend, packed, by, lambda ids: set(within) & set(ids)).revealed == ("f1",)

    assert shown("own", "own")
    assert shown("tree", "team")
    assert not shown("own", "all")
    assert shown("own", "all", "f1")
    assert not shown("none", "own", "f1")


def test_a_deep_right_to_change_does_not_lift_masks_that_the_right_to_read_would_not_reach() -> None:
    packed = pack(Friend, {"id": "f1", "phone": "13812345678"})
    by = Subject("me", "user", "Li Na", depths={
        "friend": {"unmask": "own"}, "person": {"read": "own", "change": "all"}})
    assert masking.seen(Friend, packed, by).revealed == ()


def test_a_value_that_is_masked_for_somebody_cannot_be_changed_by_them() -> None:
    for name in ("phone", "home"):
        with pytest.raises(Invalid) as refused:
            masking.refuse_hidden(subject(change="all"), Person, {name: "x", "note": "y"}, owner="me", team=None)
        assert [(each["pointer"], each["code"]) for each in refused.value.fields["errors"]] == [(f"/{name}", "masked")]
    masking.refuse_hidden(subject(change="all"), Person, {"note": "y"}, owner="me", team=None)
    masking.refuse_hidden(subject(unmask="own", change="all"), Person, {"phone": "x"}, owner="me", team=None)
    with pytest.raises(Invalid):
        masking.refuse_hidden(subject(unmask="own", change="all"), Person, {"phone": "x"}, owner="you", team=None)


def test_searching_by_a_masked_value_needs_the_right() -> None:
    with pytest.raises(Forbidden):
        masking.require_sight(subject(read="all"), "person")
    masking.require_sight(subject(unmask="own"), "person")


def test_a_mask_is_no_value() -> None:
    class Asked(Request):
        phone = Sensitive(validate=masks.Unmasked())

    for shown in ("138****5678", "z***@example.com", "***"):
        with pytest.raises(Invalid) as refused:
            load(Asked, {"phone": shown})
        assert [each["code"] for each in refused.value.fields["errors"]] == ["masked"]
    assert load(Asked, {"phone": "138*"}) == {"phone": "138*"}


def test_a_record_inside_of_which_nothing_is_masked_may_be_changed_by_whoever_sees_masks() -> None:
    reader = subject(read="all")
    masking.refuse_hidden(reader, customers.Customer, {"invoice": {"title": "x"}}, owner="you", team=None)
    with pytest.raises(Invalid) as refused:
        masking.refuse_hidden(reader, customers.Customer, {"invoice": {}, "address": {}}, owner="you", team=None)
    assert [each["pointer"] for each in refused.value.fields["errors"]] == ["/address"]


@pytest.mark.parametrize(("asked", "changes", "pointer"), [
    (customers.CustomerChange, {"phone": "+86138****5678"}, "/changes/phone"),
    (customers.CustomerChange, {"email": "z***@example.com"}, "/changes/email"),
    (customers.CustomerChange, {"wechat_id": "w***8"}, "/changes/wechat_id"),
    (customers.CustomerChange, {"address": {"street": "***", "city": "Shanghai"}}, "/changes/address/street"),
    (customers.ContactChange, {"phone": "+86138****5678"}, "/changes/phone"),
    (customers.ContactChange, {"email": "z***@example.com"}, "/changes/email")])
def test_a_masked_value_that_is_sent_back_is_refused(asked: type[Request], changes: dict[str, Any],
                                                     pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        load(asked, {"id": new_id(), "expected_version": 1, "changes": changes})
    assert [(each["pointer"], each["code"]) for each in refused.value.fields["errors"]] == [(pointer, "masked")]


def masked_fields(kind: type[Schema], path: str = "") -> Iterator[str]:
    """Every field with a mask in a schema, at any depth."""
    for name, field in schema.instance_of(kind).fields.items():
        inner = field.inner if isinstance(field, fields.List) else field
        if isinstance(inner, Sensitive) and inner.mask:
            yield f"{path}/{name}"
        elif isinstance(inner, fields.Nested):
            yield from masked_fields(type(inner.schema), f"{path}/{name}")


def reached(kind: type[Schema]) -> set[str]:
    """The fields that the door puts masks on."""
    def of(veil: Any, path: str) -> set[str]:
        return {f"{path}/{name}" for name, _ in veil.own} | {
            found for name, inner in veil.inside for found in of(inner, f"{path}/{name}")}

    veil, page = masking._veil(kind), masking._page(kind)
    return of(veil, "") if veil else of(page, "/items") if page else set()


@pytest.mark.parametrize("operation", [one for contract in CONTRACTS for one in contract.OPERATIONS],
                         ids=lambda operation: operation.name)
def test_the_door_reaches_every_masked_field_of_every_answer(operation: Operation) -> None:
    assert set(masked_fields(operation.response)) == reached(operation.response)


def test_that_test_finds_a_masked_field_in_a_place_that_the_door_does_not_reach() -> None:
    class Both(Record):
        people = fields.List(fields.Nested(Person))

    assert set(masked_fields(Both)) == {"/people/phone", "/people/home/street"}
    assert reached(Both) == set()
