"""Both ends of every event read its golden sample: what was said once is understood for ever.

`samples/<type>.v<schemaversion>.json` is an event as it travelled when that version was current. A sample is never
edited; a new schema version adds one. Sensitive fields travel sealed, here by a codec that only marks them.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import contracts
from contracts import schema
from contracts.envelope import Envelope
from contracts.event import EventType
from contracts.in_clear import in_clear
from contracts.schema import pack, unpack

SAMPLES = Path(__file__).parent / "samples"


def event_types() -> list[EventType]:
    """Every event type of every contract."""
    names = [module.name for module in pkgutil.iter_modules(contracts.__path__)]
    modules = [importlib.import_module(f"contracts.{name}") for name in names]
    return [event for module in modules for event in getattr(module, "EVENTS", ())]


EVERY_VERSION = [pytest.param(event, version, id=f"{event.type}.v{version}")
                 for event in event_types() for version in range(1, event.schemaversion + 1)]


class _Marker:
    """Marks what would be sealed."""

    def seal(self, text: str, purpose: str) -> str:
        return f"sealed:{purpose}:{text}"

    def open(self, sealed: str, purpose: str) -> str:
        if not sealed.startswith(f"sealed:{purpose}:"):
            raise ValueError("in clear")
        return sealed.removeprefix(f"sealed:{purpose}:")


@pytest.fixture(autouse=True)
def _marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_codec", _Marker())


def sample(event: EventType, version: int) -> dict[str, Any]:
    """Return the golden sample of one version."""
    file = SAMPLES / f"{event.type}.v{version}.json"
    assert file.exists(), f"{event.type} has no golden sample of version {version}: add {file.name}"
    wire: dict[str, Any] = json.loads(file.read_text())
    return wire


@pytest.mark.parametrize(("event", "version"), EVERY_VERSION)
def test_a_listener_of_today_reads_every_version_ever_sent(event: EventType, version: int) -> None:
    envelope = Envelope.from_wire(sample(event, version))
    assert (envelope.type, envelope.source, envelope.schemaversion) == (event.type, f"/{event.service}", version)
    assert unpack(event.data, envelope.data)


@pytest.mark.parametrize(("event", "version"), EVERY_VERSION)
def test_a_listener_of_any_version_finds_every_field_in_what_is_sent_today(event: EventType, version: int) -> None:
    said = sample(event, version)
    again = pack(event.data, unpack(event.data, said["data"]))
    assert list(_missing(said["data"], again)) == []


@pytest.mark.parametrize(("event", "version"), EVERY_VERSION)
def test_a_record_opened_without_a_check_is_the_record_that_was_checked(event: EventType, version: int) -> None:
    checked = unpack(event.data, sample(event, version)["data"])
    assert in_clear(event.data, pack(event.data, checked)) == schema.dump(event.data, checked)


def _missing(old: Any, new: Any, at: str = "") -> Iterator[str]:
    """Yield where `new` lacks or changes something of `old`; more fields are welcome."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            yield from _missing(value, new[key], f"{at}/{key}") if key in new else [f"{at}/{key}"]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _missing(before, after, f"{at}/{index}")
    elif old != new:
        yield f"{at}: {old!r} became {new!r}"


@pytest.mark.parametrize(("event", "version"), EVERY_VERSION)
def test_a_listener_ignores_what_a_newer_sender_adds(event: EventType, version: int) -> None:
    wire = sample(event, version)
    newer = wire | {"extension": "x", "data": wire["data"] | {"added_later": 1}}
    assert unpack(event.data, Envelope.from_wire(newer).data) == unpack(event.data, wire["data"])


def test_no_sample_is_left_of_an_event_that_is_gone() -> None:
    known = {f"{event.type}.v{version}.json"
             for event in event_types() for version in range(1, event.schemaversion + 1)}
    assert {file.name for file in SAMPLES.glob("*.json")} <= known


def test_every_event_type_has_a_name_and_a_place_of_its_own() -> None:
    types = [event.type for event in event_types()]
    assert len(types) == len(set(types))
