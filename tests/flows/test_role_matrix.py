"""Every built-in role at every route, and nobody at all: who is let in, who is refused, and who sees nothing.

`RIGHTS` says which right each route asks for, apart from the contracts: a route without a row fails, and so does an
operation that forgot its permission, for it would let in somebody whose role says no.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from contracts.depth import depth_of
from gateway.routes import ROUTES
from services.identity.domain.rights import Rights
from services.identity.domain.roles import BUILT_IN
from tests.flows.people import Client, hire, nobody
from tests.service.gateway.running import Hub

NOBODYS_ID = "0193a8f2-6c1d-7e4b-9a52-3f8e1c7d2b90"
ROLES: dict[str, Rights] = {name: rights for name, (_, _, rights) in BUILT_IN.items()} | {"": {}}
"""What each role gives; and what somebody has who was given none, for every built-in role may look up colleagues."""
ANYBODY = ""
"""In the place of a right: whoever is signed in may ask, and gets what is theirs."""
SIGNING_IN = "POST /sessions"
"""The one route for people that nobody needs a credential for."""
CALLING_BACK = "POST /inbound/{connection_id}"
"""Where targets call: a signature stands in for a credential."""


@dataclass(frozen=True)
class Row:
    """What one route asks for and answers.

    Attributes:
        right: `entity.action`, or ANYBODY.
        reached: the status for whoever may do it to the record, which is the administrator's.
        beyond: the status for whoever may do it to some records, and not to this one.
        body: valid, so that nothing but the right decides.
        path: with the names of `World` in it, where it names a record.
        owned: whether the record has an owner: `all` alone reaches another's. Else any depth reaches it.
        old: whether If-Match names a version that has passed, so that whoever may change the record does not.
        theirs: the right that reaches another's record where the operation itself is open to ANYBODY.
        also: the right that the record at the path needs, where the operation's own right is for what hangs on it.
    """

    right: str
    reached: int
    beyond: int = 404
    body: Any = None
    path: str = ""
    owned: bool = True
    old: bool = False
    theirs: str = ""
    also: str = ""


def _list(right: str) -> Row:
    return Row(right, 200, owned=False)


def _made(right: str, body: Any, status: int = 201) -> Row:
    return Row(right, status, body=body, owned=False)


def _unknown(right: str, body: Any = None, *, old: bool = False) -> Row:
    """A record that nobody has: 404 for whoever may ask."""
    return Row(right, 404, body=body, owned=False, old=old)


USER, CUSTOMER, CONTACT, TEAM, ROLE = "{user}", "{customer}", "{contact}", "{team}", "{role}"
TASK, ACTIVITY, TICKET, QUEUE = "{task}", "{activity}", "{ticket}", "{queue}"
RIGHTS: dict[str, Row] = {
    "GET /sessions": _list(ANYBODY),
    "DELETE /sessions/{id}": Row(ANYBODY, 200, path="{session}", theirs="session.delete"),
    "GET /login-events": _list(ANYBODY),
    "GET /me": _list(ANYBODY),
    "GET /me/today": _list(ANYBODY),
    "POST /me/password": _made(ANYBODY, {"current_password": "wrong", "new_password": "wrong as well, and long"}, 422),
    "GET /users": _list("user.read"),
    "POST /users": _made("user.create", {"username": "{unique}", "name": "New"}),
    "GET /users/{id}": Row("user.read", 200, path=USER),
    "PATCH /users/{id}": Row("user.change", 412, path=USER, body={"name": "Other"}, old=True),
    "POST /users/{id}/disable": Row("user.change", 412, path=USER, old=True),
    "POST /users/{id}/enable": Row("user.change", 412, path=USER, old=True),
    "POST /users/{id}/reset-password": Row("user.change", 200, path=USER),
    "GET /teams": _list("team.read"),
    "POST /teams": _made("team.create", {"name": "{unique}"}),
    "GET /teams/{id}": Row("team.read", 200, path=TEAM),
    "PATCH /teams/{id}": Row("team.change", 412, path=TEAM, body={"name": "Other"}, old=True),
    "DELETE /teams/{id}": Row("team.delete", 412, path=TEAM, old=True),
    "GET /roles": _list("role.read"),
    "POST /roles": _made("role.create", {"name": "{unique}", "title": "New", "depths": {}}),
    "GET /roles/{id}": Row("role.read", 200, path=ROLE),
    "PATCH /roles/{id}": Row("role.change", 412, path=ROLE, body={"title": "Other"}, old=True),
    "DELETE /roles/{id}": Row("role.delete", 412, path=ROLE, old=True),
    "GET /api-keys": _list(ANYBODY),
    "POST /api-keys": _made("api_key.create", {"name": "web shop"}),
    "GET /api-keys/{id}": Row(ANYBODY, 200, path="{api_key}", theirs="api_key.read"),
    "DELETE /api-keys/{id}": Row(ANYBODY, 200, path="{api_key}", theirs="api_key.delete"),
    "GET /customers": _list("customer.read"),
    "POST /customers": _made("customer.create", {"name": "Evergreen", "phone": "+86 138 0013 8000"}),
    "GET /customers/{id}": Row("customer.read", 200, path=CUSTOMER),
    "GET /customers/{id}/overview": Row("customer.read", 200, path=CUSTOMER),
    "PATCH /customers/{id}": Row("customer.change", 412, path=CUSTOMER, body={"name": "Other"}, old=True),
    "GET /customers/{id}/contacts": Row("customer.read", 200, path=CUSTOMER),
    "GET /contacts": _list("customer.read"),
    "POST /contacts": Row("customer.change", 201, body={"customer_id": CUSTOMER, "name": "Li Na"}),
    "GET /contacts/{id}": Row("customer.read", 200, path=CONTACT),
    "PATCH /contacts/{id}": Row("customer.change", 412, path=CONTACT, body={"name": "Other"}, old=True),
    "GET /customers/{id}/tasks": Row("task.read", 200, path=CUSTOMER, also="customer.read"),
    "GET /customers/{id}/activities": Row("activity.read", 200, path=CUSTOMER, also="customer.read"),
    "GET /customers/{id}/timeline": Row("activity.read", 200, path=CUSTOMER, also="customer.read"),
    "GET /tasks": _list("task.read"),
    "POST /tasks": _made("task.create", {"title": "Call back"}),
    "GET /tasks/{id}": Row("task.read", 200, path=TASK),
    "PATCH /tasks/{id}": Row("task.change", 412, path=TASK, body={"title": "Other"}, old=True),
    "DELETE /tasks/{id}": Row("task.delete", 412, path=TASK, old=True),
    "POST /tasks/{id}/complete": Row("task.change", 412, path=TASK, old=True),
    "POST /tasks/{id}/reopen": Row("task.change", 412, path=TASK, old=True),
    "POST /tasks/{id}/cancel": Row("task.change", 412, path=TASK, old=True),
    "GET /activities": _list("activity.read"),
    "POST /activities": _made("activity.create", {"subject": {"entity": "order", "id": NOBODYS_ID}, "kind": "note"}),
    "GET /activities/{id}": Row("activity.read", 200, path=ACTIVITY),
    "GET /products": _list("product.read"),
    "GET /products/{id}": _unknown("product.read"),
    "GET /orders": _list("order.read"),
    "POST /orders": _made("order.create", {"customer_id": NOBODYS_ID, "currency": "CNY",
                                           "lines": [{"sku": "NONE-1", "quantity": "1"}]}, 422),
    "GET /orders/{id}": _unknown("order.read"),
    "GET /orders/{id}/deliveries": _unknown("order.read"),
    "PATCH /orders/{id}": _unknown("order.change", {"note": "Other"}, old=True),
    "POST /orders/{id}/confirm": _unknown("order.confirm"),
    "POST /orders/{id}/cancel": _unknown("order.cancel", {"reason": "none"}),
    "GET /tickets": _list("ticket.read"),
    "POST /tickets": _made("ticket.create", {"subject": "The pump stops"}),
    "GET /ticket-counts": _list("ticket.read"),
    "GET /tickets/{id}": Row("ticket.read", 200, path=TICKET),
    "PATCH /tickets/{id}": Row("ticket.change", 412, path=TICKET, body={"priority": "low"}, old=True),
    "POST /tickets/{id}/assign": Row("ticket.assign", 412, path=TICKET, body={"assignee_id": None}, old=True),
    "POST /tickets/{id}/claim": Row("ticket.claim", 412, path=TICKET, old=True),
    "POST /tickets/{id}/status": Row("ticket.change", 412, path=TICKET, body={"status": "open"}, old=True),
    "GET /tickets/{id}/messages": Row("ticket.read", 200, path=TICKET),
    "POST /tickets/{id}/messages": Row("ticket.reply", 201, path=TICKET, body={"body": "Hello"}),
    "GET /tickets/{id}/messages/{message_id}": _unknown("ticket.read"),
    "GET /tickets/{id}/trail": Row("ticket.read", 200, path=TICKET),
    "POST /tickets/{id}/tasks": Row("task.create", 202, path=TICKET, body={"title": "Visit"}, also="ticket.read"),
    "GET /queues": _list("queue.read"),
    "POST /queues": Row("queue.create", 201, 422, body={"name": "{unique}"}),
    "GET /queues/{id}": Row("queue.read", 200, path=QUEUE),
    "PATCH /queues/{id}": Row("queue.change", 412, path=QUEUE, body={"max_open": 5}, old=True),
    "PUT /queues/{id}/members/{user_id}": Row("queue.change", 200, path=QUEUE),
    "DELETE /queues/{id}/members/{user_id}": Row("queue.change", 204, path=QUEUE),
    "GET /adapters": _list("connection.read"),
    "GET /connections": _list("connection.read"),
    "POST /connections": _made("connection.create", {"name": "ERP", "adapter": "no-such", "config": {}}, 422),
    "GET /connections/{id}": _unknown("connection.read"),
    "PATCH /connections/{id}": _unknown("connection.change", {"name": "Other"}, old=True),
    "POST /connections/{id}/check": _unknown("connection.operate"),
    "POST /connections/{id}/pause": _unknown("connection.operate"),
    "POST /connections/{id}/stop": _unknown("connection.operate"),
    "POST /connections/{id}/resume": _unknown("connection.operate"),
    "POST /connections/{id}/pull": _unknown("connection.operate"),
    "PUT /connections/{id}/credential": _unknown("connection.change", {"secrets": {"password": "secret"}}),
    "PUT /connections/{id}/accounts/{user_id}": _unknown("connection.change", {"account": "ann"}),
    "GET /connections/{id}/accounts/{user_id}": _unknown("connection.read"),
    "DELETE /connections/{id}/accounts/{user_id}": _unknown("connection.change"),
    "POST /connections/{id}/bindings": _unknown("connection.operate", {
        "entity": "order", "local_id": NOBODYS_ID, "external_id": "35", "reason": "Its number is on it."}),
    "GET /connections/{id}/ledger": _unknown("connection.read"),
    "GET /routes": _list("route.read"),
    "POST /routes": _unknown("route.create", {"connection_id": NOBODYS_ID, "entity": "order", "direction": "push"}),
    "GET /routes/{id}": _unknown("route.read"),
    "PATCH /routes/{id}": _unknown("route.create", {"direction": "both"}, old=True),
    "POST /routes/{id}/activate": _unknown("route.operate"),
    "POST /routes/{id}/deactivate": _unknown("route.operate"),
    "GET /routes/{id}/mappings": _unknown("mapping.read"),
    "POST /routes/{id}/mappings": _unknown("mapping.create", {"text": "fields: {name: name}"}),
    "GET /routes/{id}/mappings/{number}": _unknown("mapping.read"),
    "GET /routes/{id}/mappings/{number}/preview": _unknown("mapping.operate"),
    "PUT /routes/{id}/mapping": _unknown("mapping.operate", {"number": 1}),
    "GET /connections/{id}/code-tables": _unknown("mapping.read"),
    "GET /connections/{id}/code-tables/{name}": _unknown("mapping.read"),
    "PUT /connections/{id}/code-tables/{name}": _unknown("mapping.operate", {"codes": {"A": 1}}),
    "GET /deliveries": _list("delivery.read"),
    "GET /deliveries/{id}": _unknown("delivery.read"),
    "GET /deliveries/{id}/attempts": _unknown("delivery.read"),
    "POST /deliveries/{id}/retry": _unknown("delivery.operate"),
    "POST /deliveries/{id}/cancel": _unknown("delivery.operate"),
    "POST /connections/{id}/runs": _unknown("run.operate", {"kind": "dry_run", "entity": "customer"}),
    "GET /runs": _list("run.read"),
    "GET /runs/{id}": _unknown("run.read"),
    "GET /runs/{id}/findings": _unknown("run.read"),
    "PATCH /runs/{id}/findings/{finding_id}": _unknown("run.operate", {"decision": "ignore"}, old=True),
    "POST /runs/{id}/approve": _unknown("run.operate", {"count": 0}),
    "POST /runs/{id}/cancel": _unknown("run.operate"),
    "GET /conflicts": _list("conflict.read"),
    "GET /conflicts/{id}": _unknown("conflict.read"),
    "POST /conflicts/{id}/resolve": _unknown("conflict.operate", {"resolution": "dismissed"}),
}


class World:
    """Records of the administrator that the rows name, and everybody who tries."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.clients = {name: hire(hub, f"matrix-{name}-", name) for name in ROLES}
        self.clients["nobody"] = nobody(hub)
        self._numbers = count()
        self._kept = {
            "user": self._made("/users", {"username": "matrix-victim", "name": "Victim"}),
            "team": self._made("/teams", {"name": "Matrix"}),
            "role": self._made("/roles", {"name": "matrix", "title": "Matrix", "depths": {}}),
            "customer": self._made("/customers", {"name": "Matrix", "phone": "+86 138 0013 8000"}),
        }
        self._kept["contact"] = self._made("/contacts", {"customer_id": self._kept["customer"], "name": "Matrix"})
        self._kept["task"] = self._made("/tasks", {"title": "Matrix"})
        self._kept["ticket"] = self._made("/tickets", {"subject": "Matrix"})
        self._kept["queue"] = self._made("/queues", {"name": "Matrix"})
        self._kept["activity"] = self._made("/activities", {"subject": {"entity": "order", "id": NOBODYS_ID},
                                                            "kind": "note"})

    def _made(self, path: str, body: Any) -> str:
        answer = self.hub.post(path, body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def __getitem__(self, name: str) -> str:
        """Return an id, or a word that was not used before; what may be ended by a test is new each time."""
        if name == "unique":
            return f"matrix-{next(self._numbers)}"
        if name == "api_key":
            return self._made("/api-keys", {"name": "Matrix"})
        if name == "session":
            signed = self.hub.post("/sessions", {"username": self.hub.username, "password": self.hub.password})
            return str(signed.json()["session"]["id"])
        return self._kept[name]

    def filled(self, value: Any) -> Any:
        """Return `value` with every `{name}` in it replaced."""
        if isinstance(value, dict):
            return {name: self.filled(inner) for name, inner in value.items()}
        if isinstance(value, str) and value.startswith("{"):
            return self[value.strip("{}")]
        return value


@pytest.fixture(scope="module")
def world(all_rooms: Hub) -> World:
    """The hub with one person of every built-in role."""
    return World(all_rooms)


def expected(row: Row, role: str) -> int:
    """Return the status that a role's rights, read from identity's own table, lead to."""
    right = row.right or row.theirs
    depth = depth_of(ROLES[role], *right.split(".")) if right else "all"
    if row.right and depth == "none":
        return 403
    depth = depth_of(ROLES[role], *row.also.split(".")) if row.also else depth
    return row.reached if depth == "all" or not row.owned else row.beyond


def test_every_route_has_its_row() -> None:
    assert {f"{route.method} {route.path}" for route in ROUTES} == {*RIGHTS, SIGNING_IN, CALLING_BACK}


@pytest.mark.parametrize("name", list(RIGHTS))
def test_a_route_lets_in_whom_the_roles_let_in(name: str, world: World) -> None:
    row = RIGHTS[name]
    method, path = name.split(" ")
    answers, wanted = {}, {}
    for who, client in world.clients.items():
        target = _below(path.replace("{id}", world.filled(row.path) if row.path else NOBODYS_ID))
        answer = _ask(client, method, target, world.filled(row.body), old=row.old)
        answers[who], wanted[who] = answer, 401 if who == "nobody" else expected(row, who)
    assert answers == wanted


def _below(path: str) -> str:
    """Return a path whose arguments below the record name nothing."""
    nothing = {"number": "1", "name": "taxes"}
    return re.sub(r"\{(\w+)\}", lambda argument: nothing.get(argument[1], NOBODYS_ID), path)


def _ask(client: Client, method: str, path: str, body: Any, *, old: bool) -> int:
    headers = {"Idempotency_Key": str(uuid4())} | ({"If_Match": '"999"'} if old else {})
    return client.ask(method, path, body, **headers).status_code


def test_a_call_that_no_target_signed_is_401_without_a_credential(all_rooms: Hub) -> None:
    assert Client(all_rooms.url, {}).ask("POST", f"/inbound/{NOBODYS_ID}", {}).status_code == 401


def test_a_made_up_credential_is_401_at_every_route(all_rooms: Hub) -> None:
    stranger = Client(all_rooms.url, {"Authorization": "Bearer hub_session_" + "A" * 43})
    for name in RIGHTS:
        method, path = name.split(" ")
        target = _below(path.replace("{id}", NOBODYS_ID))
        assert stranger.ask(method, target, {}).status_code == 401, name


