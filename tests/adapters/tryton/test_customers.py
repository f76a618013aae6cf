"""Customers become parties, once each, and stay as the hub has them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

import pytest

from hub_adapter.client import Exchange
from hub_adapter.failure import AdapterError, InDoubt, Invalid, NotFound, TryLater
from hub_adapter.port import Context, Written
from services.integrations.adapters.tryton.adapter import TrytonAdapter
from tests.support.chaos_proxy import ChaosProxy
from tests.support.erp import Erp
from tests.support.records import a_customer, as_write

Open = Callable[..., Context]


def test_a_customer_arrives_whole_and_reads_back_as_it_was_sent(adapter: TrytonAdapter, ctx: Open) -> None:
    customer = a_customer(name="北京“引号”有限公司 & Söhne 🧧")
    written = adapter.write(ctx(), "customer", as_write(customer))
    remote = adapter.get(ctx(), "customer", written.external_id)
    assert remote is not None
    sent = {key: customer[key] for key in ("id", "name", "phone", "email", "address")}
    assert remote.body == sent
    assert remote.version == written.remote_version
    assert (written.adopted, written.details["warnings"]) == (False, [])


def test_a_customer_written_twice_is_one_party_and_no_further_write(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, exchanges: list[Exchange]
) -> None:
    customer = a_customer()
    first = adapter.write(ctx(), "customer", as_write(customer))
    exchanges.clear()
    second = adapter.write(ctx(), "customer", as_write(customer, first.external_id))
    assert (second.external_id, second.remote_version) == (first.external_id, first.remote_version)
    assert not any(exchange.changes for exchange in exchanges)
    assert len(erp.rows("party.party", [["code", "=", customer["id"]]], "name")) == 1


def test_a_party_that_was_there_already_is_adopted_by_its_code(adapter: TrytonAdapter, ctx: Open, erp: Erp) -> None:
    customer = a_customer()
    theirs = erp.ask("party.party", {"name": "typed by a colleague", "code": customer["id"]})["id"]
    written = adapter.write(ctx(), "customer", as_write(customer))
    assert (written.external_id, written.adopted) == (str(theirs), True)
    remote = adapter.get(ctx(), "customer", written.external_id)
    assert remote is not None
    assert remote.body["name"] == customer["name"]


def test_a_lost_answer_to_the_create_ends_in_one_party(adapter: TrytonAdapter, ctx: Open, erp: Erp) -> None:
    customer = a_customer()
    with ChaosProxy(("127.0.0.1", erp.port)) as link:
        link.lose_answer_to(b"POST /erp/rest/model/party.party HTTP")
        with pytest.raises(InDoubt):
            adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "customer", as_write(customer))
    assert adapter.write(ctx(), "customer", as_write(customer)).adopted
    assert len(erp.rows("party.party", [["code", "=", customer["id"]]], "name")) == 1


def test_four_workers_at_once_make_one_party(adapter: TrytonAdapter, ctx: Open, erp: Erp) -> None:
    """What a call that was taken for lost may do, should it arrive after all while it is made again."""
    customer = a_customer()
    outcomes: list[Written | AdapterError] = []

    def work(opened: Context) -> None:
        try:
            outcomes.append(adapter.write(opened, "customer", as_write(customer)))
        except AdapterError as error:
            outcomes.append(error)

    workers = [threading.Thread(target=work, args=(ctx(),)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(outcomes) == 4
    assert [one for one in outcomes if not isinstance(one, Written | TryLater)] == []
    adapter.write(ctx(), "customer", as_write(customer))
    assert len(erp.rows("party.party", [["code", "=", customer["id"]]], "name")) == 1


def test_a_rename_and_a_new_phone_show_and_a_colleagues_contact_stays(
    adapter: TrytonAdapter, ctx: Open, erp: Erp
) -> None:
    customer = a_customer()
    party = adapter.write(ctx(), "customer", as_write(customer)).external_id
    erp.ask("party.contact_mechanism", {"party": int(party), "type": "email", "value": "colleague@example.com"})
    renamed = customer | {"name": "新名字", "phone": "+8613900139000", "email": None, "address": {"city": "北京"}}
    adapter.write(ctx(), "customer", as_write(renamed, party))
    remote = adapter.get(ctx(), "customer", party)
    assert remote is not None
    assert remote.body == {
        "id": customer["id"],
        "name": "新名字",
        "phone": "+8613900139000",
        "email": None,
        "address": {"street": None, "city": "北京", "postal_code": None},
    }
    contacts = erp.rows("party.contact_mechanism", [["party", "=", int(party)], ["active", "=", True]], "value")
    assert {row["value"] for row in contacts} == {"+86 139 0013 9000", "colleague@example.com"}
    assert len(erp.rows("party.address", [["party", "=", int(party)]], "street")) == 1


def test_a_contact_that_came_off_comes_back_without_a_second_row(adapter: TrytonAdapter, ctx: Open, erp: Erp) -> None:
    customer = a_customer()
    party = adapter.write(ctx(), "customer", as_write(customer)).external_id
    adapter.write(ctx(), "customer", as_write(customer | {"email": None}, party))
    adapter.write(ctx(), "customer", as_write(customer, party))
    rows = erp.rows("party.contact_mechanism", [["party", "=", int(party)], ["type", "=", "email"]], "value", "active")
    assert [(row["value"], bool(row["active"])) for row in rows] == [("wang@example.com", True)]


def test_a_phone_that_the_erp_refuses_costs_the_phone_and_not_the_customer(adapter: TrytonAdapter, ctx: Open) -> None:
    customer = a_customer(phone="+8611111")
    written = adapter.write(ctx(), "customer", as_write(customer))
    assert set(written.details["refused_contacts"]) == {"phone"}
    assert "phone" in written.details["warnings"][0]
    remote = adapter.get(ctx(), "customer", written.external_id)
    assert remote is not None
    assert (remote.body["phone"], remote.body["email"]) == (None, "wang@example.com")
    again = adapter.write(ctx(), "customer", as_write(customer | {"name": "另一个名字"}, written.external_id))
    assert set(again.details["refused_contacts"]) == {"phone"}
    healed = adapter.write(ctx(), "customer", as_write(customer | {"phone": "+8613800138000"}, written.external_id))
    assert healed.details["warnings"] == []


def test_an_inactive_party_is_brought_back_or_reported_as_the_settings_say(
    adapter: TrytonAdapter, ctx: Open, erp: Erp
) -> None:
    customer = a_customer()
    party = adapter.write(ctx(), "customer", as_write(customer)).external_id
    erp.ask(f"party.party/{party}", {"active": False}, method="PUT")
    with pytest.raises(Invalid, match="inactive"):
        adapter.write(ctx(reactivate=False), "customer", as_write(customer, party))
    with pytest.raises(Invalid, match="inactive"):  # found by its code as well, although searches hide it
        adapter.write(ctx(reactivate=False), "customer", as_write(customer))
    renamed = customer | {"name": "又回来了", "phone": "+8613900139000"}
    adapter.write(ctx(), "customer", as_write(renamed, party))
    remote = adapter.get(ctx(), "customer", party)
    assert remote is not None
    assert remote.active
    assert (remote.body["name"], remote.body["phone"]) == ("又回来了", "+8613900139000")


def test_a_party_merged_into_another_is_left_to_a_person(adapter: TrytonAdapter, ctx: Open, erp: Erp) -> None:
    customer, other = a_customer(), a_customer()
    party = adapter.write(ctx(), "customer", as_write(customer)).external_id
    kept = adapter.write(ctx(), "customer", as_write(other)).external_id
    erp.alter("UPDATE party_party SET active = (1 = 0), replaced_by = ? WHERE id = ?", int(kept), int(party))
    with pytest.raises(Invalid, match=f"merged into party {kept}"):
        adapter.write(ctx(), "customer", as_write(customer, party))


def test_a_bound_party_that_is_gone_is_said_to_be_gone(adapter: TrytonAdapter, ctx: Open) -> None:
    with pytest.raises(NotFound):
        adapter.write(ctx(), "customer", as_write(a_customer(), "999999"))
    assert adapter.get(ctx(), "customer", "999999") is None


def test_a_customer_is_found_by_each_key_that_matching_uses(adapter: TrytonAdapter, ctx: Open) -> None:
    unique = uuid.uuid4()
    name, email, phone = f"独一无二 {unique}", f"{unique}@example.com", f"+86137{unique.int % 10**8:08}"
    customer = a_customer(name=name, email=email, phone=phone)
    party = adapter.write(ctx(), "customer", as_write(customer)).external_id
    for keys in ({"id": customer["id"]}, {"name": name}, {"email": email}, {"phone": phone}):
        assert [remote.external_id for remote in adapter.find(ctx(), "customer", keys)] == [party]
    assert adapter.find(ctx(), "customer", {"id": "nobody"}) == []


def test_a_retired_customer_is_deactivated_and_twice_is_no_error(adapter: TrytonAdapter, ctx: Open, party: str) -> None:
    for _ in range(2):
        adapter.delete(ctx(), "customer", party, idempotency_key="k")
    remote = adapter.get(ctx(), "customer", party)
    assert remote is not None
    assert not remote.active


def test_a_dry_run_tells_what_it_would_do_and_does_nothing(
    adapter: TrytonAdapter, ctx: Open, party: str, exchanges: list[Exchange]
) -> None:
    exchanges.clear()
    assert adapter.write(ctx(dry_run=True), "customer", as_write(a_customer())).details["would"] == "create"
    changed = adapter.write(ctx(dry_run=True), "customer", as_write(a_customer(name="X"), party)).details
    assert (changed["would"], changed["from"]["name"], changed["to"]["name"]) == ("update", "上海示例有限公司", "X")
    assert not any(exchange.changes for exchange in exchanges)


def test_all_parties_are_listed_page_by_page(adapter: TrytonAdapter, ctx: Open, erp: Erp, party: str) -> None:
    seen: list[str] = []
    cursor, complete = None, False
    while not complete:
        page = adapter.list(ctx(), "customer", cursor, 2)
        seen += [remote.external_id for remote in page.items]
        cursor, complete = page.next_cursor, page.complete
    assert party in seen
    assert sorted(map(int, seen)) == sorted(row["id"] for row in erp.rows("party.party", [], "name"))


def test_no_preview_of_a_whole_conversation_holds_the_key_or_a_whole_phone(
    adapter: TrytonAdapter, ctx: Open, erp: Erp, exchanges: list[Exchange]
) -> None:
    adapter.write(ctx(), "customer", as_write(a_customer()))
    everything = " ".join(f"{e.url}{e.request_preview}{e.response_preview}{e.error}" for e in exchanges)
    assert erp.rest_key not in everything
    assert "13800138000" not in everything
    assert "wang@" not in everything
