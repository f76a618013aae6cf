"""A mapping decides what a target is sent; what it lacks is named before anything is."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest

from chassis.database import new_id, utcnow
from contracts.errors import Conflict, Invalid
from services.integrations.engine import gaps
from services.integrations.models import Binding, Connection, Delivery, MappingVersion, Route
from services.integrations.operations import claims, code_tables, locks, mappings, routes
from services.integrations.operations.claims import Lease
from tests.service.integrations.conftest import ADMIN, CREATED, UPDATED, Hub, on_sqlite
from tests.service.integrations.test_cost import counted, one_turn
from tests.service.integrations.test_filters import choose
from tests.support.fake_target import FakeTarget

TEXT = """
fields:
  name: name
  phone: {from: phone, default: none}
  term: {from: "code('terms', level)", default: 0}
  group: {from: source, only_on_create: true}
"""
CUSTOMER: dict[str, Any] = {"lifecycle": "active", "email": None, "wechat_id": None, "owner_id": None,
            "created_by": ADMIN.id, "created_at": "2026-11-22T08:00:00Z", "updated_at": "2026-11-22T08:00:00Z",
            "phone": "+8613800138000", "level": "A", "source": "fair"}


def route_of(hub: Hub, connection_id: str, entity: str = "customer", *, active: bool = True) -> str:
    with hub.db.write() as session:
        asked = {"connection_id": connection_id, "entity": entity, "direction": "push"}
        route = routes.create(session, asked, by=ADMIN)
    if active:
        activate(hub, route.id)
    return route.id


def the_route(hub: Hub, connection_id: str) -> str:
    [route] = hub.rows(Route, Route.connection_id == connection_id)
    return str(route.id)


def activate(hub: Hub, route_id: str) -> dict[str, Any]:
    return gaps.activate(hub.db, hub.keyring, {"id": route_id}, 10, by=ADMIN, keep=lambda *_: None)


def save(hub: Hub, route_id: str, text: str = TEXT) -> int:
    with hub.db.write() as session:
        return int(mappings.save(session, hub.keyring, {"id": route_id, "text": text}, by=ADMIN)["number"])


def use(hub: Hub, route_id: str, number: int | None) -> Any:
    asked = {"id": route_id, "number": number}
    return gaps.use(hub.db, hub.keyring, asked, by=ADMIN, keep=lambda *_: None)["code_check"]


def put_codes(hub: Hub, connection_id: str, name: str, **codes: Any) -> None:
    with hub.db.write() as session:
        code_tables.put(session, {"id": connection_id, "name": name, "codes": codes}, by=ADMIN)


def delivered(hub: Hub, target: FakeTarget, id: str, **state: Any) -> dict[str, Any]:
    """Bring a new customer there, and return what stands there."""
    hub.tell(CREATED, id, **{**CUSTOMER, **state})
    hub.until(id, "delivered")
    return next(row.body for row in target.of("customer") if row.key == id)


def test_what_a_target_is_sent_is_what_the_mapping_in_force_says(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id, id = route_of(hub, connection_id), new_id()
    hub.run()
    assert delivered(hub, target, new_id(), name="as it is")["lifecycle"] == "active", "without a mapping, all of it"

    first = save(hub, route_id)
    assert delivered(hub, target, new_id(), name="still")["lifecycle"] == "active", "saved is not in force"
    put_codes(hub, connection_id, "terms", A=30)
    use(hub, route_id, first)

    assert delivered(hub, target, id, name="客户") == {
        "name": "客户", "phone": "+8613800138000", "term": 30, "group": "fair"}
    [row] = [row for row in target.of("customer") if row.key == id]
    row.body["group"] = "changed there"
    hub.tell(UPDATED, id, 2, **{**CUSTOMER, "name": "新名字", "phone": None, "source": "web"})
    hub.until(id, "delivered", "delivered")
    assert row.body == {"name": "新名字", "phone": "none", "term": 30, "group": "changed there"}

    put_codes(hub, connection_id, "terms", A=60)
    assert delivered(hub, target, new_id(), name="n")["term"] == 60, "a table that is changed counts at once"
    assert [row.mapping_version for row in hub.rows(Delivery)] == [None, None, 1, 1, 1]
    use(hub, route_id, None)
    assert delivered(hub, target, new_id(), name="n")["lifecycle"] == "active", "none is in force again"


def test_a_version_never_changes_and_the_next_one_stands_beside_it(hub: Hub, target: FakeTarget) -> None:
    route_id = route_of(hub, hub.connect(target, adapter="fake_telling"))
    texts = ["fields: {name: name}", "fields: {name: lifecycle}", "fields: {name: name}"]
    assert [save(hub, route_id, text) for text in texts] == [1, 2, 3]
    assert [row.text for row in hub.rows(MappingVersion)] == texts


@on_sqlite
def test_a_mapping_that_cannot_work_is_refused_when_it_is_saved_with_the_place(hub: Hub, target: FakeTarget) -> None:
    route_id = route_of(hub, hub.connect(target, adapter="fake_telling"))
    hub.tell(CREATED, new_id(), wake=False, **CUSTOMER, name="n")
    with pytest.raises(Invalid) as refused:
        save(hub, route_id, "fields:\n  name: nam\n  colour: name\n")
    assert places(refused.value) == [
        ("unknown_source", 2, 9, "/fields/name"), ("unknown_target", 3, 11, "/fields/colour")]
    # No made-up record has such a level: only the real one shows it.
    with pytest.raises(Invalid, match="cannot work") as refused:
        save(hub, route_id, "fields:\n  name: name\n  term: \"level == 'A' && level || `0`\"\n")
    assert places(refused.value) == [("type", 3, 9, "/fields/term")]


def places(refused: Invalid) -> list[tuple[Any, ...]]:
    return [(error["code"], error["line"], error["column"], error["at"]) for error in refused.fields["errors"]]


def test_codes_without_a_counterpart_are_named_before_a_route_is_switched_on(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id = route_of(hub, connection_id, active=False)
    for level in ("A", "A", "B", ""):
        hub.tell(CREATED, new_id(), wake=False, **{**CUSTOMER, "level": level}, name="n")
    use(hub, route_id, save(hub, route_id))
    put_codes(hub, connection_id, "terms", C=1)

    with pytest.raises(Conflict) as refused:
        activate(hub, route_id)
    assert [(gap["field"], gap["code"], gap["records"]) for gap in refused.value.fields["gaps"]] == [
        ("code_tables/terms", "A", 2), ("code_tables/terms", "B", 1)]

    put_codes(hub, connection_id, "terms", A=30, B=60)
    answer = activate(hub, route_id)
    assert (answer["state"], answer["code_check"]) == ("active", {"records": 4, "complete": True})
    with pytest.raises(Conflict):
        use(hub, route_id, save(hub, route_id, TEXT.replace("'terms'", "'other'")))


@on_sqlite
def test_codes_of_records_that_a_filter_leaves_out_are_not_asked_for(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id = route_of(hub, connection_id, active=False)
    for level in ("A", "Z"):
        hub.tell(CREATED, new_id(), wake=False, **{**CUSTOMER, "level": level}, name="n")
    choose(hub, connection_id, "level == 'A'")
    put_codes(hub, connection_id, "terms", A=30)
    use(hub, route_id, save(hub, route_id))

    assert activate(hub, route_id)["state"] == "active"
    put_codes(hub, connection_id, "terms", A=30, Z=1)
    request = {"id": connection_id, "name": "terms", "codes": {"A": 45}}
    assert gaps.put(hub.db, hub.keyring, request, by=ADMIN, keep=lambda *_: None)["codes"] == {"A": 45}


@on_sqlite
def test_whoever_switches_is_told_when_not_all_records_were_looked_at(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id = route_of(hub, connection_id, active=False)
    for level in ("Z", "A", "A"):
        hub.tell(CREATED, new_id(), wake=False, **{**CUSTOMER, "level": level}, name="n")
    put_codes(hub, connection_id, "terms", A=30)
    number = save(hub, route_id)
    assert use(hub, route_id, number) is None, "nothing is sent yet, so nothing was looked up"
    monkeypatch.setattr(gaps, "PAGE", 2)
    monkeypatch.setattr(gaps, "MOST_RECORDS", 2)

    assert activate(hub, route_id)["code_check"] == {"records": 2, "complete": False}
    assert use(hub, route_id, number) == {"records": 2, "complete": False}
    monkeypatch.setattr(gaps, "MOST_RECORDS", 4)
    with pytest.raises(Conflict) as refused:
        use(hub, route_id, number)
    assert refused.value.fields["code_check"] == {"records": 3, "complete": True}


def test_a_mapping_saved_before_sensitive_codes_were_refused_sends_nothing_and_its_route_says_so(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id, id = hub.connect(target, adapter="fake_telling"), new_id()
    route_id = route_of(hub, connection_id)
    text = "fields:\n  name: name\n  term: {from: \"code('terms', phone)\", default: 0}"
    put_codes(hub, connection_id, "terms", **{CUSTOMER["phone"]: 30})
    with hub.db.write() as session:
        session.add(MappingVersion(route_id=route_id, number=1, text=text, created_by="u"))
    with pytest.raises(Conflict) as refused:
        use(hub, route_id, 1)
    [gap] = refused.value.fields["gaps"]
    assert gap["field"] == "mapping/customer"
    assert re.search(r"line 3: .*sensitive.* Save it anew", gap["message"])

    with hub.db.write() as session:
        session.get_one(Route, route_id).mapping_version = 1
        mappings.changed(session.get_one(Connection, connection_id))
    hub.run()
    hub.tell(CREATED, id, **CUSTOMER, name="n")
    hub.until(id, "dead")
    assert gap["message"] in (hub.deliveries(id)[0].last_error or "")
    assert target.of("customer") == []
    assert problem(hub, route_id) == gap["message"]

    use(hub, route_id, save(hub, route_id, "fields: {name: name}"))
    assert problem(hub, route_id) is None
    assert delivered(hub, target, new_id(), name="goes") == {"name": "goes"}


def problem(hub: Hub, route_id: str) -> Any:
    with hub.db.read() as session:
        [told] = routes.told(session, [session.get_one(Route, route_id)])
    return told["mapping_problem"]


@on_sqlite
def test_a_code_that_records_use_is_not_taken_out_from_under_an_active_route(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id = route_of(hub, connection_id)
    put_codes(hub, connection_id, "terms", A=30, B=60)
    use(hub, route_id, save(hub, route_id))
    for level in ("A", "Z"):
        hub.tell(CREATED, new_id(), wake=False, **{**CUSTOMER, "level": level}, name="n")

    def put(**codes: Any) -> Any:
        request = {"id": connection_id, "name": "terms", "codes": codes}
        return gaps.put(hub.db, hub.keyring, request, by=ADMIN, keep=lambda *_: None)["codes"]

    with pytest.raises(Conflict) as refused:
        put(B=60)
    assert [(gap["code"], gap["records"]) for gap in refused.value.fields["gaps"]] == [("A", 1)]
    assert put(A=45) == {"A": 45}, "no record uses B, and Z was lacking before"
    use(hub, route_id, None)
    assert put(C=1) == {"C": 1}, "nothing looks it up any more"


def test_the_tables_of_an_adapters_own_settings_are_looked_at_in_the_same_way(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id = route_of(hub, connection_id, "order", active=False)
    hub.tell("sales.order.confirmed", new_id(), wake=False, lines=[{"sku": "a", "tax_code": "VAT13"}])
    with pytest.raises(Conflict) as refused:
        activate(hub, route_id)
    assert refused.value.fields["gaps"][0]["message"] == (
        "'VAT13' is not in the code table 'taxes': 1 records of order use it.")
    with pytest.raises(Conflict, match="is a setting of this connection"):
        put_codes(hub, connection_id, "taxes", VAT13=1)
    with hub.db.write() as session:
        connection = session.get_one(Connection, connection_id)
        connection.config = {**connection.config, "taxes": {"VAT13": 7}}
        connection.setup_version, connection.checked_version = 9, 9
    assert activate(hub, route_id)["state"] == "active"


def test_a_code_that_is_met_later_ends_the_delivery_with_its_name(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id = route_of(hub, connection_id)
    put_codes(hub, connection_id, "terms", A=30)
    use(hub, route_id, save(hub, route_id))
    hub.run()

    id = new_id()
    hub.tell(CREATED, id, **{**CUSTOMER, "level": "Z"}, name="n")
    hub.until(id, "dead")

    [dead] = hub.deliveries(id)
    assert (dead.error_class, dead.mapping_version) == ("invalid", 1)
    assert "the code 'Z' is not in the code table 'terms'" in (dead.last_error or "")
    assert target.calls("POST", "PUT") == []
    assert hub.rows(Binding, Binding.local_id == id) == [], "nothing of it can be there"


def test_a_record_over_which_an_expression_fails_ends_alone_and_the_others_go(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id = route_of(hub, connection_id)
    use(hub, route_id, save(hub, route_id, """
