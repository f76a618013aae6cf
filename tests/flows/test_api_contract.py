"""The served document against the served API: schemathesis with every check on and a bounded number of examples.

What it sends is made from the document, valid and broken; the hub behind it is real. No answer may be a server error,
undocumented, or given to somebody who did not sign in.

The examples are the same in every run. Each way in which each part of a request can be right or wrong is tried with one
value. `HUB_CONTRACT_EXAMPLES=200 pytest tests/flows/test_api_contract.py` tries all values that schemathesis knows, and
as many random requests for each operation, which takes longer in proportion.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.generation.meta import CoveragePhaseData

from gateway import openapi
from gateway.routes import ROUTES
from tests.service.gateway.running import Hub

USUAL = 5
EXAMPLES = int(os.environ.get("HUB_CONTRACT_EXAMPLES", USUAL))
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


TRIED: set[tuple[str, ...]] = set()
"""What was sent: operation, method, whether right or wrong, how, and in which part of the request."""


def is_another_way(case: schemathesis.Case) -> bool:
    """Return whether a request is random, or right or wrong as none before it.

    Schemathesis goes through the document and makes up to thirty requests that differ in one value alone, such as a
    number, a list and a truth value where a text belongs.
    """
    assert case.meta is not None
    way = case.meta.phase.data
    if EXAMPLES > USUAL or not isinstance(way, CoveragePhaseData):
        return True
    told = (case.operation.label, case.method, case.meta.generation.mode, way.scenario, way.parameter_location,
            way.parameter, way.location)
    key = tuple(str(part) for part in told)
    if key in TRIED:
        return False
    TRIED.add(key)
    return True


def test_the_document_is_served_as_it_is_made_from_the_routes(hub: Hub) -> None:
    assert requests.get(f"{hub.url}/openapi.json", timeout=10).json() == DOCUMENT


@api.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
          suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_documented(case: schemathesis.Case, hub: Hub) -> None:
    if is_another_way(case):
        case.call_and_validate(base_url=hub.url)
