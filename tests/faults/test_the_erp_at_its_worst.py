"""Rows 4, 5 and 22 of the fault matrix against the real ERP: what the engine began over there is there once.

The engine runs in processes of their own and speaks to the ERP through a proxy that cuts lines. The oracle is the ERP.
On SQLite alone: `tests/service/integrations` holds the same on both databases, against a target that tests script.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chassis.database import new_id
from services.integrations.engine import checks
from services.integrations.models import Delivery
from services.integrations.operations import connections, credentials
from tests.service.integrations.conftest import ADMIN, CONFIRMED, Hub, on_sqlite
from tests.service.integrations.test_crashes import pause_between_transactions
from tests.support.chaos_proxy import ChaosProxy
from tests.support.erp import Erp, running_erp
from tests.support.processes import Process, Processes, eventually
from tests.support.records import a_customer, an_order
from tests.support.rooms import make_keys

pytestmark = [pytest.mark.faults, pytest.mark.tryton, pytest.mark.timeout(180), on_sqlite]
Start = Callable[..., Process]
CREATE = {"customer": b"POST /erp/rest/model/party.party HTTP", "order": b"POST /erp/rest/model/sale.sale HTTP"}


@pytest.fixture(scope="module")
def erp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erp]:
    with running_erp(tmp_path_factory.mktemp("erp")) as running:
        yield running


@pytest.fixture
def link(erp: Erp) -> Iterator[ChaosProxy]:
    with ChaosProxy(("127.0.0.1", erp.port)) as proxy:
        yield proxy


@pytest.fixture
def hub(processes: Processes, db_uri: str) -> Iterator[Hub]:
    """The tables and the events; the engine runs in processes of their own."""
    make_keys(processes.home)
    made = Hub(processes.home, db_uri)
    yield made
    processes.stop_all()
    made.close()


@pytest.fixture
def start(processes: Processes, db_uri: str, amqp_uri: str) -> Start:
    def begin(*, wait_s: float | None = 60.0, **environ: str) -> Process:
        return processes.room(
            "integrations", {"AMQP_URI": amqp_uri, "DB_URI_INTEGRATIONS": db_uri, **environ}, wait_s=wait_s)

    return begin


@pytest.fixture
def connection_id(hub: Hub, erp: Erp, link: ChaosProxy) -> str:
    """A connection to the ERP over the proxy, which carries customers and orders."""
    with hub.db.write() as session:
        config = erp.config(base_url=f"http://127.0.0.1:{link.port}")
        made = connections.create(session, {"name": f"erp-{new_id()}", "adapter": "tryton", "config": config}, by=ADMIN)
        credentials.put(session, hub.keyring, {"id": made.id, "secrets": {"rest_key": erp.rest_key}}, by=ADMIN)
    checked = checks.check(hub.db, hub.keyring, made.id, 20, by=ADMIN)
    assert checked["ok"], checked
    for entity in ("customer", "order"):
        hub.route(made.id, entity)
    return str(made.id)


def tell(hub: Hub, record: dict[str, Any], kind: str = "customers.customer.created") -> str:
    state = {key: value for key, value in record.items() if key not in ("id", "version", "kind")}
    hub.tell(kind, record["id"], record["version"], wake=False, **state)
    return str(record["id"])


def told_order(hub: Hub) -> tuple[str, str]:
    """Tell of a customer and of their order; return the ids."""
    customer = tell(hub, a_customer())
    return customer, tell(hub, an_order(customer), CONFIRMED)


def assert_booked_once(hub: Hub, erp: Erp, connection_id: str, customer: str, order: str) -> None:
    parties = erp.rows("party.party", [["code", "=", customer]], "name")
    sales = erp.rows("sale.sale", [["web_id", "=", order]], "state", "party", "total_amount", "shipments")
    assert len(parties) == 1
    assert [(sale["state"], sale["party"], len(sale["shipments"])) for sale in sales] == [
        ("processing", parties[0]["id"], 1)]
    assert hub.binding(order).external_id == str(sales[0]["id"])
    assert hub.ledger(connection_id).balanced


@pytest.mark.parametrize("moment", ["engine.before_call", "engine.after_call", "engine.before_settle"])
def test_a_worker_killed_around_its_call_to_the_erp_leaves_one_sale(
    hub: Hub, erp: Erp, start: Start, connection_id: str, moment: str
) -> None:
    customer = tell(hub, a_customer())
    first = start()
    hub.until(customer, "delivered", timeout_s=30)
    first.kill()
    order = tell(hub, an_order(customer), CONFIRMED)
    doomed = start(HUB_FAILPOINTS=f"{moment}=kill", wait_s=None)
    eventually(lambda: not doomed.alive(), 60)
    assert len(erp.rows("sale.sale", [["web_id", "=", order]], "state")) == (moment != "engine.before_call")

    start()

    hub.until(order, "delivered", timeout_s=30)
    assert_booked_once(hub, erp, connection_id, customer, order)


def test_a_worker_stopped_past_its_lease_changes_nothing_in_the_erp_when_it_wakes(
    hub: Hub, erp: Erp, link: ChaosProxy, start: Start, connection_id: str
) -> None:
    short = {"INTEGRATIONS_LEASE_S": "4", "INTEGRATIONS_CALL_DEADLINE_S": "3", "INTEGRATIONS_SWEEP_EVERY_S": "0.5"}
    sleeper = start(**short)
    link.delay_s = 0.4  # so that it is stopped in the middle of what it does over there
    before = a_customer()
    customer = tell(hub, before)
    eventually(lambda: hub.states(customer) == ["leased"], 30)
    pause_between_transactions(sleeper, hub.db)
    link.delay_s = 0.0

    start(**short)
    hub.until(customer, "delivered", timeout_s=90)
    tell(hub, before | {"version": 2, "name": "上海新名有限公司"}, "customers.customer.updated")
    hub.until(customer, "delivered", "delivered", timeout_s=30)
    settled = {row.id: row.settled_at for row in hub.rows(Delivery)}
    sleeper.resume()
    hub.quiet(4.0)

    assert {row.id: row.settled_at for row in hub.rows(Delivery)} == settled
    assert [row["name"] for row in erp.rows("party.party", [["code", "=", customer]], "name")] == ["上海新名有限公司"]
    assert hub.binding(customer).acked_version == 2
    assert hub.ledger(connection_id).balanced


@pytest.mark.parametrize("step", [CREATE["customer"], CREATE["order"], b"/quote ", b"/confirm "],
                         ids=["party", "sale", "quote", "confirm"])
@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_line_cut_at_any_step_ends_in_one_party_and_one_sale(
    hub: Hub, erp: Erp, link: ChaosProxy, start: Start, connection_id: str, step: bytes, lost: str
) -> None:
    if lost == "request":
        link.lose(step)
    else:
        link.lose_answer_to(step)
    customer, order = told_order(hub)

    start()

    hub.until(order, "delivered", timeout_s=90)
    assert link.cut == 1
    assert_booked_once(hub, erp, connection_id, customer, order)
