"""What a person learns about a connection before it is switched on, and what its failures mean."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from hub_adapter.failure import AuthRefused, ErrorClass, TryLater
from hub_adapter.port import Context
from services.integrations.adapters.tryton.adapter import TrytonAdapter
from tests.support.chaos_proxy import ChaosProxy
from tests.support.erp import Erp
from tests.support.processes import free_port
from tests.support.records import a_customer, as_write

Open = Callable[..., Context]


def test_a_good_connection_has_no_problems(adapter: TrytonAdapter, ctx: Open) -> None:
    checked = adapter.check(ctx())
    assert checked.ok, checked.problems


def test_everything_that_is_wrong_is_named_at_once(adapter: TrytonAdapter, ctx: Open, erp: Erp) -> None:
    checked = adapter.check(
        ctx(
            web_shop=99,
            payment_term=98,
            uom=97,
            warehouse=erp.seed["storage"],
            taxes={"VAT13": 1, "VAT6": 96},
            currencies={"USD": erp.seed["currencies"]["CNY"], "EUR": 95},
        )
    )
    assert {problem.field for problem in checked.problems} == {
        "web_shop", "payment_term", "uom", "warehouse", "taxes.VAT6", "currencies.USD", "currencies.EUR",
    }  # fmt: skip
    assert checked.error_class is None


def test_a_warehouse_that_counts_nothing_is_noticed(adapter: TrytonAdapter, ctx: Open, erp: Erp) -> None:
    columns = 'type, input_location, output_location, active, "left", "right", create_uid, create_date'
    name = f"Empty {uuid.uuid4()}"
    erp.alter(
        f"INSERT INTO stock_location (name, storage_location, {columns})"
        f" SELECT CAST(? AS VARCHAR), output_location, {columns} FROM stock_location WHERE id = ?",
        name,
        erp.seed["warehouse"],
    )
    (empty,) = erp.rows("stock.location", [["name", "=", name]], "type")
    checked = adapter.check(ctx(warehouse=empty["id"]))
    assert [problem.field for problem in checked.problems] == ["stock_probe_sku"]
    assert [problem.field for problem in adapter.check(ctx(stock_probe_sku="NONE")).problems] == ["stock_probe_sku"]


def test_settings_that_cannot_be_used_are_named_without_a_call(adapter: TrytonAdapter, ctx: Open) -> None:
    context = ctx(company="one", base_url="erp.example.com")
    assert {problem.field for problem in adapter.check(context).problems} == {"company", "base_url"}
    assert context.http.calls == 0


def test_a_wrong_key_is_an_auth_failure(adapter: TrytonAdapter, ctx: Open) -> None:
    with pytest.raises(AuthRefused):
        adapter.write(ctx(rest_key="f" * 128), "customer", as_write(a_customer()))
    checked = adapter.check(ctx(rest_key="f" * 128))
    assert (checked.error_class, checked.problems[0].field) == (ErrorClass.AUTH, "rest_key")


def test_an_erp_that_is_not_there_is_a_matter_of_time(adapter: TrytonAdapter, ctx: Open) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TryLater):
        adapter.write(ctx(base_url=gone), "customer", as_write(a_customer()))
    assert adapter.check(ctx(base_url=gone)).error_class is ErrorClass.TRANSIENT


def test_a_link_that_is_refused_is_a_matter_of_time(adapter: TrytonAdapter, ctx: Open, erp: Erp) -> None:
    with ChaosProxy(("127.0.0.1", erp.port), mode="refuse") as link, pytest.raises(TryLater):
        adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "customer", as_write(a_customer()))


def test_a_slow_link_is_slow_and_nothing_else(adapter: TrytonAdapter, ctx: Open, erp: Erp) -> None:
    with ChaosProxy(("127.0.0.1", erp.port), delay_s=0.05) as link:
        written = adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "customer", as_write(a_customer()))
    assert not written.adopted


def test_a_database_that_does_not_exist_is_said_to_be_missing(adapter: TrytonAdapter, ctx: Open) -> None:
    checked = adapter.check(ctx(database="nowhere"))
    assert not checked.ok
    assert "nowhere" in checked.problems[0].message


def test_a_target_in_a_network_that_is_not_allowed_is_not_called(adapter: TrytonAdapter, ctx: Open) -> None:
    checked = adapter.check(ctx(allow_private=[]))
    assert not checked.ok
    assert "does not allow" in checked.problems[0].message
