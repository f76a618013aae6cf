"""Two sales teams in one company: what belongs to one does not exist for the other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection, Exchange

from contracts.envelope import CONTENT_TYPE
from contracts.integrations import EXTERNAL_CHANGED
from tests.flows.people import Client, hire
from tests.service.gateway.running import Hub
from tests.service.sales.selling import product_told
from tests.support.processes import eventually

SKU = "APART-1"


@dataclass
class Company:
    """A rep with a customer, a contact and an order; a rep and a manager elsewhere; the rep's own manager."""

    rep: Client
    manager: Client
    other_rep: Client
    other_manager: Client
    customer: dict[str, Any]
    contact: dict[str, Any]
    order: dict[str, Any]


def _product(hub: Hub) -> None:
    """Let sales hear of a product, as integrations tells it."""
    told = product_told(SKU)
    with Connection(hub.amqp_uri, connect_timeout=30) as connection:
        connection.Producer().publish(
            json.dumps(told.to_wire()), exchange=Exchange(EXTERNAL_CHANGED.exchange, type="topic", durable=True),
            routing_key=EXTERNAL_CHANGED.routing_key, content_type=CONTENT_TYPE, content_encoding="utf-8")
    eventually(lambda: hub.get(f"/products?sku={SKU}").json()["items"], 15)


@pytest.fixture(scope="module")
def company(all_rooms: Hub) -> Company:
    """East and West, each with a rep and a manager; what there is to sell and to see is East's."""
    _product(all_rooms)
    east, west = ([all_rooms.post("/teams", {"name": name}).json()["id"]] for name in ("East", "West"))
    rep, manager = hire(all_rooms, "east-rep", "sales", east), hire(all_rooms, "east-manager", "manager", east)
    customer = rep.ask("POST", "/customers", {"name": "Evergreen", "phone": "+86 138 0013 8000"}).json()
    contact = rep.ask("POST", "/contacts", {"customer_id": customer["id"], "name": "Li Na"}).json()
    orders: list[Any] = []

    def ordered() -> bool:
        """Sales hears of the customer in a moment."""
        orders.append(rep.ask("POST", "/orders", _order_of(customer["id"]), Idempotency_Key=str(uuid4())))
        return bool(orders[-1].status_code == 201)

    eventually(ordered, 15, every_s=0.3)
    return Company(rep, manager, hire(all_rooms, "west-rep", "sales", west),
                   hire(all_rooms, "west-manager", "manager", west), customer, contact, orders[-1].json())


def _order_of(customer_id: str) -> dict[str, Any]:
    return {"customer_id": customer_id, "currency": "CNY", "lines": [{"sku": SKU, "quantity": "1"}]}


def _asked(company: Company) -> list[tuple[str, str, Any]]:
    """Every way to name one of East's records."""
    customer, contact, order = (record["id"] for record in (company.customer, company.contact, company.order))
    return [
        ("GET", f"/customers/{customer}", None), ("PATCH", f"/customers/{customer}", {"name": "Mine"}),
        ("GET", f"/customers/{customer}/contacts", None), ("GET", f"/contacts/{contact}", None),
        ("PATCH", f"/contacts/{contact}", {"name": "Mine"}),
        ("POST", "/contacts", {"customer_id": customer, "name": "Mine"}),
        ("GET", f"/orders/{order}", None), ("PATCH", f"/orders/{order}", {"note": "Mine"}),
        ("POST", f"/orders/{order}/confirm", None), ("POST", f"/orders/{order}/cancel", {"reason": "Mine"}),
    ]


def _listed(company: Company) -> list[tuple[str, str]]:
    """Every list in which one of East's records could stand, and its id."""
    customer, contact, order = (record["id"] for record in (company.customer, company.contact, company.order))
    return [("/customers", customer), ("/customers?q=Evergreen", customer), ("/customers?phone=13800138000", customer),
            ("/contacts", contact), (f"/contacts?customer_id={customer}", contact),
            ("/orders", order), (f"/orders?customer_id={customer}", order)]


@pytest.mark.parametrize("who", ["other_rep", "other_manager"])
def test_another_teams_records_are_404_to_get_and_to_change_and_stand_in_no_list(company: Company, who: str) -> None:
    stranger: Client = getattr(company, who)
    for method, path, body in _asked(company):
        answer = stranger.ask(method, path, body, If_Match='"1"')
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, path, answer.text)
    for path, id in _listed(company):
        answer = stranger.ask("GET", path)
        assert answer.status_code == 200, answer.text
        assert id not in [item["id"] for item in answer.json()["items"]], path


@pytest.mark.parametrize("who", ["rep", "manager"])
def test_the_teams_own_records_are_there(company: Company, who: str) -> None:
    member: Client = getattr(company, who)
    for method, path, _ in _asked(company):
        if method == "GET":
            assert member.ask(method, path).status_code == 200, path
    for path, id in _listed(company):
        assert id in [item["id"] for item in member.ask("GET", path).json()["items"]], path


def test_nobody_orders_for_another_teams_customer(company: Company) -> None:
    answer = company.other_rep.ask("POST", "/orders", _order_of(company.customer["id"]), Idempotency_Key=str(uuid4()))
    assert (answer.status_code, answer.json()["code"]) == (409, "customer_not_known")


def test_nothing_of_the_stranger_has_left_a_trace(company: Company) -> None:
    for kind, record in (("customers", company.customer), ("contacts", company.contact), ("orders", company.order)):
        assert company.rep.ask("GET", f"/{kind}/{record['id']}").json() == record
