"""Orders, over a real broker and both databases."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from chassis.context import Subject
from chassis.database import new_id
from contracts import errors
from contracts import sales as contract
from contracts.errors import CustomerNotKnown
from tests.service.sales.selling import Selling, Statements, product_told
from tests.support.rooms import ADMIN

SHIP_TO = {"recipient": "李雷", "phone": "13800138000", "street": "南京路1号", "city": "上海", "postal_code": "200000"}
CONFIRM_STATEMENTS = 9
"""Claim the key; read order, lines and products under lock; reserve (2); write order, event and answer."""


def rep(*teams: str, depth: str = "own") -> Subject:
    """A salesperson whose reach for orders is `depth`."""
    return Subject(id=new_id(), kind="user", name="rep", teams=teams, tree=teams, depths={"order": {"*": depth}})


def refusals(caught: pytest.ExceptionInfo[Any]) -> list[tuple[str, str]]:
    return [(one["pointer"], one["code"]) for one in caught.value.fields["errors"]]


def test_a_draft_copies_sku_name_price_and_tax_and_adds_up_to_the_cent(hub: Selling) -> None:
    hub.hear(product_told("A-1"), product_told("B-2", price="0.335", tax_code="VAT13"))
    order = hub.draft(hub.customer(), ("A-1", "2"), ("B-2", "1"), ship_to=SHIP_TO, note="ring twice")
    assert [(one["line"], one["sku"], one["name"], one["tax_code"], one["amount"]) for one in order["lines"]] == [
        (1, "A-1", "Product A-1", "", Decimal("398.00")), (2, "B-2", "Product B-2", "VAT13", Decimal("0.34"))]
    assert order["total"] == Decimal("398.34") == sum(one["amount"] for one in order["lines"])
    assert (order["status"], order["payment_status"]) == ("draft", "unpaid")
    assert (order["version"], order["line_count"]) == (1, 2)
    assert order["number"].startswith("SO-20")
    assert order["ship_to"] == {**SHIP_TO, "country": "CN"}
    assert hub.call(contract.GET_ORDER, {"id": order["id"]}) == order
    assert hub.announced("order") == []


def test_a_price_that_changes_later_leaves_the_order_alone(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    order = hub.draft(hub.customer(), ("A-1", "1"))
    hub.hear(product_told("A-1", minute=1, price="250.00", name="Renamed"))
    again = hub.call(contract.GET_ORDER, {"id": order["id"]})
    assert (again["lines"][0]["name"], again["total"]) == ("Product A-1", Decimal("199.00"))


def test_a_confirmed_order_is_announced_whole_and_once(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    order = hub.confirm(hub.draft(hub.customer(), ("A-1", "3"), ship_to=SHIP_TO))
    assert (order["status"], order["version"], hub.product("A-1").available) == ("confirmed", 2, Decimal(7))
    [event] = hub.announced("order.confirmed")
    assert (event["subject"], event["entityversion"], event["actor"]) == (order["id"], 2, ADMIN.id)
    data = event["data"]
    assert (data["number"], data["total"], data["currency"]) == (order["number"], "597.00", "CNY")
    assert data["lines"] == [{"line": 1, "sku": "A-1", "name": "Product A-1", "quantity": "3", "unit_price": "199.00",
                              "tax_code": "", "amount": "597.00"}]
    assert data["ship_to"]["city"] == "上海"
    assert data["confirmed_at"]


def test_an_order_confirmed_twice_is_announced_once_with_the_key_and_without(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    order = hub.draft(hub.customer(), ("A-1", "1"))
    first = hub.ask(contract.CONFIRM_ORDER, {"id": order["id"]}, key="k-1")
    again = hub.ask(contract.CONFIRM_ORDER, {"id": order["id"]}, key="k-1")
    assert (again.replayed, again.value) == (True, first.value)
    with pytest.raises(errors.InvalidTransition) as caught:
        hub.confirm(order)
    assert caught.value.fields == {"status": "confirmed", "allowed": ["cancelled", "fulfilled"]}
    assert len(hub.announced("order.confirmed")) == 1
    assert hub.product("A-1").reserved == 1


def test_more_than_is_available_is_refused_by_name_and_nothing_is_reserved(hub: Selling) -> None:
    hub.hear(product_told("A-1", on_hand="5"), product_told("B-2", on_hand="2.5"), product_told("C-3"))
    order = hub.draft(hub.customer(), ("A-1", "3"), ("B-2", "4"), ("C-3", "1"), ("A-1", "3"))
    with pytest.raises(errors.InsufficientStock) as caught:
        hub.confirm(order)
    assert caught.value.fields["short"] == [{"sku": "A-1", "asked": "6", "available": "5"},
                                            {"sku": "B-2", "asked": "4", "available": "2.5"}]
    assert caught.value.message == "A-1: 6 asked, 5 available"
    assert hub.reservations() == []
    assert (hub.order(order["id"]).status, hub.announced("order")) == ("draft", [])


def test_what_is_not_counted_never_runs_out(hub: Selling) -> None:
    hub.hear(product_told("SERVICE", on_hand=None))
    assert hub.confirm(hub.draft(hub.customer(), ("SERVICE", "1000")))["status"] == "confirmed"
    assert hub.product("SERVICE").available is None


def test_cancelling_gives_the_stock_back_and_calls_the_order_back(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    order = hub.confirm(hub.draft(hub.customer(), ("A-1", "10")))
    gone = hub.call(contract.CANCEL_ORDER, {"id": order["id"], "reason": "customer withdrew", "expected_version": 2})
    assert (gone["status"], gone["cancel_reason"], gone["version"]) == ("cancelled", "customer withdrew", 3)
    assert (hub.product("A-1").available, hub.reservations()) == (Decimal(10), [])
    [event] = hub.announced("order.cancelled")
    assert (event["entityversion"], event["data"]["status"]) == (3, "cancelled")
    with pytest.raises(errors.InvalidTransition):
        hub.call(contract.CANCEL_ORDER, {"id": order["id"], "reason": "again"})
    assert hub.product("A-1").available == 10


def test_a_cancelled_draft_was_never_announced_and_is_not_called_back(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    order = hub.draft(hub.customer(), ("A-1", "1"))
    assert hub.call(contract.CANCEL_ORDER, {"id": order["id"], "reason": "typo"})["status"] == "cancelled"
    assert hub.announced("order") == []
    with pytest.raises(errors.InvalidTransition):
        hub.confirm(order)


def test_everything_wrong_with_the_lines_is_named_at_once(hub: Selling) -> None:
    hub.hear(product_told("A-1"), product_told("OLD", active=False), product_told("USD", currency="USD"),
             product_told("FREE", price=None))
    asked = {"customer_id": new_id(), "currency": "CNY", "lines": [
        {"sku": "NONE", "quantity": "1"}, {"sku": "OLD", "quantity": "1"}, {"sku": "A-1", "quantity": "0"},
        {"sku": "A-1", "quantity": "-1"}, {"sku": "USD", "quantity": "1"}, {"sku": "FREE", "quantity": "1"},
        {"sku": "A-1", "quantity": "1", "unit_price": "-0.01"}]}
    with pytest.raises(errors.Invalid) as caught:
        hub.call(contract.CREATE_ORDER, asked)
    assert refusals(caught) == [
        ("/customer_id", "customer_not_known"), ("/lines/0/sku", "unknown"), ("/lines/1/sku", "inactive"),
        ("/lines/2/quantity", "not_positive"), ("/lines/3/quantity", "not_positive"),
        ("/lines/4/sku", "other_currency"), ("/lines/5/unit_price", "required"), ("/lines/6/unit_price", "negative")]


@pytest.mark.parametrize(("count", "code"), [(0, "required"), (501, "too_many")])
def test_an_order_has_between_one_and_500_lines(hub: Selling, count: int, code: str) -> None:
    hub.hear(product_told("A-1", on_hand="1000"))
    customer = hub.customer()
    with pytest.raises(errors.Invalid) as caught:
        hub.draft(customer, *[("A-1", "1")] * count)
    assert refusals(caught) == [("/lines", code)]


def test_an_order_of_500_lines_is_confirmed_in_as_many_statements_as_one_of_two(hub: Selling) -> None:
    hub.hear(*[product_told(f"P-{n}") for n in range(100)])
    customer = hub.customer()
    for lines in (2, 500):
        order = hub.draft(customer, *[(f"P-{n % 100}", "1") for n in range(lines)])
        with Statements(hub.db) as statements:
            hub.confirm(order)
        print(f"{lines} lines: {len(statements.seen)} statements", *statements.seen, sep="\n  ")  # noqa: T201
        assert len(statements.seen) == CONFIRM_STATEMENTS


def test_a_customer_that_sales_has_not_heard_of_is_worth_another_try(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    with pytest.raises(CustomerNotKnown) as caught:
        hub.draft(new_id(), ("A-1", "1"))
    assert (caught.value.code, caught.value.status, caught.value.retry_after_s) == ("customer_not_known", 409, 1.0)
    assert refusals(caught) == [("/customer_id", "customer_not_known")]


def test_a_draft_is_changed_by_the_version_read_and_a_confirmed_order_never(hub: Selling) -> None:
    hub.hear(product_told("A-1"), product_told("B-2", price="10.00"))
    order = hub.draft(hub.customer(), ("A-1", "1"), ("B-2", "1"))
    change = {"id": order["id"], "expected_version": 1, "changes": {"lines": [{"sku": "B-2", "quantity": "3"}],
                                                                    "note": "n", "ship_to": SHIP_TO}}
    changed = hub.call(contract.CHANGE_ORDER, change)
    assert (changed["version"], changed["total"], changed["line_count"]) == (2, Decimal("30.00"), 1)
    assert [one["sku"] for one in hub.call(contract.GET_ORDER, {"id": order["id"]})["lines"]] == ["B-2"]
    with pytest.raises(errors.StaleVersion):
        hub.call(contract.CHANGE_ORDER, change)
    same = hub.call(contract.CHANGE_ORDER, {**change, "expected_version": 2})
    assert same["version"] == 2
    with pytest.raises(errors.StaleVersion):
        hub.call(contract.CONFIRM_ORDER, {"id": order["id"], "expected_version": 1})
    hub.confirm(order)
    with pytest.raises(errors.InvalidTransition):
        hub.call(contract.CHANGE_ORDER, {"id": order["id"], "expected_version": 3, "changes": {"note": "late"}})


def test_a_change_is_held_to_the_same_rules_as_a_new_order(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    order = hub.draft(hub.customer(), ("A-1", "1"))
    for changes, expected in (({"lines": []}, ("/lines", "required")),
                              ({"currency": "USD"}, ("/lines/0/sku", "other_currency")),
                              ({"lines": [{"sku": "NONE", "quantity": "1"}]}, ("/lines/0/sku", "unknown"))):
        with pytest.raises(errors.Invalid) as caught:
            hub.call(contract.CHANGE_ORDER, {"id": order["id"], "expected_version": 1, "changes": changes})
        assert refusals(caught) == [expected]
    elsewhere = {"id": order["id"], "expected_version": 1, "changes": {"customer_id": new_id()}}
    with pytest.raises(CustomerNotKnown):
        hub.call(contract.CHANGE_ORDER, elsewhere)


def test_a_product_retired_since_the_draft_is_refused_at_the_confirmation(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    order = hub.draft(hub.customer(), ("A-1", "1"))
    hub.hear(product_told("A-1", minute=1, active=False))
    with pytest.raises(errors.Invalid) as caught:
        hub.confirm(order)
    assert refusals(caught) == [("/lines/0/sku", "inactive")]


def test_a_rep_reaches_own_orders_and_those_of_own_customers_in_every_door(hub: Selling) -> None:
    hub.hear(product_told("A-1", on_hand="100"))
    seller, keeper, colleague = rep(), rep(), rep()
    customer = hub.customer(owner_id=keeper.id)
    with pytest.raises(CustomerNotKnown):
        hub.draft(customer, ("A-1", "1"), subject=seller)
    order = hub.draft(customer, ("A-1", "1"), subject=keeper)
    by_admin = hub.draft(customer, ("A-1", "1"))
    listed = {one["id"] for one in hub.call(contract.LIST_ORDERS, subject=keeper)["items"]}
    assert listed == {order["id"], by_admin["id"]}
    assert hub.call(contract.LIST_ORDERS, subject=colleague)["items"] == []
    for operation, more in ((contract.GET_ORDER, {}), (contract.CONFIRM_ORDER, {}),
                            (contract.CHANGE_ORDER, {"expected_version": 1, "changes": {}}),
                            (contract.CANCEL_ORDER, {"reason": "x"})):
        with pytest.raises(errors.NotFound):
            hub.call(operation, {"id": order["id"], **more}, subject=colleague)
    assert hub.confirm(by_admin, subject=keeper)["status"] == "confirmed"


def test_a_team_reaches_the_orders_of_its_members_and_of_its_customers(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    team, other = new_id(), new_id()
    mate, stranger = rep(team, depth="team"), rep(other, depth="team")
    order = hub.draft(hub.customer(team_id=team), ("A-1", "1"))
    assert hub.call(contract.GET_ORDER, {"id": order["id"]}, subject=mate)["id"] == order["id"]
    with pytest.raises(errors.NotFound):
        hub.call(contract.GET_ORDER, {"id": order["id"]}, subject=stranger)


def test_whoever_may_only_read_orders_confirms_none(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    reader = Subject(id=new_id(), kind="user", name="reader", depths={"order": {"read": "all"}})
    order = hub.draft(hub.customer(), ("A-1", "1"))
    assert hub.call(contract.GET_ORDER, {"id": order["id"]}, subject=reader)
    with pytest.raises(errors.Forbidden):
        hub.confirm(order, subject=reader)


def test_orders_are_listed_by_page_status_customer_and_number(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    customer = hub.customer()
    made = [hub.draft(customer, ("A-1", "1")) for _ in range(5)]
    hub.confirm(made[1])
    other = hub.draft(hub.customer(), ("A-1", "1"))

    def listed(**filters: Any) -> list[str]:
        return [one["id"] for one in hub.call(contract.LIST_ORDERS, filters)["items"]]

    assert listed(status="confirmed") == [made[1]["id"]]
    assert listed(customer_id=customer, sort="number") == [one["id"] for one in made]
    assert listed(number=other["number"]) == [other["id"]]
    first = hub.call(contract.LIST_ORDERS, {"limit": 4, "sort": "-number"})
    rest = hub.call(contract.LIST_ORDERS, {"limit": 4, "sort": "-number", "cursor": first["next"]})
    ids = [one["id"] for one in [*first["items"], *rest["items"]]]
    assert ids == [one["id"] for one in reversed([*made, other])]
    assert rest["next"] is None
    with pytest.raises(errors.InvalidCursor):
        hub.call(contract.LIST_ORDERS, {"limit": 4, "sort": "number", "cursor": first["next"]})


def test_street_and_phone_of_a_shipment_are_nowhere_in_clear(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    order = hub.draft(hub.customer(), ("A-1", "1"), ship_to=SHIP_TO)
    hub.confirm(order)
    with hub.db.read() as session:
        rows = [str(row) for table in ("sales_order", "outbox", "idempotency")
                for row in session.connection().exec_driver_sql(f"SELECT * FROM {table}")]
    assert len(rows) >= 4
    assert not [row for row in rows if "13800138000" in row or "南京路" in row]


def test_whoever_may_read_an_order_sees_phone_and_street_by_right_alone(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    reader, seller = new_id(), rep()
    mixed = Subject(id=seller.id, kind="user", name="mixed", depths={"order": {"read": "all", "unmask": "own"}})
    theirs = hub.draft(hub.customer(), ("A-1", "1"), ship_to=SHIP_TO)
    through_the_customer = hub.draft(hub.customer(owner_id=seller.id), ("A-1", "1"), ship_to=SHIP_TO)
    rights = {"read": {"read": "all"}, "change": {"read": "all", "change": "all"}}
    only_read, changes = (Subject(id=reader, kind="user", name=name, depths={"order": rights[name]})  # type: ignore[arg-type]
                          for name in ("read", "change"))

    def shown(order: dict[str, Any], by: Subject) -> tuple[str, str]:
        ship_to = hub.call(contract.GET_ORDER, {"id": order["id"]}, subject=by)["ship_to"]
        return ship_to["phone"], ship_to["street"]

    assert shown(theirs, only_read) == shown(theirs, mixed) == ("138****8000", "***")
    assert shown(through_the_customer, mixed) == shown(theirs, ADMIN) == ("13800138000", "南京路1号")
    with pytest.raises(errors.Invalid) as refused:
        hub.call(contract.CHANGE_ORDER, {"id": theirs["id"], "expected_version": 1, "changes": {"ship_to": SHIP_TO}},
                 subject=changes)
    assert refusals(refused) == [("/ship_to", "masked")]
