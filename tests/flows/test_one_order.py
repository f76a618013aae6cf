"""One order, from two commands to the ERP: what `make demo` shows, asserted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.demo.door import wait_for
from hub.demo.order import OrderJob, OrderOutcome, processed
from tests.support.in_clear import files_below, found_in, spellings
from tests.support.local_hub import LocalHub

PLANTED_PHONE = "+8613912345678"
PLANTED_EMAIL = "planted.person@nowhere.example"
PLANTED_STREET = "种植路 4711 号"


@pytest.fixture(scope="module")
def told(whole_hub: LocalHub) -> tuple[LocalHub, OrderOutcome]:
    """The hub after one order has gone there and back."""
    job = OrderJob(whole_hub.door(), whole_hub.erp(), whole_hub.colleague(), lambda _: None)
    return whole_hub, job.run()


def test_an_acknowledged_order_stands_in_the_erp_with_its_lines_total_and_party(
    told: tuple[LocalHub, OrderOutcome],
) -> None:
    _, outcome = told
    assert outcome.sale is not None
    assert outcome.sale.state == "processing"
    assert outcome.sale.web_id == outcome.order["id"]
    assert outcome.sale.lines == ("2 x SKU-1001 at 199.00", "10 x SKU-1003 at 0.85")
    assert outcome.sale.total == outcome.order["total"] == "406.50"
    assert (outcome.party["code"], outcome.party["name"]) == (outcome.customer["id"], outcome.customer["name"])
    assert outcome.renamed["name"] != outcome.customer["name"]


def test_confirming_again_makes_no_second_sale(told: tuple[LocalHub, OrderOutcome]) -> None:
    _, outcome = told
    assert outcome.replayed
    assert outcome.refused == "invalid_transition"
    assert outcome.sales == 1


def test_an_order_shipped_in_the_erp_is_fulfilled_here(told: tuple[LocalHub, OrderOutcome]) -> None:
    _, outcome = told
    assert [shipment["state"] for shipment in outcome.shipments] == ["done"]
    assert (outcome.fulfilled["id"], outcome.fulfilled["status"]) == (outcome.order["id"], "fulfilled")


def test_the_ledger_adds_up(told: tuple[LocalHub, OrderOutcome]) -> None:
    _, outcome = told
    ledger = outcome.ledger
    assert ledger["balanced"]
    ends = ("delivered", "skipped", "superseded", "dead", "cancelled", "open")
    assert ledger["accepted"] == sum(ledger[end] for end in ends) > 0


def files_of_the_hub(home: Path) -> Iterator[Path]:
    """Databases, broker folder and logs; not the ERP's own, which is where the data was meant to go."""
    return (file for file in files_below(home) if "sandbox" not in file.parts and "tryton" not in file.name)


def test_a_planted_phone_email_and_street_are_found_in_clear_nowhere(told: tuple[LocalHub, OrderOutcome]) -> None:
    hub, _ = told
    door, erp = hub.door(), hub.erp()
    made = door.post("/api/v1/customers", {
        "name": "Planted", "phone": PLANTED_PHONE, "email": PLANTED_EMAIL,
        "address": {"street": PLANTED_STREET, "city": "上海"}})
    door.post("/api/v1/contacts", {"customer_id": made["id"], "name": "P", "phone": PLANTED_PHONE,
                                   "email": PLANTED_EMAIL})
    order = door.post("/api/v1/orders", {"customer_id": made["id"], "currency": "CNY",
                                         "lines": [{"sku": "SKU-1001", "quantity": "1"}]})
    door.post(f"/api/v1/orders/{order['id']}/confirm")
    wait_for("the planted order's arrival", lambda: processed(erp, order["id"]))
    assert erp.party_by_code(made["id"]) is not None
    files = list(files_of_the_hub(hub.home))
    assert len(files) > 20
    assert found_in(files, spellings(PLANTED_PHONE, PLANTED_EMAIL, PLANTED_STREET.partition(" ")[0])) == {}
