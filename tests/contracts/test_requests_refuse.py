"""A request refuses what it does not know, down to the last nested object; a record ignores it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from marshmallow import RAISE, Schema, fields

import contracts
from contracts import connections, customers, roles, sales
from contracts.errors import Invalid
from contracts.operation import Operation
from contracts.schema import Record, Request, load

ID = "0193a8f2-6c1d-7e4b-9a52-3f8e1c7d2b90"


def operations() -> list[Operation]:
    """Every operation of every contract."""
    names = [module.name for module in pkgutil.iter_modules(contracts.__path__)]
    modules = [importlib.import_module(f"contracts.{name}") for name in names]
    return [operation for module in modules for operation in getattr(module, "OPERATIONS", ())]


def nested(schema: Schema, pointer: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield each schema that a request is made of, and where."""
    yield pointer, schema
    for name, field in schema.fields.items():
        inner = field.inner if isinstance(field, fields.List) else field
        if isinstance(inner, fields.Nested):
            yield from nested(inner.schema, f"{pointer}/{name}")


@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.routing_key)
def test_no_part_of_a_request_lets_an_unknown_field_pass(operation: Operation) -> None:
    assert {pointer: part.unknown for pointer, part in nested(operation.request()) if part.unknown != RAISE} == {}


@pytest.mark.parametrize(("asked", "kept", "name"), [
    (customers.CustomerChanges, customers.Customer, "address"),
    (customers.CustomerChanges, customers.Customer, "invoice"),
    (sales.OrderChanges, sales.Order, "ship_to"),
])
def test_a_nested_object_is_strict_when_asked_and_lenient_when_told(
    asked: type[Request], kept: type[Record], name: str
) -> None:
    with pytest.raises(Invalid) as refused:
        load(asked, {name: {"unicorn": "1"}})
    assert refused.value.fields["errors"] == [
        {"pointer": f"/{name}/unicorn", "code": "unknown_field", "message": "Unknown field."}]
    told = kept(only=(name,)).load({name: {"unicorn": "1"}})
    assert "unicorn" not in told[name]


def test_a_refused_entry_is_told_at_its_own_name() -> None:
    secrets = {"key": 1, "x" * 61: "y"}
    with pytest.raises(Invalid) as caught:
        load(connections.PutCredential, {"id": ID, "secrets": secrets})
    assert {one["pointer"] for one in caught.value.fields["errors"]} == {"/secrets/key", "/secrets/" + "x" * 61}
    depths = {"order": {"read": "none of these", "Wr!te": "all"}}
    with pytest.raises(Invalid) as caught:
        load(roles.CreateRole, {"name": "desk", "title": "Desk", "depths": depths})
    assert {one["pointer"] for one in caught.value.fields["errors"]} == {"/depths/order/read", "/depths/order/Wr!te"}
