"""The HTTP session that adapters get: its limits hold against a server that means harm."""

import gzip
import json
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from requests.adapters import HTTPAdapter

from hub_adapter.client import Exchange, HttpPolicy, HttpSession, Transport
from hub_adapter.failure import AdapterError, ErrorClass, InDoubt, RateLimited, TryLater
from tests.support.chaos_proxy import ChaosProxy
from tests.support.scripted_http import ScriptedServer, answer

LOOPBACK = ("127.0.0.0/8",)
Open = Callable[..., HttpSession]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def exchanges() -> list[Exchange]:
    return []


@pytest.fixture
def session(exchanges: list[Exchange]) -> Iterator[Open]:
    transports: list[Transport] = []

    def opened(policy: dict[str, Any] | None = None, **options: Any) -> HttpSession:
        transports.append(Transport(HttpPolicy(**{"allow_private": LOOPBACK, **(policy or {})})))
        return transports[-1].session(observer=exchanges.append, **options)

    yield opened
    for transport in transports:
        transport.close()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_request_and_its_answer_arrive_unchanged(server: ScriptedServer, session: Open) -> None:
    server.script = lambda seen: answer(201, '{"名": "值"}'.encode(), ["X-Kind: good"])
    reply = session().post(f"{server.url}/a?b=1", json={"name": "上海"}, headers={"X-Mine": "1", "user-agent": "x"})
    assert (reply.status, reply.json(), reply.headers["x-kind"]) == (201, {"名": "值"}, "good")
    seen = server.requests[0]
    assert (seen.method, seen.path, json.loads(seen.body)) == ("POST", "/a?b=1", {"name": "上海"})
    assert (seen.headers["x-mine"], seen.headers["user-agent"]) == ("1", "crm-hub")


def test_a_gzipped_and_a_chunked_answer_are_read_whole(server: ScriptedServer, session: Open) -> None:
    packed = gzip.compress(b"x" * 200_000)
    server.script = lambda seen: answer(body=packed, headers=["Content-Encoding: gzip"])
    assert session().get(server.url).body == b"x" * 200_000
    server.script = lambda seen: [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        0.05,
        b"2\r\nde\r\n0\r\n\r\n",
    ]
    assert session().get(server.url).body == b"abcde"


def test_a_failed_connection_means_that_nothing_arrived(session: Open, exchanges: list[Exchange]) -> None:
    with pytest.raises(TryLater, match="no connection"):
        session().post(f"http://127.0.0.1:{unused_port()}/", json={})
    assert exchanges[0].error is not None
    assert "refused" in exchanges[0].error.lower()


def test_a_name_that_does_not_resolve_means_that_nothing_arrived(session: Open) -> None:
    with pytest.raises(TryLater):
        session().post("http://no-such-host.invalid/", json={})


