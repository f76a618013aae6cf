"""The table of routes against the contracts: nothing is forgotten, nothing is reached twice."""

from __future__ import annotations

import importlib
import pkgutil
import re

import contracts
from contracts.operation import Operation
from gateway import openapi
from gateway.routes import ROUTES, UNROUTED, routed


def all_operations() -> list[Operation]:
    modules = [importlib.import_module(f"contracts.{found.name}") for found in pkgutil.iter_modules(contracts.__path__)]
    return [operation for module in modules for operation in getattr(module, "OPERATIONS", ())]


def test_every_operation_for_callers_from_outside_has_a_route_or_a_reason() -> None:
    missing = {o.name for o in all_operations() if not o.internal and o not in routed()} - set(UNROUTED)
    assert missing == set()


def test_reasons_are_given_only_for_what_has_no_route() -> None:
    assert not {operation.name for operation in routed()} & set(UNROUTED)
    assert set(UNROUTED) <= {operation.name for operation in all_operations()}


def test_an_internal_operation_is_reached_only_through_a_public_route() -> None:
    assert all(route.public == route.operation.internal for route in ROUTES)


def test_no_two_routes_are_the_same() -> None:
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


def test_paths_are_kebab_case_nouns() -> None:
    for route in ROUTES:
        for step in re.sub(r"\{[a-z_]+\}", "x", route.path).strip("/").split("/"):
            assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", step), route.path


def test_what_changes_something_is_never_a_get_and_what_reads_is() -> None:
    for route in ROUTES:
        assert route.operation.mutates == (route.method != "GET"), route.path


def test_every_post_takes_a_key_but_signing_in_and_the_calls_of_targets() -> None:
    without = [route.path for route in ROUTES if route.method == "POST" and not route.takes_key]
    assert without == ["/sessions", "/inbound/{connection_id}"]
    document = openapi.document(ROUTES)
    assert "Takes no `Idempotency-Key`" in document["paths"]["/api/v1/sessions"]["post"]["description"]


def test_a_changed_record_with_a_version_is_changed_under_if_match() -> None:
    for route in ROUTES:
        if route.method == "PATCH":
            assert route.needs_version, route.path
