"""A route is switched on for the first time: would the target have twice what it had before the hub came?"""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import new_id, utcnow
from contracts.errors import Conflict, Invalid
from services.integrations.engine import gaps
from services.integrations.models import Route, Run
from services.integrations.operations import routes
from tests.service.integrations.conftest import ADMIN, Hub
from tests.support.fake_target import FakeTarget

pytestmark = pytest.mark.parametrize("db_uri", ["sqlite"], indirect=True)
TOLD: dict[str, Any] = {"without_matching": True, "reason": "what it has is not ours"}


def drafted(hub: Hub, target: FakeTarget, entity: str = "customer", *, adapter: str = "fake_listed",
            direction: str = "push") -> str:
    """Draft a route to a target of which nobody knows what it has; return its id."""
    asked = {"connection_id": hub.connect(target, adapter=adapter), "entity": entity, "direction": direction}
    with hub.db.write() as session:
        return routes.create(session, asked, by=ADMIN).id


def activated(hub: Hub, route_id: str, **told: Any) -> str:
    asked = {"id": route_id, **told}
    return str(gaps.activate(hub.db, hub.keyring, asked, 10, by=ADMIN, keep=lambda *_: None)["state"])


def turned(hub: Hub, route_id: str, direction: str) -> None:
    [route] = hub.rows(Route, Route.id == route_id)
    asked = {"id": route_id, "expected_version": route.version, "changes": {"direction": direction}}
    with hub.db.write() as session:
        routes.change(session, asked, by=ADMIN)


def matched(hub: Hub, route_id: str) -> None:
    [route] = hub.rows(Route, Route.id == route_id)
    with hub.db.write() as session:
        session.execute(sa.insert(Run), {
            "id": new_id(), "connection_id": route.connection_id, "entity": route.entity, "kind": "match",
            "state": "completed", "filter": {}, "options": {}, "counts": {}, "position": {}, "reason": "",
            "created_by": ADMIN.id, "created_at": utcnow(), "due_at": utcnow()})


def test_customers_are_not_pushed_to_a_target_that_has_some_before_a_match_is_completed(
    hub: Hub, target: FakeTarget
) -> None:
    target.put("customer", "K-1", {"name": "theirs"})
    route_id = drafted(hub, target)
    with pytest.raises(Conflict, match="run a match over customer first, or set without_matching") as refused:
        activated(hub, route_id)
    assert refused.value.fields["needs"] == "match"

    matched(hub, route_id)

    assert activated(hub, route_id) == "active"


def test_a_target_that_has_none_needs_no_match(hub: Hub, target: FakeTarget) -> None:
    assert activated(hub, drafted(hub, target)) == "active"


def test_a_target_that_does_not_list_what_it_has_may_have_some(hub: Hub, target: FakeTarget) -> None:
    route_id = drafted(hub, target)
    target.fail(method="GET", status=500)
    with pytest.raises(Conflict, match="run a match"):
        activated(hub, route_id)


def test_who_says_that_nothing_there_is_ours_says_why(hub: Hub, target: FakeTarget) -> None:
    target.put("customer", "K-1", {"name": "theirs"})
    route_id = drafted(hub, target)
    with pytest.raises(Invalid):
        activated(hub, route_id, without_matching=True, reason="")

    assert activated(hub, route_id, **TOLD) == "active"
    with hub.db.write() as session:
        routes.deactivate(session, {"id": route_id}, by=ADMIN)
    assert activated(hub, route_id) == "active", "it has been said"


def test_what_was_said_when_a_route_was_switched_on_is_asked_anew_before_a_backfill(
    hub: Hub, target: FakeTarget
) -> None:
    route_id = drafted(hub, target)
    activated(hub, route_id, **TOLD)
    [route] = hub.rows(Route, Route.id == route_id)

    with pytest.raises(Conflict, match=r"run a match .* or set options.without_matching and say why") as refused:
        hub.start_run(route.connection_id, "backfill")
    assert refused.value.fields["needs"] == "match"
    assert hub.start_run(route.connection_id, "backfill", **TOLD)


@pytest.mark.parametrize(("entity", "adapter"), [("order", "fake_listed"), ("customer", "fake")])
def test_what_cannot_be_matched_is_not_asked_for(hub: Hub, target: FakeTarget, entity: str, adapter: str) -> None:
    target.put(entity, "K-1", {"name": "theirs"})
    assert activated(hub, drafted(hub, target, entity, adapter=adapter)) == "active"


def test_an_order_takes_its_customer_along_and_waits_for_the_match_of_customers(hub: Hub, target: FakeTarget) -> None:
    target.put("customer", "K-1", {"name": "theirs"})
    route_id = drafted(hub, target, "order")
    with pytest.raises(Conflict, match="run a match over customer first"):
        activated(hub, route_id)

    [route] = hub.rows(Route, Route.id == route_id)
    hub.route(route.connection_id, "customer")

    assert activated(hub, route_id) == "active"


def test_a_route_that_is_turned_to_push_while_it_is_switched_on_stays_off(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.put("customer", "K-1", {"name": "theirs"})
    route_id = drafted(hub, target, adapter="two_way", direction="pull")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(gaps, "_required", lambda *_: turned(hub, route_id, "both"))
        with pytest.raises(Conflict, match="changed while it was checked"):
            activated(hub, route_id)

    with pytest.raises(Conflict, match="run a match"):
        activated(hub, route_id)


def test_a_route_that_is_turned_to_push_is_as_new(hub: Hub, target: FakeTarget) -> None:
    target.put("customer", "K-1", {"name": "theirs"})
    route_id = drafted(hub, target, adapter="two_way", direction="pull")
    assert activated(hub, route_id) == "active"
    with pytest.raises(Conflict, match="switch the route off before you turn it"):
        turned(hub, route_id, "both")
    with hub.db.write() as session:
        routes.deactivate(session, {"id": route_id}, by=ADMIN)
    turned(hub, route_id, "both")

    with pytest.raises(Conflict, match="run a match"):
        activated(hub, route_id)
    assert activated(hub, route_id, **TOLD) == "active"
