"""The served document against the served API: schemathesis with every check on and a bounded number of examples.

What it sends is made from the document, valid and broken; the hub behind it is real. No answer may be a server error,
undocumented, or given to somebody who did not sign in.

The examples are the same in every run. `HUB_CONTRACT_EXAMPLES=200 pytest tests/flows/test_api_contract.py` tries more
of them for each operation, which takes longer in proportion.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings

from gateway import openapi
from gateway.routes import ROUTES
from tests.service.gateway.running import Hub

EXAMPLES = int(os.environ.get("HUB_CONTRACT_EXAMPLES", "10"))
REFUSALS = ["2xx", "304", "400", "401", "403", "404", "409", "412", "422", "429"]
"""What valid data may meet: it may name nobody's id, a taken name, an old version, or break a rule across fields."""
CHECKS = {
    "positive_data_acceptance": {"expected-statuses": REFUSALS},
    "negative_data_rejection": {"expected-statuses": [
        "400", "401", "403", "404", "406", "412", "414", "415", "422", "428", "431"]},
    "missing_required_header": {"expected-statuses": ["400", "401", "428"]},
}


@pytest.fixture(scope="module")
def hub(all_rooms: Hub) -> Hub:
    """The rooms as processes; what is sent is signed in as their administrator."""
    SignedIn.header = str(all_rooms.http.headers["Authorization"])
    return all_rooms


DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi.document(ROUTES)))
api = schemathesis.openapi.from_dict(DOCUMENT, config=schemathesis.Config.from_dict({"checks": CHECKS}))


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
