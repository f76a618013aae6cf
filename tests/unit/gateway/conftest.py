"""The gateway's WSGI application with a caller that stands where the services would."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import eventlet
import pytest
from werkzeug.test import Client, TestResponse

from chassis.health import Health
from gateway import pages
from gateway.application import Application
from gateway.auth import Authenticator
from gateway.settings import GatewaySettings
from tests.unit.gateway.parcels import ROUTES, SIGNED_IN, FakeServices, knows_one


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    return replace(GatewaySettings(room="gateway", home=tmp_path), max_body_bytes=4096, max_json_depth=5,
                   cors_origins=("https://crm.example",))


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


@pytest.fixture
def application(settings: GatewaySettings, services: FakeServices) -> Application:
    authenticator = Authenticator(knows_one, held_s=0.5, most=100)
    return Application(ROUTES, pages.all_pages(ROUTES, settings, Health()), settings, authenticator,
                       lambda work: work(services), eventlet.Timeout)


@pytest.fixture
def http(application: Application) -> Client:
    return Client(application)


Sends = Callable[..., TestResponse]


@pytest.fixture
def send(http: Client) -> Sends:
    """`send(method, path, body=None, **headers)`, signed in; header names with underscores."""

    def _send(method: str, path: str, body: Any = None, *, signed_in: bool = True, **headers: str) -> TestResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if body is not None:
            named.setdefault("Content-Type", "application/json")
        answer: TestResponse = http.open(f"/api/v1{path}" if path.startswith("/") else path[1:], method=method,
                                         data=data, headers={**(SIGNED_IN if signed_in else {}), **named})
        return answer

    return _send