fields:
  name: name
  term: "level == 'inf' && ceil(to_number(level)) || `0`"
"""))
    bad, good = new_id(), new_id()
    for id, level in ((bad, "inf"), (good, "A")):
        hub.tell(CREATED, id, wake=False, **{**CUSTOMER, "level": level}, name="n")

    hub.run()
    hub.until(good, "delivered")
    hub.until(bad, "dead")

    [dead] = hub.deliveries(bad)
    assert (dead.error_class, "it cannot be evaluated for this record" in (dead.last_error or "")) == ("invalid", True)
    assert [row.key for row in target.of("customer")] == [good]


@on_sqlite
def test_a_preview_shows_what_would_be_sent_under_masks_and_what_differs(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, adapter="fake_telling")
    route_id, ids = route_of(hub, connection_id), [new_id(), new_id()]
    for id, level in zip(ids, ("A", "Z"), strict=True):
        hub.tell(CREATED, id, wake=False, **{**CUSTOMER, "level": level}, name="客户",
                 address={"street": "南京路 1 号", "city": "上海"})
    put_codes(hub, connection_id, "terms", A=30)
    number = save(hub, route_id, TEXT + "  address: address\n")

    def previewed(number: int, **asked: Any) -> list[dict[str, Any]]:
        with hub.db.read() as session:
            request = {"id": route_id, "number": number, "limit": 5, "ids": [], **asked}
            found: list[dict[str, Any]] = mappings.preview(session, hub.keyring, request, by=ADMIN)["records"]
        return found

    later, first = previewed(number)
    assert (first["local_id"], first["bound"], first["problem"]) == (ids[0], False, None)
    assert first["body"] == {"name": "客户", "phone": "+86138****8000", "term": 30, "group": "fair",
                             "address": {"street": "***", "city": "上海"}}
    assert first["changed"] == ["group", "term"], "name, phone and address go as they are"
    assert (later["body"], later["problem"]["field"], later["changed"]) == (None, "term", [])
    assert [one["local_id"] for one in previewed(number, ids=[ids[1]])] == [ids[1]]
    with pytest.raises(Invalid, match="refused") as refused:
        previewed(number, ids=[ids[1], "foo"])
    assert refused.value.fields["errors"][0]["message"] == "The hub keeps no such customer: foo."
    choose(hub, connection_id, "length(email) > `3`")
    assert [one["problem"]["field"] for one in previewed(number)] == ["filter", "filter"]
    assert target.calls("POST", "PUT") == []


@on_sqlite
def test_a_preview_names_what_is_sent_no_more_to_a_target_that_does_not_say_what_it_takes(
    hub: Hub, target: FakeTarget
) -> None:
    route_id = route_of(hub, hub.connect(target))
    hub.tell(CREATED, new_id(), wake=False, **CUSTOMER, name="n")
    asked = {"id": route_id, "number": save(hub, route_id, "fields: {name: name, phone: phone}"), "ids": [], "limit": 1}
    with hub.db.read() as session:
        [shown] = mappings.preview(session, hub.keyring, asked, by=ADMIN)["records"]
    assert {"email", "level", "source"} <= set(shown["changed"])
    assert not {"name", "phone"} & set(shown["changed"])


def test_a_mapping_costs_no_statement_once_it_is_known(hub: Hub, target: FakeTarget) -> None:
    plain = hub.connect(target, "customer", adapter="fake_telling", max_in_flight=200)
    without = one_turn(hub, plain, 20)["statements"]
    route_id = the_route(hub, plain)
    use(hub, route_id, save(hub, route_id, "fields: {name: {from: name, default: n}}"))

    first, second = one_turn(hub, plain, 20)["statements"], one_turn(hub, plain, 20)["statements"]

    assert (first - without, second - without) == (1, 0)


@on_sqlite
def test_what_one_process_switches_another_one_sends_by(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", adapter="fake_telling")
    route_id = the_route(hub, connection_id)
    bodies = []
    for text in ("fields: {name: name}", "fields: {name: lifecycle}"):
        use(hub, route_id, save(hub, route_id, text))
        hub.tell(CREATED, new_id(), wake=False, **CUSTOMER, name="n")
        now = utcnow()
        with hub.db.write() as session, counted(hub.db):
            locks.lock(session, [connection_id])
            lease = Lease(owner="me", until=now + dt.timedelta(seconds=60))
            [job], _again = claims.claim(session, hub.keyring, [(connection_id, 1)], lease, now)
        bodies.append(job.body)
    assert bodies == [{"name": "n"}, {"name": "active"}]
