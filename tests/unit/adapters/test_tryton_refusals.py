"""What Tryton's answers mean, where its status codes mislead; played by a server that says what a real one said."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from hub_adapter.client import HttpPolicy, Transport
from hub_adapter.failure import ErrorClass
from hub_adapter.port import Context, Write
from services.integrations.adapters.tryton.adapter import TrytonAdapter
from services.integrations.adapters.wires.tryton import wire_datetime
from tests.support.scripted_http import Part, ScriptedServer, Seen, answer

HTML = "<!doctype html>\n<html lang=en>\n<title>{0}</title>\n<h1>{0}</h1>\n<p>{1}</p>\n"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def ctx(server: ScriptedServer) -> Iterator[Context]:
    transport = Transport(HttpPolicy(allow_private=("127.0.0.0/8",)))
    yield Context(
        http=transport.session(),
        secrets={"rest_key": "k"},
        config={
            "base_url": server.url,
            "database": "erp",
            "company": 1,
            "web_shop": 1,
            "warehouse": 5,
            "payment_term": 1,
            "uom": 1,
            "currencies": {"CNY": 1},
        },
        clock=lambda: datetime.now(UTC),
        deadline=datetime.now(UTC) + timedelta(seconds=25),
    )
    transport.close()


def customer() -> Write:
    return Write(local_id="c-1", body={"name": "上海"}, idempotency_key="k", source_version=1)


def order() -> Write:
    line = {"sku": "A", "quantity": "1", "unit_price": "1.00"}
    body = {"id": "o-1", "currency": "CNY", "lines": [line]}
    return Write(local_id="o-1", body=body, idempotency_key="k", source_version=1, references={"customer": "3"})


@pytest.mark.parametrize(
    ("status", "body", "to_question", "to_change"),
    [
        (400, '{"status": 400, "message": "A value is required.", "description": ""}', "invalid", "invalid"),
        (401, HTML.format("401 Unauthorized", "wrong credentials"), "auth", "auth"),
        (403, HTML.format("403 Forbidden", "read-protected"), "auth", "invalid"),
        (404, HTML.format("404 Not Found", "not found"), "transient", "not_found"),
        (413, HTML.format("413", "too large"), "invalid", "invalid"),
        (500, HTML.format("500 Internal Server Error", "&#39;nofield&#39;"), "adapter_error", "adapter_error"),
        (500, HTML.format("500 Internal Server Error", "connection closed"), "transient", "transient"),
        (503, HTML.format("503", "could not serialize access due to concurrent update"), "transient", "transient"),
        (503, HTML.format("503", "index row requires 22288 bytes, maximum size is 8191"), "invalid", "invalid"),
        (504, "gateway time-out", "transient", "ambiguous"),
    ],
)
def test_each_answer_of_the_erp_has_its_class(
    server: ScriptedServer, ctx: Context, status: int, body: str, to_question: str, to_change: str
) -> None:
    adapter = TrytonAdapter()
    for searches_fail, expected in ((True, to_question), (False, to_change)):

        def script(seen: Seen, searches_fail: bool = searches_fail) -> list[Part]:
            if "search_read" in seen.path and not searches_fail:
                return answer(body=b"[]")
            return answer(status, body.encode())

        server.script = script
        with pytest.raises(Exception) as raised:  # noqa: PT011 - which class it is, is what is asked
            adapter.write(ctx, "customer", customer())
        assert adapter.classify(raised.value).error_class == expected


def test_every_look_up_sees_inactive_rows_and_names_the_company(server: ScriptedServer, ctx: Context) -> None:
    company = b'[{"id": 1, "currency.": {"code": "CNY"}}]'
    server.script = lambda seen: answer(body=company if "company.company" in seen.path else b"[]")
    TrytonAdapter().find(ctx, "product", {"sku": "A"})
    sent = {
        seen.path.split("/")[-2]: json.loads(base64.urlsafe_b64decode(seen.headers["x-tryton-context"]))
        for seen in server.requests
    }
    assert all((context["active_test"], context["company"]) == (False, 1) for context in sent.values())
    counted_in = sent["product.product"]  # without a place to count in, the ERP would say 0 of everything
    assert (counted_in["locations"], counted_in["stock_skip_warehouse"]) == ([5], False)


@pytest.mark.parametrize(("age_s", "outcome"), [(3, "transient"), (60, "processing")])
def test_a_confirmation_that_may_still_be_at_work_is_left_alone(
    server: ScriptedServer, ctx: Context, age_s: int, outcome: str
) -> None:
    their_now = datetime(2031, 1, 1, tzinfo=UTC)  # far from ours: only the ERP's own clock may be asked
    sale: dict[str, Any] = {
        "id": 9, "number": "1", "reference": None, "web_id": "o-1", "party": 3, "state": "confirmed",
        "shipment_state": "none", "invoice_state": "none", "total_amount": {"decimal": "1.00"},
        "last_modified_at": wire_datetime(their_now - timedelta(seconds=age_s)),
        "currency.": {"code": "CNY"},
        "lines.": [
            {"id": 1, "type": "line", "product.": {"code": "A"}, "quantity": 1.0, "unit_price": {"decimal": "1.00"}}
        ],
    }  # fmt: skip

    def script(seen: Seen) -> list[Part]:
        if seen.path.endswith("/9/process"):
            sale["state"] = "processing"
        body = json.dumps([sale] if "search_read" in seen.path else sale).encode()
        return answer(body=body, headers=[f"Date: {format_datetime(their_now, usegmt=True)}"])

    server.script = script
    adapter = TrytonAdapter()
    try:
        reached = adapter.write(ctx, "order", order()).details["state"]
    except Exception as error:
        failure = adapter.classify(error)
        reached = failure.error_class
        assert (failure.error_class, failure.retry_after_s) == (ErrorClass.TRANSIENT, 5)
    assert reached == outcome
    assert any("/process" in seen.path for seen in server.requests) == (outcome == "processing")
