"""Our records ↔ Tryton's rows."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_adapter.failure import Invalid
from services.integrations.adapters.tryton import mapping
from services.integrations.adapters.tryton.settings import TrytonSettings
from services.integrations.adapters.wires.tryton import read_datetime, wire_datetime

SETTINGS = TrytonSettings(
    base_url="https://erp.example.com",
    database="erp",
    company=1,
    web_shop=2,
    warehouse=5,
    payment_term=6,
    uom=1,
    currencies={"CNY": 7},
    taxes={"VAT13": 8},
    rest_key="k",
    time_zone="Asia/Shanghai",
)
NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
CUSTOMER: dict[str, Any] = {
    "id": "c-1",
    "name": " 上海示例有限公司 ",
    "phone": "+8613800138000",
    "email": "Wang@Example.com",
    "address": {"street": "1 Nanjing Rd", "city": "上海", "postal_code": None, "country": "CN"},
}
ORDER: dict[str, Any] = {
    "id": "o-1",
    "number": "SO-1",
    "currency": "CNY",
    "lines": [
        {"sku": "A", "quantity": "2", "unit_price": "199.00", "tax_code": "VAT13"},
        {"sku": "B", "quantity": "0.5", "unit_price": "0.8512", "tax_code": None},
    ],
    "confirmed_at": "2026-11-21T23:30:00Z",
}
PRODUCTS = {"A": 11, "B": 12}


def party(**changed: Any) -> dict[str, Any]:
    """A party as Tryton returns it, standing as CUSTOMER wants it."""
    row = {
        "id": 3,
        "name": "上海示例有限公司",
        "code": "c-1",
        "active": 1,
        "replaced_by": None,
        "addresses.": [{"id": 4, "street": "1 Nanjing Rd", "city": "上海", "postal_code": "", "active": 1}],
        "contact_mechanisms.": [
            contact(1, "email", "hub:email", "wang@example.com"),
            contact(2, "mobile", "hub:mobile", "+86 138 0013 8000", "+8613800138000"),
            contact(9, "email", None, "colleague@example.com"),
        ],
    }
    return row | changed


def contact(row_id: int, kind: str, name: str | None, value: str, compact: str | None = None) -> dict[str, Any]:
    return {"id": row_id, "type": kind, "name": name, "value": value, "value_compact": compact, "active": 1}


def test_a_party_that_stands_as_wanted_gets_no_write() -> None:
    wanted = mapping.wanted_customer(CUSTOMER)
    assert mapping.party_changes(wanted, party()) == {}
    assert mapping.contact_commands(wanted, party()) == {}


def test_the_phone_as_the_erp_formats_it_is_the_same_phone() -> None:
    assert mapping.customer_of(party())["phone"] == "+8613800138000"


def test_only_what_differs_is_written_and_a_colleagues_contact_is_left_alone() -> None:
    wanted = mapping.wanted_customer(CUSTOMER | {"name": "新名字", "phone": None, "email": "new@example.com"})
    assert mapping.party_changes(wanted, party()) == {"name": "新名字"}
    assert mapping.contact_commands(wanted, party()) == {
        "email": [["write", [1], {"value": "new@example.com"}]],
        "phone": [["write", [2], {"active": False}]],
    }


def test_an_inactive_contact_is_brought_back_before_its_value_is_set() -> None:
    row = party(**{"contact_mechanisms.": [contact(1, "email", "hub:email", "old@example.com") | {"active": 0}]})
    wanted = mapping.wanted_customer(CUSTOMER | {"phone": None})
    assert mapping.contact_commands(wanted, row) == {
        "email": [["write", [1], {"active": True}], ["write", [1], {"value": "Wang@Example.com"}]]
    }


def test_the_oldest_active_address_is_ours() -> None:
    old = {"id": 2, "street": "gone", "city": "", "postal_code": "", "active": 0}
    later = {"id": 8, "street": "an order's", "city": "", "postal_code": "", "active": 1}
    row = party(**{"addresses.": [later, old, *party()["addresses."]]})
    assert mapping.party_changes(mapping.wanted_customer(CUSTOMER), row) == {}
    moved = mapping.wanted_customer(CUSTOMER | {"address": {"street": "2 Nanjing Rd"}})
    assert mapping.party_changes(moved, row)["addresses"] == [
        ["write", [4], {"street": "2 Nanjing Rd", "city": None, "postal_code": None}]
    ]


def test_a_customer_without_address_leaves_the_address_there_alone() -> None:
    assert "addresses" not in mapping.party_changes(mapping.wanted_customer(CUSTOMER | {"address": None}), party())


@pytest.mark.parametrize("name", ["", "   ", None, "长" * 900])
def test_a_name_that_the_erp_cannot_keep_is_refused_by_its_field(name: str | None) -> None:
    with pytest.raises(Invalid) as refused:
        mapping.wanted_customer(CUSTOMER | {"name": name})
    assert refused.value.failure.field == "/name"


def test_a_sale_is_sent_complete_with_the_date_of_the_company() -> None:
    lines = mapping.sale_lines(ORDER, PRODUCTS, SETTINGS)
    values = mapping.sale_values(ORDER, "o-1", 3, 4, lines, SETTINGS, NOW)
    assert values["sale_date"] == {"__class__": "date", "year": 2026, "month": 11, "day": 22}
    assert (values["web_shop"], values["web_id"], values["reference"], values["currency"]) == (2, "o-1", "SO-1", 7)
    assert values["lines"] == [
        [
            "create",
            [
                {
                    "product": 11,
                    "quantity": 2.0,
                    "unit": 1,
                    "unit_price": {"__class__": "Decimal", "decimal": "199.00"},
                    "taxes": [["add", [8]]],
                },
                {
                    "product": 12,
                    "quantity": 0.5,
                    "unit": 1,
                    "unit_price": {"__class__": "Decimal", "decimal": "0.8512"},
                    "taxes": [],
                },
            ],
        ]
    ]


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"sku": "Z"}, "/lines/1/sku"),
        ({"tax_code": "VAT6"}, "/lines/1/tax_code"),
        ({"unit_price": "0.12345"}, "/lines/1/unit_price"),
        ({"unit_price": "NaN"}, "/lines/1/unit_price"),
        ({"quantity": "many"}, "/lines/1/quantity"),
    ],
)
def test_a_line_that_cannot_be_booked_is_named(changed: dict[str, Any], pointer: str) -> None:
    order = ORDER | {"lines": [ORDER["lines"][0], ORDER["lines"][1] | changed]}
    with pytest.raises(Invalid) as refused:
        mapping.sale_lines(order, PRODUCTS, SETTINGS)
    assert refused.value.failure.field == pointer


def test_an_order_without_lines_or_with_a_strange_currency_is_refused() -> None:
    with pytest.raises(Invalid, match="no lines"):
        mapping.sale_lines(ORDER | {"lines": []}, PRODUCTS, SETTINGS)
    with pytest.raises(Invalid, match="USD"):
        mapping.sale_values(ORDER | {"currency": "USD"}, "o-1", 3, 4, [], SETTINGS, NOW)


def product(**changed: Any) -> dict[str, Any]:
    template = {
        "id": 1,
        "name": "精密螺丝",
        "active": 1,
        "salable": 1,
        "type": "goods",
        "list_price": {"__class__": "Decimal", "decimal": "0.8500"},
        "categories.": [{"id": 2, "name": "Parts"}, {"id": 1, "name": "Metal"}],
    }
    row = {"id": 11, "code": "A", "active": 1, "list_price": None, "quantity": 1000000.0}
    return row | {"template.": template | changed.pop("template", {})} | changed


def test_a_product_inherits_the_price_of_its_template_unless_it_has_its_own() -> None:
    assert mapping.product_of(product(), "CNY", NOW) == {
        "sku": "A",
        "name": "精密螺丝",
        "price": "0.85",
        "currency": "CNY",
        "category": "Metal",
        "active": True,
        "on_hand": "1000000",
        "as_of": "2026-11-22T02:00:00.000Z",
    }
    own = product(list_price={"__class__": "Decimal", "decimal": "0.9123"})
    assert mapping.product_of(own, "CNY", NOW)["price"] == "0.9123"


@pytest.mark.parametrize("changed", [{"active": 0}, {"template": {"active": 0}}, {"template": {"salable": 0}}])
def test_a_product_that_cannot_be_sold_is_inactive(changed: dict[str, Any]) -> None:
    assert mapping.product_of(product(**changed), "CNY", NOW)["active"] is False


def test_a_service_has_no_stock_rather_than_none_left() -> None:
    assert mapping.product_of(product(template={"type": "service"}), "CNY", NOW)["on_hand"] is None


def test_the_digest_of_a_product_does_not_depend_on_when_it_was_read() -> None:
    earlier, later = (mapping.product_of(product(), "CNY", moment) for moment in (NOW, NOW.replace(hour=9)))
    assert mapping.product_digest(earlier) == mapping.product_digest(later)


@given(st.decimals(min_value=0, max_value=10**9, places=4, allow_nan=False))
def test_an_amount_keeps_its_value_and_shows_two_decimals_at_least(value: Decimal) -> None:
    shown = mapping.amount(value)
    assert Decimal(shown) == value
    assert len(shown.split(".")[1]) >= 2


@given(st.integers(min_value=0, max_value=10**12))
def test_a_whole_quantity_is_written_without_a_point(value: int) -> None:
    assert mapping.quantity(float(value)) == str(value)


@given(st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone
def test_a_stamp_survives_the_trip_to_the_microsecond(moment: datetime) -> None:
    assert read_datetime(wire_datetime(moment)) == moment


def test_the_day_of_a_sale_is_todays_where_the_order_does_not_tell() -> None:
    assert mapping.sale_date({}, SETTINGS, NOW) == date(2026, 11, 22)


def test_a_colleagues_unnamed_contact_with_our_value_becomes_ours_instead_of_a_second_row() -> None:
    linked = party(**{"contact_mechanisms.": [contact(9, "email", None, "wang@example.com"),
                                              contact(8, "mobile", "office", "+86 138 0013 8000", "+8613800138000")]})
    commands = mapping.contact_commands(mapping.wanted_customer(CUSTOMER), linked)
    assert commands["email"] == [["write", [9], {"name": "hub:email"}]]
    assert commands["phone"][0][0] == "create"  # what a colleague gave a name to is the colleague's


def test_a_party_is_known_by_what_anybody_wrote_there() -> None:
    identifiers = [{"code": "91310000MA1FL0000X", "active": 1}, {"code": "old", "active": 0}]
    told = mapping.known_by(party(**{"identifiers.": identifiers}))
    assert told == {"code": ["c-1"], "tax_number": ["91310000MA1FL0000X"], "phone": ["+8613800138000"],
                    "email": ["wang@example.com", "colleague@example.com"], "name": ["上海示例有限公司"]}


def test_a_party_that_was_merged_into_another_is_known_by_nothing() -> None:
    assert mapping.known_by(party(replaced_by=7)) == {}
