"""What is kept open to a target is let go when its settings or credential change, and not under a call's feet."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from hub_adapter.client import Transport
from hub_adapter.port import Context, Write, Written
from services.integrations.engine.targets import Targets
from services.integrations.models import Connection
from tests.service.integrations.conftest import Hub
from tests.support.fake_target import FakeAdapter, FakeTarget
from tests.support.processes import eventually


def replaced(hub: Hub, targets: Targets, connection_id: str) -> None:
    """Raise the setup version, as new settings do, and ask for the target again."""
    with hub.db.write() as session:
        session.execute(sa.update(Connection).values(setup_version=Connection.setup_version + 1))
    with hub.db.read() as session:
        targets.load(session, connection_id)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[Transport]:
    """The transports that have been closed."""
    seen: list[Transport] = []
    close = Transport.close

    def noted(self: Transport) -> None:
        seen.append(self)
        close(self)

    monkeypatch.setattr(Transport, "close", noted)
    return seen


def test_a_target_that_is_replaced_is_closed(hub: Hub, target: FakeTarget, closed: list[Transport]) -> None:
    connection_id = hub.connect(target, "customer")
    closed.clear()
    targets = Targets(hub.keyring)
    with hub.db.read() as session:
        old = targets.load(session, connection_id)
        assert targets.load(session, connection_id) is old
    assert closed == []

    replaced(hub, targets, connection_id)

    assert closed == [old.line.transport]


def test_as_many_connections_are_kept_open_as_calls_may_be_in_flight(hub: Hub, target: FakeTarget) -> None:
    connection_id = hub.connect(target, "customer", max_in_flight=40)
    targets = Targets(hub.keyring)
    with hub.db.read() as session:
        assert targets.load(session, connection_id).line.transport.policy.pool_size == 40
    targets.ready(connection_id).replace()


def test_a_target_that_is_replaced_under_calls_is_closed_after_the_last_of_them(
    hub: Hub, target: FakeTarget, closed: list[Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection_id = hub.connect(target, "customer")
    closed.clear()
    begun, write = [], FakeAdapter.write
    may_end = {name: threading.Event() for name in ("first", "last")}

    def slow(self: FakeAdapter, ctx: Context, entity: str, cmd: Write) -> Written:
        begun.append(cmd.local_id)
        may_end[cmd.body["name"]].wait(10)
        return write(self, ctx, entity, cmd)

    monkeypatch.setattr(FakeAdapter, "write", slow)
    hub.run()
    first, last = hub.customer(name="first"), hub.customer(name="last")
    eventually(lambda: len(begun) == 2)
    old = hub.engine.targets.ready(connection_id)

    replaced(hub, hub.engine.targets, connection_id)
    may_end["first"].set()
    hub.until(first, "delivered")
    assert closed == []

    may_end["last"].set()
    hub.until(last, "delivered")
    assert closed == [old.line.transport]
