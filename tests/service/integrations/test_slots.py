"""Slots of a target that takes its time stay in use, also while a turn writes."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from hub_adapter.port import Context, Write, Written
from services.integrations.operations import claims
from tests.service.integrations.conftest import Hub
from tests.support.fake_target import FakeAdapter, FakeTarget


def test_a_call_that_comes_back_while_a_turn_writes_passes_its_slot_on_before_the_turn_ends(
    hub: Hub, target: FakeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str] = []
    meanwhile: list[int] = []
    answered = threading.Event()
    really_claim = claims.claim

    def write(_self: FakeAdapter, _ctx: Context, _entity: str, cmd: Write) -> Written:
        began.append(cmd.local_id)
        if len(began) == 1:
            assert answered.wait(30)
        else:
            time.sleep(0.015)
        return Written(external_id=cmd.local_id, remote_version="1")

    def claim(*args: Any) -> Any:
        if len(began) < 3 or answered.is_set() or not args[2]:
            return really_claim(*args)
        before = len(began)
        answered.set()
        claimed = really_claim(*args)
        meanwhile.append(len(began) - before)
        return claimed

    monkeypatch.setattr(FakeAdapter, "write", write)
    monkeypatch.setattr(claims, "claim", claim)
    id = hub.connect(target, "customer", max_in_flight=2)
    hub.engine.dispatcher._flights._took[id] = 0.0
    customers = [hub.customer() for _ in range(24)]
    hub.run()

    for customer in customers:
        hub.until(customer, "delivered")

    [called_meanwhile] = meanwhile
    assert called_meanwhile > 0
    assert sorted(began) == sorted(customers)
