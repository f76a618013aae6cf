"""Both ends of every event: who announces it, and that somebody listens where somebody must."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from contracts.event import EventType
from tests.support.rooms import SERVICES

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tuple(importlib.import_module(f"contracts.{room}") for room in SERVICES)


def heard() -> set[str]:
    """The types of all events that some room of this checkout hears."""
    rooms = [f"services.{folder.parent.name}.service" for folder in (ROOT / "services").glob("*/service.py")]
    found = set()
    for name in [*rooms, "gateway.service"]:
        for _, method in inspect.getmembers(importlib.import_module(name).SERVICE, inspect.isfunction):
            for entrypoint in getattr(method, "nameko_entrypoints", ()):
                if isinstance(getattr(entrypoint, "event", None), EventType):
                    found.add(entrypoint.event.type)
    return found


def test_an_event_that_expects_a_listener_has_one() -> None:
    expected = {event.type for contract in CONTRACTS for event in contract.EVENTS if event.expects_listener}
    assert expected - heard() == set()


def test_nobody_waits_for_an_event_that_is_never_announced() -> None:
    announced = {event.type for contract in CONTRACTS for event in contract.EVENTS}
    assert heard() - announced == set()


def test_every_event_belongs_to_the_service_whose_contract_holds_it() -> None:
    for contract in CONTRACTS:
        assert {event.service for event in contract.EVENTS} <= {contract.SERVICE}
