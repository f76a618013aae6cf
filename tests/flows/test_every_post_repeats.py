"""Every POST of the table of routes, sent twice with one key: one effect, one answer, and it says that it is a repeat.

Bodies come from the matrix of rights, records from the POST that makes them; `SPECIAL` has what that cannot know. A
new route is walked like any other, and fails here until a body that succeeds can be told.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
import requests
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.database import new_id, utcnow
from gateway.route import Route
from gateway.routes import ROUTES
from services.integrations.models import Conflict, Connection, Delivery, Record, Run
from services.sales.models import Product
from tests.flows.people import PASSWORD, Client, administrator, hire
from tests.flows.test_role_matrix import NOBODYS_ID, RIGHTS
from tests.service.gateway.running import Hub
from tests.support import fake_target
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.processes import eventually

POSTS = {route.path: route for route in ROUTES if route.method == "POST"}
CONFIG = {"base_url": "http://127.0.0.1:9", "database": "erp", "company": 1, "web_shop": 1, "warehouse": 1,
          "payment_term": 1, "uom": 1, "currencies": {"CNY": 1}}


class Site:
    """The hub, and how to make what a route needs."""

    def __init__(self, hub: Hub, target: FakeTarget) -> None:
        self.hub, self.admin, self.target = hub, administrator(hub), target
        with Session(self._engine("sales")) as session:
            now = utcnow()
            session.add(Product(id=new_id(), version=1, sku="A-1", sku_key="a-1", name="A", name_key="a",
                                currency="CNY", price=Decimal(10), on_hand=Decimal(1000), stock_at=now,
                                connection_id=new_id(), external_id="1", created_at=now, updated_at=now))
            session.commit()

    def _engine(self, room: str) -> sa.Engine:
        return sa.create_engine(f"sqlite:///{self.hub.home}/db/{room}.sqlite", poolclass=sa.NullPool)

    def body(self, path: str) -> Any:
        """Return a body that succeeds at a route."""
        if path in SPECIAL:
            return SPECIAL[path](self)
        return self._filled(RIGHTS[f"POST {path}"].body)

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._filled(inner) for name, inner in value.items()}
        if value == "{unique}":
            return f"repeat-{uuid4().hex[:12]}"
        return self.made(f"/{value.strip('{}')}s")["id"] if isinstance(value, str) and value.startswith("{") else value

    def made(self, collection: str) -> Any:
        """Make a record at a collection."""
        unasked = {"/conflicts": self.conflict, "/deliveries": self.dead_delivery, "/runs": self.run}
        if collection in unasked:
            return unasked[collection]()
        answer = self.admin.ask("POST", collection, self.body(collection), Idempotency_Key=str(uuid4()))
        assert answer.status_code == 201, f"{collection}: {answer.text}"
        return answer.json()

    def conflict(self) -> Any:
        """Open a conflict, as a refusal would; nobody can make one over HTTP."""
        with Session(self._engine("integrations")) as session:
            now, id = utcnow(), new_id()
            session.add(Conflict(id=id, connection_id=self.made("/connections")["id"], entity="task", external_id="1",
                                 fields=[], code="refused", reason="Refused.", opened_at=now, updated_at=now))
            session.commit()
        return {"id": id, "version": 1}

    def dead_delivery(self) -> Any:
        """Give up the cancellation of an order."""
        with Session(self._engine("integrations")) as session:
            now, id = utcnow(), new_id()
            session.add(Delivery(id=id, connection_id=self.made("/connections")["id"], entity="order",
                                 local_id=new_id(), op="delete", source_version=2, idempotency_key=id, state="dead",
                                 due_at=now, created_at=now, settled_at=now))
            session.commit()
        return {"id": id, "version": 1}

    def waiting(self, delivery: Any) -> Any:
        """Let a delivery wait for a record; return it."""
        with Session(self._engine("integrations")) as session:
            session.execute(sa.update(Delivery).where(Delivery.id == delivery["id"]).values(
                state="blocked", settled_at=None, blocked_entity="customer", blocked_id=new_id()))
            session.commit()
        return delivery

    def run(self) -> Any:
        """Have a run ask for approval."""
        with Session(self._engine("integrations")) as session:
            now, id = utcnow(), new_id()
            session.add(Run(id=id, connection_id=self.made("/connections")["id"], entity="customer", kind="dry_run",
                            state="awaiting_approval", filter={}, options={}, position={}, counts={}, created_by="u",
                            due_at=now, created_at=now))
            session.commit()
        return {"id": id, "version": 1}

    def order(self) -> Any:
        """Return the body of an order of a customer that sales has heard of."""
        body = {"customer_id": self.made("/customers")["id"], "currency": "CNY",
                "lines": [{"sku": "A-1", "quantity": "1"}]}
        eventually(lambda: self.admin.ask("POST", "/orders", body, Idempotency_Key=str(uuid4())).status_code == 201)
        return body

    def pulling(self, connection: Any) -> Any:
        """Switch a route on that asks for products; return the connection."""
        route = {"connection_id": connection["id"], "entity": "product", "direction": "pull"}
        drafted = self.admin.ask("POST", "/routes", route).json()
        assert self.admin.ask("POST", f"/routes/{self.ready(drafted)['id']}/activate").status_code == 200
        return connection

    def answering(self, _: Any) -> Any:
        """Connect a system that answers, and know a customer that nothing of it is bound to; return the connection."""
        new = {"name": f"System {uuid4()}", "adapter": "fake", "config": self.target.config}
        connection = self.admin.ask("POST", "/connections", new).json()
        self.admin.ask("PUT", f"/connections/{connection['id']}/credential", {"secrets": {"key": GOOD_KEY}})
        with Session(self._engine("integrations")) as session:
            session.add(Record(entity="customer", id=NOBODYS_ID, version=1, state_sealed="", state_hash="",
                               seen_at=utcnow()))
            session.commit()
        return connection

    def found(self) -> Any:
        """Say of that customer which record of the system it is."""
        row = self.target.put("customer", "made there", {"name": "A"})
        return {"entity": "customer", "local_id": NOBODYS_ID, "external_id": row.id, "reason": "It has its phone."}

    def ready(self, record: Any) -> Any:
        """Let every connection pass for checked, as if there were an ERP; return the record."""
        with Session(self._engine("integrations")) as session:
            session.execute(sa.update(Connection).values(check_ok=True, checked_version=Connection.setup_version,
                                                         checked_at=dt.datetime.now(dt.UTC), check_message="Fine."))
            session.commit()
        return record


SPECIAL: dict[str, Callable[[Site], Any]] = {
    "/connections": lambda _: {"name": f"ERP {uuid4()}", "adapter": "tryton", "config": CONFIG},
    "/routes": lambda site: {"connection_id": site.made("/connections")["id"], "entity": "order", "direction": "push"},
    "/routes/{id}/activate": lambda _: {"without_matching": True, "reason": "There is nothing there."},
    "/routes/{id}/mappings": lambda _: {"text": "fields: {currency: currency, lines: lines}"},
    "/connections/{id}/bindings": Site.found,
    "/orders": Site.order,
    "/me/password": lambda _: {"current_password": PASSWORD, "new_password": "another fine passphrase"},
    "/sessions": lambda site: {"username": site.hub.username, "password": site.hub.password},
}
"""Bodies that succeed where the matrix of rights has one that is refused."""

BEFORE: dict[str, Callable[[Site, Any], Any]] = {
    "/tasks/{id}/reopen": lambda site, task: site.admin.ask(
        "POST", f"/tasks/{task['id']}/complete", If_Match=f'"{task["version"]}"').json(),
    "/routes/{id}/activate": lambda site, route: site.ready(route),
    "/deliveries/{id}/cancel": lambda site, delivery: site.waiting(delivery),
    "/connections/{id}/pull": lambda site, connection: site.pulling(connection),
    "/connections/{id}/bindings": Site.answering,
}
"""What happens to a record before the route takes it; returns the record as it is then."""


@pytest.fixture(scope="module")
def target() -> Iterator[FakeTarget]:
    yield from fake_target.running()


@pytest.fixture(scope="module")
def site(all_rooms: Hub, target: FakeTarget) -> Site:
    """The hub with a product to sell, and a system that answers."""
    return Site(all_rooms, target)


def prepared(site: Site, route: Route) -> tuple[Client, str, Any, dict[str, str]]:
    """Return who asks, the path, the body and the headers of a request that succeeds."""
    path, headers, client = route.path, {}, site.admin
    if "{id}" in path:
        record = site.made(f"/{path.split('/')[1]}")
        record = BEFORE[path](site, record) if path in BEFORE else record
        path = path.replace("{id}", record["id"])
        headers = {"If_Match": f'"{record["version"]}"'} if route.takes_version else {}
    if path == "/me/password":
        client = hire(site.hub, f"repeat-{uuid4().hex[:8]}-", "sales")
    return client, path, site.body(route.path) if route.body != "none" else None, headers


def twice(site: Site, route: Route) -> tuple[requests.Response, requests.Response, Callable[[Any], requests.Response]]:
    """Send one request twice with one key; return both answers, and a way to send another body with that key."""
    client, path, body, headers = prepared(site, route)
    headers["Idempotency_Key"] = str(uuid4())
    first = client.ask("POST", path, body, **headers)
    assert first.status_code == route.status, f"{path}: {first.text}"
    return first, client.ask("POST", path, body, **headers), lambda other: client.ask("POST", path, other, **headers)


@pytest.mark.parametrize("path", [path for path, route in POSTS.items() if not route.public])
def test_a_repeat_with_the_same_key_has_the_same_answer_and_says_so(site: Site, path: str) -> None:
    route = POSTS[path]
    first, again, other = twice(site, route)
    assert "Idempotency-Replayed" not in first.headers
    if route.operation.unsaved:
        # It showed a secret once: the repeat has no second effect, and says why it has no answer.
        assert (again.status_code, again.json()["code"]) == (409, "conflict")
    else:
        assert (again.status_code, again.text) == (first.status_code, first.text)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.headers.get("ETag") == first.headers.get("ETag")
    if route.body == "required":
        changed = other(_changed(site.body(path), route))
        assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_mismatch"), changed.text


def _changed(body: dict[str, Any], route: Route) -> dict[str, Any]:
    """Return a valid body that differs from any sent before."""
    texts = ("name", "title", "new_password", "note", "reason", "content", "subject", "resolution", "body", "text")
    text = next((name for name in texts if name in route.free_fields), None)
    number = next((name for name, value in body.items() if isinstance(value, int)), None)
    other = {text: f"something-else-{uuid4().hex[:8]}"} if text else {number: body[number] + 1} if number else {}
    return body | other


def test_signing_in_again_opens_another_session_and_needs_no_key(site: Site) -> None:
    route = POSTS["/sessions"]
    first, again, _ = twice(site, route)
    assert again.status_code == 201
    assert again.json()["token"] != first.json()["token"]
    assert "Idempotency-Replayed" not in again.headers
    for answer in (first, again):
        there = Client(site.hub.url, {"Authorization": f"Bearer {answer.json()['token']}"})
        assert there.ask("GET", "/me").status_code == 200


def test_a_key_that_was_refused_is_free(site: Site) -> None:
    body, key = {"current_password": "wrong", "new_password": "another fine passphrase"}, str(uuid4())
    client = hire(site.hub, f"repeat-{uuid4().hex[:8]}-", "sales")
    assert client.ask("POST", "/me/password", body, Idempotency_Key=key).status_code == 422
    right = body | {"current_password": PASSWORD}
    assert client.ask("POST", "/me/password", right, Idempotency_Key=key).status_code == 204
    assert client.ask("POST", f"/connections/{NOBODYS_ID}/check", Idempotency_Key=key).status_code == 403
