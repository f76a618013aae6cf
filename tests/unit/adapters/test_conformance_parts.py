"""The parts of the conformance kit: its proxy is no more than a proxy, and its report says what was shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from hub_adapter.conformance.outcome import Outcome
from hub_adapter.conformance.proxy import FaultProxy
from hub_adapter.conformance.records import RecordsAdapter
from hub_adapter.conformance.report import Check, SuiteReport
from hub_adapter.conformance.system import altered, differences
from hub_adapter.port import AT_LEAST_ONCE, EFFECTIVELY_ONCE, Capability
from tests.support.scripted_http import ScriptedServer, answer


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    proxy = FaultProxy()
    yield proxy
    proxy.close()


def test_what_goes_through_the_proxy_arrives_as_it_was_sent(proxy: FaultProxy) -> None:
    with ScriptedServer(lambda seen: answer(207, "多".encode(), ['ETag: "e1"', "Date: then"])) as server:
        proxy.upstream = server.url
        url = f"{proxy.url}/a%20b/?q=1"
        reply = requests.request("PROPFIND", url, data=b"<x/>", headers={"Depth": "1"}, timeout=20)
        (seen,) = server.requests
    assert (seen.method, seen.path, seen.body, seen.headers["depth"]) == ("PROPFIND", "/a%20b/?q=1", b"<x/>", "1")
    assert seen.headers["host"] == server.url.removeprefix("http://")
    assert (reply.status_code, reply.content, reply.headers["ETag"]) == (207, "多".encode(), '"e1"')
    assert reply.headers["Date"] == "then"


def test_a_fault_befalls_the_request_it_is_meant_for(proxy: FaultProxy) -> None:
    with ScriptedServer() as server:
        proxy.upstream = server.url
        proxy.fail(method="GET", skip=1, status=429, headers={"Retry-After": "7"})
        sent = ("GET", "PUT", "GET", "GET")
        statuses = [requests.request(method, proxy.url, timeout=20).status_code for method in sent]
        assert (statuses, len(server.requests)) == ([200, 200, 429, 200], 3)
        proxy.fail(drop="after")
        with pytest.raises(requests.ConnectionError):
            requests.put(proxy.url, timeout=20)
        assert len(server.requests) == 4, "it is served, and only its answer is lost"


def test_an_altered_credential_keeps_its_form() -> None:
    assert altered("09af:zZ-é") == "10ba:gG-é"


def test_what_was_not_expected_is_no_difference_and_what_is_missing_is_null() -> None:
    told = {"a": {"b": 1, "theirs": 2}, "theirs": 3}
    assert differences({"a": {"b": 1}, "c": None}, told) == []
    assert differences({"a": {"b": 2}, "d": 1}, told) == ["/a/b", "/d"]


def report(**outcomes: Outcome) -> SuiteReport:
    """A report on the kit's own adapter in which the named capabilities were looked at."""
    told = SuiteReport(RecordsAdapter.spec)
    for name, outcome in outcomes.items():
        told.checks[name] = Check(name=name, of=None, outcome=outcome, message="", seconds=0.0,
                                  proves=Capability(name) if name in set(Capability) else None, once=True)  # fmt: skip
    return told


def test_the_guarantee_is_earned_by_what_was_shown_and_lost_by_one_doubled_record() -> None:
    assert report().earned == AT_LEAST_ONCE
    assert report(find_by_local_key=Outcome.PROVEN).earned == EFFECTIVELY_ONCE
    assert report(find_by_local_key=Outcome.NOT_SHOWN).earned == AT_LEAST_ONCE
    assert report(find_by_local_key=Outcome.PROVEN, repeated=Outcome.FAILED).earned == AT_LEAST_ONCE
    assert report(batch=Outcome.PROVEN).proven == frozenset(), "what is not declared is not counted on"
