"""Nothing is promised twice: confirmations at once, in one process and in two."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import eventlet
from sqlalchemy import update

from chassis import migrations
from chassis.database import Database, new_id
from contracts import errors
from contracts import sales as contract
from services.sales.models import Reservation
from tests.service.sales.selling import MIDNIGHT, Selling, product_told
from tests.support.processes import Processes
from tests.support.rooms import Rooms


def at_once(call: Callable[..., Any], orders: Sequence[dict[str, Any]]) -> Counter[str]:
    """Do `call` to all orders at the same time, each under a key of its own; return how each ended.

    As a client does, a call that could not be answered in time is repeated with its key.
    """

    def one(order: dict[str, Any]) -> str:
        key = new_id()
        for _ in range(10):
            try:
                status: str = call(order, key=key)["status"]
            except (errors.Unavailable, errors.DeadlineExceeded, errors.DuplicateInFlight) as error:
                eventlet.sleep(error.retry_after_s or 1)
            except errors.HubError as error:
                return error.code
            else:
                return status
        return "unanswered"

    return Counter(thread.wait() for thread in [eventlet.spawn(one, order) for order in orders])


def test_fifty_confirmations_at_once_of_the_last_ten_pieces_sell_ten(hub: Selling) -> None:
    hub.hear(product_told("LAST", on_hand="10"))
    customer = hub.customer()
    orders = [hub.draft(customer, ("LAST", "1")) for _ in range(50)]
    began = time.perf_counter()
    ended = at_once(hub.confirm, orders)
    print(f"50 confirmations of one product: {time.perf_counter() - began:.2f} s")  # noqa: T201
    assert ended == {"confirmed": 10, "insufficient_stock": 40}
    held = hub.reservations()
    assert (len(held), sum(one.quantity for one in held)) == (10, 10)
    assert (hub.product("LAST").reserved, hub.product("LAST").available) == (10, 0)
    assert len(hub.announced("order.confirmed")) == 10


def test_two_processes_on_one_postgresql_sell_the_last_ten_pieces_once(
    processes: Processes, amqp_uri: str, postgres_uri: str
) -> None:
    rooms = Rooms(processes.home, amqp_uri, DB_URI_SALES=postgres_uri)
    migrations.upgrade("sales", postgres_uri)
    env = {"AMQP_URI": amqp_uri, "DB_URI_SALES": postgres_uri}
    first, second = processes.room("sales", env), processes.room("sales", env)
    hub = Selling(rooms, amqp_uri, Database(postgres_uri))
    try:
        hub.hear(product_told("LAST", on_hand="10"), product_told("MANY", on_hand="1000"))
        customer = hub.customer()
        # Half of the orders name the two products the other way round: locked as they stand they would deadlock.
        pairs = [(("LAST", "1"), ("MANY", "1")), (("MANY", "1"), ("LAST", "1"))]
        orders = [hub.draft(customer, *pairs[n % 2]) for n in range(50)]
        ended = at_once(hub.confirm, orders)
        assert ended == {"confirmed": 10, "insufficient_stock": 40}
        assert (hub.product("LAST").available, hub.product("MANY").available) == (0, 990)
        assert sum(one.quantity for one in hub.reservations()) == 20
        assert first.alive()
        assert second.alive()
    finally:
        hub.db.close()
        rooms.stop_all()


def test_one_order_confirmed_and_cancelled_at_once_by_many_ends_once(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    order = hub.draft(hub.customer(), ("A-1", "4"))
    assert at_once(hub.confirm, [order] * 8) == {"confirmed": 1, "invalid_transition": 7}

    def cancel(one: dict[str, Any], **options: Any) -> Any:
        return hub.call(contract.CANCEL_ORDER, {"id": one["id"], "reason": "x"}, **options)

    assert at_once(cancel, [order] * 8) == {"cancelled": 1, "invalid_transition": 7}
    assert (hub.product("A-1").reserved, hub.product("A-1").available) == (0, 10)
    assert len(hub.announced("order.cancelled")) == 1


def test_stock_that_comes_in_while_orders_are_confirmed_loses_no_reservation(hub: Selling) -> None:
    hub.hear(product_told("A-1", on_hand="30"))
    customer = hub.customer()
    orders = [hub.draft(customer, ("A-1", "1")) for _ in range(20)]
    hub.publish([product_told("A-1", minute=n + 1, on_hand="30") for n in range(20)])
    assert at_once(hub.confirm, orders) == {"confirmed": 20}
    hub.hear(product_told("A-1", minute=99, on_hand="25"))
    product = hub.product("A-1")
    assert (product.reserved, product.on_hand, product.available) == (20, 25, 5)


def test_a_reservation_ends_with_the_first_count_made_after_the_shipment(hub: Selling) -> None:
    hub.hear(product_told("A-1", on_hand="10"))
    order = hub.confirm(hub.draft(hub.customer(), ("A-1", "4")))
    with hub.db.write() as session:
        shipped = MIDNIGHT.replace(minute=30)
        session.execute(update(Reservation).where(Reservation.order_id == order["id"]).values(shipped_at=shipped))
    hub.hear(product_told("A-1", minute=20, on_hand="10"))
    assert hub.product("A-1").available == 6
    hub.hear(product_told("A-1", minute=40, on_hand="6"))
    assert (hub.product("A-1").available, hub.product("A-1").reserved, hub.reservations()) == (6, 0, [])
    hub.call(contract.CANCEL_ORDER, {"id": order["id"], "reason": "goods came back"})
    assert hub.product("A-1").available == 6


def test_the_erp_counting_less_than_was_promised_shows_below_zero_and_refuses_the_next(hub: Selling) -> None:
    hub.hear(product_told("A-1", on_hand="10"))
    customer = hub.customer()
    hub.confirm(hub.draft(customer, ("A-1", "8")))
    hub.hear(product_told("A-1", minute=1, on_hand="5"))
    assert hub.product("A-1").available == Decimal(-3)
    assert at_once(hub.confirm, [hub.draft(customer, ("A-1", "1"))]) == {"insufficient_stock": 1}


def test_two_drafts_are_numbered_apart_though_made_at_once(hub: Selling) -> None:
    hub.hear(product_told("A-1"))
    asked = {"customer_id": hub.customer(), "currency": "CNY", "lines": [{"sku": "A-1", "quantity": "1"}]}
    made = [eventlet.spawn(hub.call, contract.CREATE_ORDER, asked) for _ in range(20)]
    assert len({thread.wait()["number"] for thread in made}) == 20

