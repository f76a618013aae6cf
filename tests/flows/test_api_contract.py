"""The served document against the served API: schemathesis with every check on and a bounded number of examples.

What it sends is made from the document, valid and broken; the hub behind it is real. No answer may be a server error,
undocumented, or given to somebody who did not sign in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings

from gateway import openapi
from gateway.routes import ROUTES
from tests.service.gateway.running import Hub
from tests.support.broker import Management
from tests.support.processes import Processes

EXAMPLES = 10
ROOMS = {
    "identity": ("sessions", "login-events", "me", "users", "teams", "roles", "api-keys"),
    "customers": ("customers", "contacts"),
}
"""The rooms that run here, and the groups of the document that they answer."""
REFUSALS = ["2xx", "304", "400", "401", "403", "404", "409", "412", "422", "429"]
"""What valid data may meet: it may name nobody's id, a taken name, an old version, or break a rule across fields."""
CHECKS = {
    "positive_data_acceptance": {"expected-statuses": REFUSALS},
    "negative_data_rejection": {"expected-statuses": [
        "400", "401", "403", "404", "406", "412", "414", "415", "422", "428", "431"]},
    "missing_required_header": {"expected-statuses": ["400", "401", "428"]},
}


@pytest.fixture(scope="module")
def hub(broker: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The rooms as processes on a virtual host of their own."""
    broker.start()
    vhost = broker.create_vhost()
    home = tmp_path_factory.mktemp("hub")
    running = Hub(home, vhost.amqp_uri, Processes(home))
    try:
        running.start(*ROOMS)
        SignedIn.header = str(running.http.headers["Authorization"])
        yield running
    finally:
        running.processes.stop_all()
        broker.delete_vhost(vhost.name)


DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi.document(ROUTES)))
api = schemathesis.openapi.from_dict(DOCUMENT, config=schemathesis.Config.from_dict({"checks": CHECKS})).include(
    tag=[tag for tags in ROOMS.values() for tag in tags])


@api.auth()
class SignedIn:
    """Signs in what schemathesis sends, except where it tries what happens without."""

    header = ""

    def get(self, _case: schemathesis.Case, _context: schemathesis.AuthContext) -> str:
        """Return the header of the session."""
        return SignedIn.header

    def set(self, case: schemathesis.Case, data: str, _context: schemathesis.AuthContext) -> None:
        """Put it on."""
        case.headers["Authorization"] = data


def test_the_document_is_served_as_it_is_made_from_the_routes(hub: Hub) -> None:
    assert requests.get(f"{hub.url}/openapi.json", timeout=10).json() == DOCUMENT


@api.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
          suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_documented(case: schemathesis.Case, hub: Hub) -> None:
    case.call_and_validate(base_url=hub.url)