def test_an_answer_cut_off_leaves_a_change_in_doubt_and_a_question_not(
    server: ScriptedServer, session: Open, exchanges: list[Exchange]
) -> None:
    server.script = lambda seen: [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"]
    with pytest.raises(InDoubt):
        session().post(server.url, json={})
    with pytest.raises(TryLater):
        session().get(server.url)
    with pytest.raises(TryLater):
        session().post(f"{server.url}/search", json={}, changes=False)
    assert [exchange.changes for exchange in exchanges] == [True, False, False]


def test_a_connection_reset_after_the_request_leaves_a_change_in_doubt(server: ScriptedServer, session: Open) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with ChaosProxy((host, int(port))) as link:
        link.lose_answer_to(b"PUT /")
        with pytest.raises(InDoubt):
            session().put(f"http://127.0.0.1:{link.port}/", json={})
    assert len(server.requests) == 1


def test_no_answer_in_time_leaves_a_change_in_doubt(server: ScriptedServer, session: Open) -> None:
    server.script = lambda seen: [2.0]
    with pytest.raises(InDoubt):
        session({"read_timeout_s": 0.2}).post(server.url, json={})


def test_a_trickle_of_bytes_does_not_outrun_the_time_of_the_session(server: ScriptedServer, session: Open) -> None:
    server.script = lambda seen: [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", *([b"x", 0.05] * 100)]
    hasty = session(total_s=0.4)
    with pytest.raises(InDoubt, match="did not end in time"):
        hasty.post(server.url, json={})
    assert hasty.remaining_s <= 0
    with pytest.raises(TryLater, match="used up"):
        hasty.post(server.url, json={})
    assert hasty.calls == 1


def test_no_policy_lets_a_call_outlive_a_lease() -> None:
    with pytest.raises(ValueError, match="below 30"):
        HttpPolicy(total_s=30)


@pytest.mark.parametrize("encoding", ["plain", "gzip bomb"])
def test_an_answer_beyond_the_cap_is_given_up(server: ScriptedServer, session: Open, encoding: str) -> None:
    huge = b"x" * 3_000_000
    if encoding == "plain":
        server.script = lambda seen: answer(body=huge)
    else:
        server.script = lambda seen: answer(body=gzip.compress(huge), headers=["Content-Encoding: gzip"])
    small = {"max_response_bytes": 1_000_000}
    with pytest.raises(AdapterError, match="larger than") as question:
        session(small).get(server.url)
    assert question.value.error_class is ErrorClass.ADAPTER_ERROR
    with pytest.raises(InDoubt, match="larger than"):
        session(small).post(server.url, json={})


def test_a_redirect_is_not_followed(server: ScriptedServer, session: Open) -> None:
    server.script = lambda seen: answer(302, headers=[f"Location: {server.url}/elsewhere"])
    assert session().get(server.url).status == 302
    assert len(server.requests) == 1


def test_a_redirect_to_a_metadata_address_is_answered_and_never_asked(server: ScriptedServer, session: Open) -> None:
    server.script = lambda seen: answer(307, headers=["Location: http://169.254.169.254/latest/meta-data/"])
    speaking = session()
    reply = speaking.post(server.url, json={})
    assert (reply.status, reply.body, speaking.calls) == (307, b"{}", 1)
    with pytest.raises(TryLater, match=r"does not allow$"):
        speaking.get(reply.headers["Location"])


def test_ten_gigabytes_are_given_up_after_eight_megabytes(server: ScriptedServer, session: Open) -> None:
    chunk = b"x" * 1_000_000
    server.script = lambda seen: [b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n", *([chunk] * 20)]
    with pytest.raises(InDoubt, match="larger than 8388608"):
        session().post(server.url, json={})


def test_a_private_address_is_refused_unless_the_connection_allows_it(server: ScriptedServer, session: Open) -> None:
    with pytest.raises(TryLater, match="does not allow: name its network in the setting allow_private"):
        session({"allow_private": ()}).get(server.url)
    with pytest.raises(TryLater, match="does not allow"):
        session({"allow_private": ("10.0.0.0/8",)}).get(server.url)
    assert server.requests == []
    assert session().get(server.url).ok
    port = server.url.rsplit(":", 1)[1]
    assert session().get(f"http://localhost:{port}/").ok
    assert server.requests[-1].headers["host"] == f"localhost:{port}"


@pytest.mark.parametrize("url", ["erp.example.com/api", "http:///api", "ftp://erp.example.com"])
def test_what_is_no_address_is_told_and_leaves_nothing_in_doubt(
    session: Open, exchanges: list[Exchange], url: str
) -> None:
    with pytest.raises(TryLater):
        session().post(url, json={})
    assert (exchanges[0].url, exchanges[0].status) == (url, None)


@pytest.mark.parametrize(
    "network", ["0.0.0.0/0", "8.8.8.0/24", "169.254.169.254/32", "fe80::/64", "::ffff:169.254.0.0/112", "2001::/32",
                "64:ff9b:1::/48", "no network"]
)
def test_an_allowance_opens_neither_the_world_nor_the_metadata_service(network: str) -> None:
    with pytest.raises(ValueError, match=r"private|link-local|does not appear"):
        HttpPolicy(allow_private=(network,))


def test_no_setting_is_named_for_what_none_opens(session: Open) -> None:
    for host in ("100.64.1.1", "[::ffff:169.254.169.254]"):
        with pytest.raises(TryLater, match=r"does not allow$"):
            session().get(f"http://{host}:9/")


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:10.0.0.1]", "0.0.0.0", "[::1]", "2130706433"])  # noqa: S104
def test_other_spellings_of_private_addresses_are_refused_too(session: Open, host: str) -> None:
    with pytest.raises(TryLater):
        session({"allow_private": ("10.9.0.0/16",), "connect_timeout_s": 0.5}).get(f"http://{host}:9/")


def test_the_trace_goes_on_with_a_span_of_its_own_per_call(server: ScriptedServer, session: Open) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    speaking = session(traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    speaking.get(server.url)
    speaking.get(server.url)
    spans = [seen.headers["traceparent"].split("-") for seen in server.requests]
    assert [span[1] for span in spans] == [trace, trace]
    assert len({span[2] for span in spans} | {"00f067aa0ba902b7"}) == 3


def test_no_cookie_is_kept_between_calls(server: ScriptedServer, session: Open) -> None:
    server.script = lambda seen: answer(headers=["Set-Cookie: session=1; Path=/"])
    speaking = session()
    speaking.get(server.url)
    speaking.get(server.url)
    assert "cookie" not in server.requests[1].headers


def test_a_dry_run_refuses_what_would_change_something(server: ScriptedServer, session: Open) -> None:
    careful = session(dry_run=True)
    careful.get(server.url)
    careful.post(server.url, json={}, changes=False)
    with pytest.raises(AdapterError, match="dry run"):
        careful.put(server.url, json={})
    assert (len(server.requests), careful.calls, careful.changing_calls) == (2, 2, 0)


def test_the_doorman_is_asked_before_each_call(server: ScriptedServer, session: Open) -> None:
    def closed() -> None:
        raise RateLimited("enough for now", seconds=3)

    with pytest.raises(RateLimited):
        session(admit=closed).get(server.url)
    assert server.requests == []


def test_whoever_watches_sees_neither_secrets_nor_whole_bodies(
    server: ScriptedServer, session: Open, exchanges: list[Exchange]
) -> None:
    secret = "Kx/9+planted=secret"
    server.script = lambda seen: answer(body=json.dumps({"echo": secret, "long": "y" * 50_000}).encode())
    session(secrets=[secret]).post(
        f"{server.url}/x",
        params={"key": secret},
        headers={"Authorization": f"Bearer {secret}", "X-Api-Key": secret},
        json={"password": "hunter2", "phone": "+8613800138000", "email": "wang@example.com", "note": secret},
    )
    seen = exchanges[0]
    everything = seen.url + seen.request_preview + seen.response_preview
    for planted in (secret, "hunter2", "13800138000", "wang@", "Authorization", "9%2Bplanted"):
        assert planted not in everything
    assert (seen.status, seen.method, seen.changes) == (200, "POST", True)
    assert len(seen.response_preview.encode()) <= 20_000
    assert "w***@example.com" in seen.request_preview


def test_an_interrupted_call_is_reported_before_it_goes_up(
    server: ScriptedServer, session: Open, exchanges: list[Exchange], monkeypatch: pytest.MonkeyPatch
) -> None:
    class EngineTimeout(BaseException):
        pass

    def interrupted(*_: Any, **__: Any) -> None:
        raise EngineTimeout

    speaking = session()
    monkeypatch.setattr(HTTPAdapter, "send", interrupted)
    with pytest.raises(EngineTimeout):
        speaking.post(server.url, json={})
    assert exchanges[0].error is not None
    assert exchanges[0].error.startswith("EngineTimeout")


def test_a_success_that_is_no_json_leaves_a_change_in_doubt(server: ScriptedServer, session: Open) -> None:
    server.script = lambda seen: answer(body=b"<html>please sign in</html>")
    with pytest.raises(InDoubt):
        session().post(server.url, json={}).json()
    with pytest.raises(TryLater):
        session().get(server.url).json()


def test_a_server_that_hangs_up_at_once_leaves_a_change_in_doubt(session: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        reset: Sequence[int] = (1, 0)

        def slam() -> None:
            client, _ = listener.accept()
            client.recv(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", *reset))
            client.close()

        import threading

        threading.Thread(target=slam, daemon=True).start()
        with pytest.raises(InDoubt):
            session().post(f"http://127.0.0.1:{port}/", json={"a": "b" * 100})
