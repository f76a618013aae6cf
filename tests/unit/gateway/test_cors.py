"""Pages of other origins: only those that the operator has named may call, and no cookie is ever asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chassis.config import ConfigError
from gateway import cors, service
from gateway.settings import GatewaySettings
from tests.unit.gateway.parcels import ID, FakeServices, problem_of

Sends = Any
OURS, STRANGE = "https://crm.example", "https://evil.example"
PREFLIGHT = {"Access_Control_Request_Method": "PATCH", "Access_Control_Request_Headers": "authorization,if-match"}


def test_nobody_may_call_unless_the_operator_says_so(tmp_path: Path) -> None:
    assert GatewaySettings(room="gateway", home=tmp_path).cors_origins == ()


def test_a_preflight_needs_no_credential_and_asks_no_service(send: Sends, services: FakeServices) -> None:
    answer = send("OPTIONS", f"/parcels/{ID}", b"x" * 2000, signed_in=False, Origin=OURS, **PREFLIGHT)
    assert (answer.status_code, answer.data, services.asked) == (204, b"", [])
    headers = answer.headers
    assert headers["Access-Control-Allow-Origin"] == OURS
    assert set(headers["Access-Control-Allow-Methods"].split(", ")) == {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH"}
    assert {"Authorization", "If-Match", "Idempotency-Key"} <= set(headers["Access-Control-Allow-Headers"].split(", "))
    assert {"Origin", "Access-Control-Request-Method"} <= set(headers["Vary"].split(", "))


@pytest.mark.parametrize("origin", [STRANGE, "null", "https://crm.example.evil.example", "http://crm.example",
                                    "https://CRM.example", "https://crm.example:8443", "*"])
def test_a_strange_origin_is_told_nothing(send: Sends, origin: str) -> None:
    for method, more in (("GET", {}), ("OPTIONS", PREFLIGHT)):
        headers = send(method, "/parcels", Origin=origin, **more).headers
        assert [name for name, _ in headers if name.startswith("Access-Control")] == []
        assert "Origin" in headers["Vary"]


def test_an_answer_can_be_read_by_the_page_with_all_that_it_says(send: Sends) -> None:
    answer = send("GET", f"/parcels/{ID}", Origin=OURS)
    exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
    assert {"ETag", "Link", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id"} <= exposed
    assert answer.headers["Vary"] == "Accept, Accept-Language, Authorization, Origin"


def test_a_page_can_read_why_it_was_refused(send: Sends) -> None:
    answer = send("GET", f"/parcels/{ID}", signed_in=False, Origin=OURS)
    problem_of(answer, 401, "unauthenticated")
    assert answer.headers["Access-Control-Allow-Origin"] == OURS


def test_cookies_are_never_asked_for(send: Sends) -> None:
    for method, more in (("GET", {}), ("OPTIONS", PREFLIGHT)):
        headers = send(method, "/parcels", Origin=OURS, **more).headers
        assert "Access-Control-Allow-Credentials" not in headers
        assert "Set-Cookie" not in headers


@pytest.mark.parametrize("origin", ["*", "null", "crm.example", "https://crm.example/", "https://*.example",
                                    "https://CRM.example", "https://crm.example:443", "https://a@crm.example", "ftp://x"])
def test_what_no_browser_sends_is_no_origin(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        cors.allowed([OURS, origin])


def test_a_gateway_does_not_start_with_an_origin_that_is_none(tmp_path: Path) -> None:
    settings = replace(GatewaySettings(room="gateway", home=tmp_path), cors_origins=("*",))
    with pytest.raises(ConfigError, match="GATEWAY_CORS_ORIGINS"):
        service.prepare(SimpleNamespace(settings=settings, extra={}))  # type: ignore[arg-type]


def test_the_origins_of_pages_on_a_developers_machine_are_origins() -> None:
    assert cors.allowed(["http://localhost:3000", "http://[::1]:3000"]) == {"http://localhost:3000", "http://[::1]:3000"}
