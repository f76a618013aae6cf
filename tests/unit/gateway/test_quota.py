"""What a client may ask: counted for each apart, told in every answer, refused in a way that says when to come back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import eventlet
import pytest
from werkzeug.test import Client, TestResponse
from werkzeug.wrappers import Request

from chassis.context import Subject
from chassis.health import Health
from contracts.errors import TooManyRequests, Unauthenticated
from gateway import pages
from gateway.application import Application, _client_address
from gateway.auth import Authenticator, Introspected, credential_hash
from gateway.calls import Calls
from gateway.quota import REFUSED_AFTER_S, Policy, Quotas, Share
from gateway.settings import GatewaySettings
from tests.unit.gateway.parcels import ID, ROUTES, FakeServices, problem_of

POLICY = Policy("credential", quota=10, window_s=10, at_once=2)
ALICE, BOB, NOBODY = (f"Bearer hub_live_{name}_0123456789abcdef" for name in ("alice", "bob", "nobody"))


def knows_two(_caller: Calls, digest: str, _request_id: str) -> Introspected:
    """Know Alice's and Bob's credentials."""
    if digest not in (credential_hash(ALICE), credential_hash(BOB)):
        raise Unauthenticated("no such credential")
    return Introspected(Subject("u1", "api_key", "Li Na", via=f"key-{digest[:4]}"), 3600.0)


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.paused_s = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        """Remember that somebody was made to wait; the clock stands still."""
        self.paused_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


Asks = Callable[..., TestResponse]


@pytest.fixture
def ask(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Asks:
    """`ask(credential, path)` of a gateway that lets a credential send 10 requests in 10 s, an address 5."""
    settings = replace(GatewaySettings(room="gateway", home=tmp_path), limit_requests=10, limit_anonymous=5)
    monkeypatch.setattr("gateway.application.Quotas", lambda given: Quotas(given, clock, clock.pause))
    application = Application(ROUTES, pages.all_pages(ROUTES, settings, Health()), settings,
                              Authenticator(knows_two, held_s=0.5, most=100), lambda work: work(FakeServices()),
                              eventlet.Timeout)
    http = Client(application)

    def asked(credential: str | None, path: str = f"/api/v1/parcels/{ID}", method: str = "GET",
              address: str = "192.0.2.7", **headers: str) -> TestResponse:
        signed = {"Authorization": credential} if credential else {}
        answer: TestResponse = http.open(path, method=method, headers={**signed, **headers},
                                         environ_base={"REMOTE_ADDR": address})
        return answer

    return asked


def test_a_quota_is_whole_at_first_runs_out_and_comes_back_evenly() -> None:
    share = Share(POLICY, "k1")
    for _ in range(10):
        share.take(now=0.0)
    for at, wait_s in ((0.0, 1.0), (0.4, 0.6)):
        with pytest.raises(TooManyRequests) as refused:
            share.take(now=at)
        assert refused.value.retry_after_s == pytest.approx(wait_s)
    share.take(now=1.0)
    with pytest.raises(TooManyRequests):
        share.take(now=1.5)
    for _ in range(10):
        share.take(now=30.0)


def test_the_headers_count_down_and_say_when_all_is_back(ask: Asks, clock: Clock) -> None:
    told = [ask(ALICE).headers["RateLimit"] for _ in range(4)]
    assert told == ['"credential";r=10;t=0', '"credential";r=9;t=1', '"credential";r=8;t=2', '"credential";r=7;t=3']
    clock.now += 100
    answer = ask(ALICE)
    assert answer.headers["RateLimit"] == '"credential";r=9;t=1'
    assert answer.headers["RateLimit-Policy"] == '"credential";q=10;w=10, "at-once";q=8;qu="concurrent-requests"'


def test_who_has_used_it_up_is_told_when_to_come_back_and_is_served_then(ask: Asks, clock: Clock) -> None:
    answers = [ask(ALICE) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [200] * 11 + [429]
    problem = problem_of(answers[-1], 429, "too_many_requests")
    assert problem["details"] == {"limit": "credential"}
    assert answers[-1].headers["Retry-After"] == "1"
    assert answers[-1].headers["RateLimit"] == '"credential";r=0;t=1'
    assert clock.paused_s == REFUSED_AFTER_S
    clock.now += 1
    assert ask(ALICE).status_code == 200


def test_the_refusal_speaks_chinese(ask: Asks) -> None:
    for _ in range(11):
        ask(ALICE)
    problem = problem_of(ask(ALICE, **{"Accept-Language": "zh-CN"}), 429, "too_many_requests")
    assert (problem["title"], problem["detail"]) == ("请求过于频繁", "10 秒内的请求超过了 10 个。")


def test_one_credential_does_not_use_up_anothers_quota(ask: Asks) -> None:
    assert ask(BOB).status_code == 200
    assert 429 in {ask(ALICE).status_code for _ in range(20)}
    assert {ask(BOB).status_code for _ in range(9)} == {200}


def test_made_up_credentials_do_not_multiply_a_quota(ask: Asks) -> None:
    statuses = [ask(f"{NOBODY}{number}").status_code for number in range(8)]
    assert statuses == [401] * 5 + [429] * 3
    assert ask(None, "/openapi.json").status_code == 429
    assert ask(f"{NOBODY}8", address="192.0.2.8").status_code == 401


def test_what_does_not_exist_and_what_is_malformed_counts_too(ask: Asks) -> None:
    statuses = [ask(credential, path).status_code
                for credential in (None, "Basic QTpC", ALICE) for path in ("/nowhere", "/api/v1/nowhere")]
    assert statuses == [404] * 5 + [429]


def test_a_credential_that_is_refused_loses_its_own_share(
    ask: Asks, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(ALICE)
    assert '"credential"' in ask(ALICE).headers["RateLimit"]

    def revoked(*_args: object, **_options: object) -> None:
        raise Unauthenticated("revoked", presented=True)

    monkeypatch.setattr(Authenticator, "subject", revoked)
    assert ask(ALICE).status_code == 401
    assert '"address"' in ask(ALICE).headers["RateLimit"]


def test_watching_over_the_gateway_and_asking_for_permission_is_never_refused(ask: Asks) -> None:
    for _ in range(20):
        assert ask(None, "/livez").status_code == 200
        assert ask(None, method="OPTIONS").status_code == 204
    assert "RateLimit" not in ask(None, "/readyz").headers


def test_addresses_of_one_ipv6_network_share_one_quota(tmp_path: Path) -> None:
    quotas = Quotas(GatewaySettings(room="gateway", home=tmp_path))
    assert quotas.share(None, "2001:db8:1:2::1") is quotas.share(None, "2001:db8:1:2:ffff::9")
    assert quotas.share(None, "2001:db8:1:2::1") is not quotas.share(None, "2001:db8:1:3::1")
    assert quotas.share(None, "192.0.2.1") is not quotas.share(None, "192.0.2.2")
    assert quotas.share(None, "fe80::1%eth0").client == "fe80::/64"
    assert quotas.share(None, "unknown: really").client == "unknown: really"


@pytest.mark.parametrize(("written", "client"), [
    ("::ffff:203.0.113.9", "203.0.113.9"), ("203.0.113.9:50211", "203.0.113.9"), ("203.0.113.9", "203.0.113.9"),
    ("[::ffff:203.0.113.9]:443", "203.0.113.9"), ("[2001:db8:1:2::1]:50211", "2001:db8:1:2::/64"),
    ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"), ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
    ("[fe80::1%eth0]", "fe80::/64"),
])
def test_an_address_is_one_client_however_and_with_whatever_port_it_is_written(
    tmp_path: Path, written: str, client: str
) -> None:
    assert Quotas(GatewaySettings(room="gateway", home=tmp_path)).share(None, written).client == client


@pytest.mark.parametrize(("forwarded", "told"), [
    ("198.51.100.1, 203.0.113.9:50211", "203.0.113.9"), ("[2001:db8::1]:443", "2001:db8::1"),
    ("2001:db8::1", "2001:db8::1"),
])
def test_the_port_that_a_proxy_writes_makes_no_other_address(forwarded: str, told: str) -> None:
    """Sign-ins are counted by address as well."""
    request = Request({"HTTP_X_FORWARDED_FOR": forwarded, "REMOTE_ADDR": "192.0.2.1", "REQUEST_METHOD": "GET"})
    assert _client_address(request, trusted_proxies=1) == told


def test_all_sessions_of_a_user_have_one_share_and_each_api_key_has_its_own(tmp_path: Path) -> None:
    quotas = Quotas(GatewaySettings(room="gateway", home=tmp_path))
    for number in range(2):
        quotas.confirmed(f"{ALICE}{number}", Subject("u1", "user", "Li Na", via=f"session-{number}"))
        quotas.confirmed(f"{BOB}{number}", Subject("u1", "api_key", "Li Na", via=f"key-{number}"))
    quotas.confirmed(NOBODY, Subject("u2", "user", "Wu Xin", via="session-9"))
    shares = [quotas.share(credential, "192.0.2.1") for credential in (
        f"{ALICE}0", f"{ALICE}1", f"{BOB}0", f"{BOB}1", NOBODY)]
    assert [share.client for share in shares] == ["u1", "u1", "key-0", "key-1", "u2"]
    assert shares[0] is shares[1]
    shares[0].take(quotas.now())
    quotas.refused(f"{ALICE}0")
    quotas.refused(f"{ALICE}1")
    quotas.confirmed(f"{ALICE}2", Subject("u1", "user", "Li Na", via="session-2"))
    assert quotas.share(f"{ALICE}2", "192.0.2.1") is shares[0], "signing in again brings nothing back"


def test_no_more_shares_are_kept_than_set_and_the_longest_unused_goes_first(tmp_path: Path) -> None:
    quotas = Quotas(replace(GatewaySettings(room="gateway", home=tmp_path), introspection_cache_size=2))
    first = quotas.share(None, "192.0.2.1")
    quotas.share(None, "192.0.2.2")
    assert quotas.share(None, "192.0.2.1") is first
    quotas.share(None, "192.0.2.3")
    assert quotas.share(None, "192.0.2.1") is first
    assert quotas.share(None, "192.0.2.2").header(0.0, None) == '"address";r=300;t=0'


def test_every_header_is_a_structured_field_as_the_draft_writes_it(ask: Asks) -> None:
    answer = ask(None, "/docs")
    assert re.fullmatch(r'"[a-z-]+";r=\d+;t=\d+', answer.headers["RateLimit"])
    item = r'"[a-z-]+";q=\d+;(w=\d+|qu="concurrent-requests")'
    assert re.fullmatch(rf"{item}, {item}", answer.headers["RateLimit-Policy"])
