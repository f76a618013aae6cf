"""A target's call reaches the service byte for byte, without a credential, whatever its content is."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import eventlet
import pytest
from werkzeug.test import Client

from chassis.database import new_id
from contracts import integrations
from contracts.errors import Unauthenticated
from contracts.inbound import Received
from gateway.application import Application
from gateway.auth import Authenticator
from gateway.routes import inbound
from gateway.settings import GatewaySettings
from tests.unit.gateway.parcels import Answered, knows_one, problem_of

ID = new_id()


@dataclass
class Integrations:
    """Stands where the service would."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None

    def call(self, operation: Any, request: dict[str, Any], **_: Any) -> Answered:
        assert operation is integrations.RECEIVE_INBOUND
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        return Answered({"changes": 1, "known": False}, schema=Received)


@pytest.fixture
def service() -> Integrations:
    return Integrations()


@pytest.fixture
def http(tmp_path: Path, service: Integrations) -> Client:
    settings = replace(GatewaySettings(room="gateway", home=tmp_path), max_body_bytes=4096)
    return Client(Application(inbound.ROUTES, (), settings, Authenticator(knows_one, held_s=0.5, most=100),
                              lambda work: work(service), eventlet.Timeout))


def test_the_bytes_and_headers_arrive_as_they_were_signed(http: Client, service: Integrations) -> None:
    body = b'{"a": 1 }\r\n\xff'
    answer = http.post(f"/api/v1/inbound/{ID}", data=body, headers={
        "Content-Type": "application/x-anything", "X-Hook-Signature": "abc", "Cookie": "session=secret"})

    assert (answer.status_code, answer.json) == (200, {"changes": 1, "known": False})
    [asked] = service.asked
    assert base64.b64decode(asked["body"]) == body
    assert asked["headers"]["x-hook-signature"] == "abc"
    assert "cookie" not in asked["headers"]
    assert asked["connection_id"] == ID


def test_a_message_that_is_not_signed_is_401(http: Client, service: Integrations) -> None:
    service.error = Unauthenticated("The message is not signed as this connection's target signs")

    problem_of(http.post(f"/api/v1/inbound/{ID}", data=b"{}"), 401, "unauthenticated")


def test_a_message_that_is_too_large_reaches_nobody(http: Client, service: Integrations) -> None:
    problem_of(http.post(f"/api/v1/inbound/{ID}", data=b"x" * 5000), 413, "content_too_large")
    assert service.asked == []
