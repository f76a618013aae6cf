"""A target with no room for our id: a record is found by what it was sent with, an address say, and by nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from hub_adapter.port import Capability, Context, Remote, Write, Written
from services.integrations.adapters import registry
from services.integrations.models import Binding
from tests.service.integrations.conftest import Hub, on_sqlite
from tests.service.integrations.test_consent import GRANTED, REFUSED, subscriber
from tests.service.integrations.test_two_ways import connect
from tests.support.fake_target import FakeTarget
from tests.support.two_way import TwoWayAdapter


class ByAddressAdapter(TwoWayAdapter):
    """Knows contacts by their address alone."""

    spec = replace(TwoWayAdapter.spec, natural_keys={"contact": "email"},
                   capabilities=TwoWayAdapter.spec.capabilities - {Capability.FIND_BY_LOCAL_KEY})

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> list[Remote]:
        rows = self._ask(ctx, "GET", f"/records/{entity}", params={"since": 0, "limit": 100})
        return [Remote(external_id=row["id"], body=row["body"], version=str(row["version"])) for row in rows
                if "email" in keys and row["body"].get("email") == keys["email"]]

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        there = self.find(ctx, entity, {"email": cmd.body["email"]}) if cmd.external_id is None else []
        return super().write(ctx, entity, replace(cmd, external_id=there[0].external_id) if there else cmd)


@pytest.fixture(autouse=True)
def _by_address(monkeypatch: pytest.MonkeyPatch, _fake_adapters: None) -> None:
    monkeypatch.setitem(registry.OURS, "two_way", f"{__name__}:ByAddressAdapter")
    registry.load.cache_clear()


def contact(hub: Hub, id: str, version: int = 1, *, email: str = "lilei@example.com",
            consent: Mapping[str, object] = GRANTED) -> str:
    hub.tell(f"customers.contact.{'created' if version == 1 else 'updated'}", id, version, name="李雷", email=email,
             consent=consent)
    return id


def test_a_first_write_whose_answer_was_lost_is_found_by_the_address_it_went_with_and_taken_back(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "contact")
    hub.run()
    target.fail(method="POST", entity="contact", drop="after")
    hub.until(contact(hub, "li"), "in_doubt")

    contact(hub, "li", 2, email="another@example.com", consent=REFUSED)
    hub.hurry("li")

    hub.until("li", "superseded", "delivered")
    row = subscriber(target)
    assert (row.body["email"], row.body["consent"]["email"]["state"]) == ("lilei@example.com", "refused")
    assert (hub.binding("li").state, hub.binding("li").external_id) == ("tombstoned", row.id)
    assert "lilei" not in str([vars(binding) for binding in hub.rows(Binding)])
    assert hub.ledger(connection_id).balanced


@on_sqlite
def test_what_a_failed_first_write_left_is_found_known_as_ours_and_taken_back(hub: Hub, target: FakeTarget) -> None:
    connect(hub, target, "contact")
    hub.run()
    target.fail(method="POST", entity="contact", status=422, message="the list is closed")
    hub.until(contact(hub, "li"), "dead")
    row = target.put("contact", "theirs", {"email": "lilei@example.com", "consent": GRANTED})

    contact(hub, "li", 2, consent=REFUSED)

    hub.until("li", "dead", "delivered")
    assert row.body["consent"] == {"email": {"state": "refused"}}
    assert [(one.action, one.outcome) for one in hub.attempts("li")[1:]] == [
        ("delete", "found"), ("delete", "succeeded")]
    contact(hub, "li", 3)
    hub.until("li", "dead", "delivered", "delivered")
    assert [(one.id, one.body["consent"]["email"]["state"]) for one in target.of("contact")] == [(row.id, "granted")]


@on_sqlite
def test_somebody_elses_record_under_the_same_address_is_not_taken_back(hub: Hub, target: FakeTarget) -> None:
    connection_id = connect(hub, target, "contact")
    hub.run()
    hub.until(contact(hub, "li"), "delivered")
    hub.until(contact(hub, "han"), "dead")
    assert "belongs to our contact li" in (hub.deliveries("han")[0].last_error or "")

    contact(hub, "han", 2, consent=REFUSED)

    hub.until("han", "dead", "delivered")
    assert subscriber(target).body["consent"]["email"]["state"] == "granted"
    assert (hub.binding("han").state, hub.binding("li").state) == ("unbound", "bound")
    assert hub.ledger(connection_id).balanced


@on_sqlite
def test_what_a_failed_first_write_left_under_an_older_address_is_found_and_gone_on_with(
    hub: Hub, target: FakeTarget
) -> None:
    connection_id = connect(hub, target, "contact")
    hub.run()
    target.fail(method="POST", entity="contact", status=503)
    hub.until(contact(hub, "li"), "retry_wait")
    row = target.put("contact", "arrived", {"name": "李雷", "email": "lilei@example.com", "consent": GRANTED})

    contact(hub, "li", 2, email="another@example.com")
    hub.hurry("li")

    hub.until("li", "superseded", "delivered")
    assert [(one.id, one.body["email"]) for one in target.of("contact")] == [(row.id, "another@example.com")]
    assert [(one.action, one.outcome) for one in hub.attempts("li")] == [
        ("write", "failed"), ("write", "found"), ("write", "succeeded")]
    assert hub.ledger(connection_id).balanced


@on_sqlite
def test_an_older_address_that_is_somebody_elses_does_not_keep_a_record_from_being_made(
    hub: Hub, target: FakeTarget
) -> None:
    connect(hub, target, "contact")
    hub.run()
    hub.until(contact(hub, "li"), "delivered")
    hub.until(contact(hub, "han"), "dead")

    contact(hub, "han", 2, email="han@example.com")

    hub.until("han", "dead", "delivered")
    assert sorted(one.body["email"] for one in target.of("contact")) == ["han@example.com", "lilei@example.com"]
