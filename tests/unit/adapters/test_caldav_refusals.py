"""What a CalDAV server's answers mean, and what servers do otherwise than Radicale; played by a scripted one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from hub_adapter.client import HttpPolicy, Transport
from hub_adapter.failure import ErrorClass, Invalid, NotFound, TryLater
from hub_adapter.port import Context, Write
from services.integrations.adapters.caldav.adapter import CaldavAdapter
from services.integrations.adapters.caldav.mapping import uid_of
from tests.support.scripted_http import Part, ScriptedServer, Seen, answer

UID = uid_of("t-1")
AS_KEPT = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VTODO\r\nUID:{UID}\r\nSUMMARY:T\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
Script = Callable[[Seen], Sequence[Part]]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def ctx(server: ScriptedServer) -> Iterator[Context]:
    transport = Transport(HttpPolicy(allow_private=("127.0.0.0/8",), max_response_bytes=20_000))
    yield Context(
        http=transport.session(),
        secrets={"username": "crmhub", "password": "p"},
        config={"base_url": server.url, "home": "/dav/team/"},
        clock=lambda: datetime.now(UTC),
        deadline=datetime.now(UTC) + timedelta(seconds=25),
    )
    transport.close()


def task(account: str = "zhangsan", *, bound: bool = False) -> Write:
    return Write(
        local_id="t-1",
        body={"id": "t-1", "title": "新标题", "status": "open"},
        idempotency_key="k",
        source_version=1,
        external_id=UID if bound else None,
        references={"account": account},
    )


def multistatus(*responses: str, token: str = "") -> bytes:
    told = f"<d:sync-token>{token}</d:sync-token>" if token else ""
    names = 'xmlns:d="DAV:" xmlns:cal="urn:ietf:params:xml:ns:caldav"'
    return f"<?xml version='1.0'?><d:multistatus {names}>{''.join(responses)}{told}</d:multistatus>".encode()


def found(href: str, *properties: str) -> str:
    prop = f"<d:propstat><d:prop>{''.join(properties)}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat>"
    return f"<d:response><d:href>{href}</d:href>{prop}</d:response>"


def collection(href: str, *properties: str) -> str:
    return found(href, "<d:resourcetype><d:collection/><cal:calendar/></d:resourcetype>", *properties)


def resource(href: str, etag: str = '"e1"', data: str = AS_KEPT) -> str:
    return found(href, f"<d:getetag>{etag}</d:getetag>", f"<cal:calendar-data>{data}</cal:calendar-data>")


def condition(name: str) -> bytes:
    return f'<d:error xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><c:{name}/></d:error>'.encode()


# --- what an answer means --------------------------------------------------------------------------------------------


def test_a_page_to_sign_in_is_no_proof_that_there_are_no_calendars(server: ScriptedServer, ctx: Context) -> None:
    server.script = lambda seen: answer(200, b"<html><p>Please sign in.</p></html>", ["Content-Type: text/html"])
    with pytest.raises(TryLater, match="no XML"):
        CaldavAdapter().list(ctx, "task", None, 10)


def test_a_page_to_sign_in_is_no_proof_that_a_task_is_gone(server: ScriptedServer, ctx: Context) -> None:
    def script(seen: Seen) -> Sequence[Part]:
        if seen.method == "PROPFIND":
            return answer(207, multistatus(collection("/dav/team/zhangsan/")))
        return answer(200, b"<p>Please sign in.</p>", ["Content-Type: text/html"])

    server.script = script
    with pytest.raises(TryLater, match="page"):
        CaldavAdapter().get(ctx, "task", UID)
    with pytest.raises(TryLater, match="page"):
        CaldavAdapter().write(ctx, "task", task())


@pytest.mark.parametrize(
    ("status", "body", "to_question", "to_change"),
    [
        (400, b"", "invalid", "invalid"),
        (401, b"", "auth", "auth"),
        (403, b"", "auth", "invalid"),
        (403, condition("valid-calendar-data"), "auth", "invalid"),
        (404, b"", "transient", "not_found"),
        (409, b"", "invalid", "not_found"),
        (409, condition("no-uid-conflict"), "invalid", "already_exists"),
        (409, condition("max-resource-size"), "invalid", "invalid"),
        (412, b"", "version_conflict", "already_exists"),
        (413, b"", "invalid", "invalid"),
        (423, b"", "transient", "transient"),
        (500, b"<html>", "transient", "transient"),
        (503, b"", "transient", "transient"),
        (504, b"", "transient", "ambiguous"),
        (507, b"", "transient", "transient"),
    ],
)
def test_each_answer_has_its_class(
    server: ScriptedServer, ctx: Context, status: int, body: bytes, to_question: str, to_change: str
) -> None:
    adapter = CaldavAdapter()
    server.script = lambda seen: answer(status, body)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - which class it is, is what is asked
        adapter.changes(ctx, "task", None, 10)
    assert adapter.classify(raised.value).error_class == to_question

    def script(seen: Seen) -> Sequence[Part]:
        if seen.method in ("PROPFIND", "REPORT"):
            return answer(207, multistatus())
        return answer(404) if seen.method == "GET" else answer(status, body)

    server.script = script
    with pytest.raises(Exception) as raised:  # noqa: PT011
        adapter.write(ctx, "task", task())
    assert adapter.classify(raised.value).error_class == to_change


@pytest.mark.parametrize("told", ["120", "date"])
def test_a_pause_that_the_server_asks_for_is_kept(server: ScriptedServer, ctx: Context, told: str) -> None:
    value = told if told == "120" else format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    server.script = lambda seen: answer(503, b"", [f"Retry-After: {value}"])
    with pytest.raises(Exception) as raised:  # noqa: PT011
        CaldavAdapter().write(ctx, "task", task())
    failure = CaldavAdapter().classify(raised.value)
    assert failure.error_class is ErrorClass.RATE_LIMITED
    assert failure.retry_after_s == pytest.approx(120, abs=5)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>log in",
        b"",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><multistatus xmlns="DAV:">&b;</multistatus>',
        b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><multistatus xmlns="DAV:">&f;</multistatus>',
    ],
)
def test_an_answer_that_is_no_honest_xml_is_a_matter_of_time(server: ScriptedServer, ctx: Context, body: bytes) -> None:
    server.script = lambda seen: answer(207, body)
    with pytest.raises(TryLater):
        CaldavAdapter().changes(ctx, "task", None, 10)


def test_a_redirection_is_not_followed_with_the_password(server: ScriptedServer, ctx: Context) -> None:
    server.script = lambda seen: answer(302, b"", [f"Location: {server.url}/elsewhere"])
    assert not CaldavAdapter().check(ctx).ok
    assert len(server.requests) == 1


# --- what other servers do -------------------------------------------------------------------------------------------


def test_a_server_that_tells_no_etag_is_asked_for_it(server: ScriptedServer, ctx: Context) -> None:
    server.script = lambda seen: (
        answer(201, b"") if seen.method == "PUT" else answer(200, AS_KEPT.encode(), ['ETag: W/"e7"'])
    )
    assert CaldavAdapter().write(ctx, "task", task()).remote_version == 'zhangsan/"e7"'


def test_a_server_that_keeps_a_uid_once_per_user_gets_a_move_instead_of_a_second_task(
    server: ScriptedServer, ctx: Context
) -> None:
    there = ["lisi"]

    def script(seen: Seen) -> Sequence[Part]:
        place = seen.path.split("/")[3]
        if seen.method == "PROPFIND":
            calendars = [collection(f"/dav/team/{name}/") for name in ("lisi", "zhangsan")]
            return answer(207, multistatus(found("/dav/team/"), *calendars))
        if seen.method == "PUT":
            if "if-none-match" in seen.headers:
                return answer(409, condition("no-uid-conflict"))
            return answer(204, b"", ['ETag: "e2"'])
        if seen.method == "MOVE":
            assert seen.headers["destination"] == f"/dav/team/zhangsan/{UID}.ics"
            there[0] = "zhangsan"
            return answer(201, b"")
        return answer(200, AS_KEPT.encode(), ['ETag: "e1"']) if place == there[0] else answer(404)

    server.script = script
    written = CaldavAdapter().write(ctx, "task", task())
    assert (written.adopted, written.remote_version, there) == (True, 'zhangsan/"e2"', ["zhangsan"])
    assert [seen.method for seen in server.requests if seen.method in ("PUT", "MOVE")] == ["PUT", "MOVE", "PUT"]


@pytest.mark.parametrize(("status", "expected"), [(404, NotFound), (412, Invalid), (409, NotFound), (502, Exception)])
def test_a_move_that_is_refused_leaves_the_task_where_it_is(
    server: ScriptedServer, ctx: Context, status: int, expected: type[Exception]
) -> None:
    def script(seen: Seen) -> Sequence[Part]:
        if seen.method == "PROPFIND":
            return answer(207, multistatus(collection("/dav/team/lisi/")))
        if seen.method == "MKCALENDAR":
            return answer(201, b"")
        if seen.method == "MOVE":
            return answer(status, b"")
        return answer(200, AS_KEPT.encode(), ['ETag: "e1"']) if "/lisi/" in seen.path else answer(404)

    server.script = script
    with pytest.raises(expected) as refused:
        CaldavAdapter().write(ctx, "task", task(bound=True))
    if status == 502:
        assert CaldavAdapter().classify(refused.value).error_class is ErrorClass.ADAPTER_ERROR
    assert not [seen for seen in server.requests if seen.method == "PUT"]


def test_a_server_that_shows_no_tokens_in_the_home_is_asked_for_each_calendar_once(
    server: ScriptedServer, ctx: Context
) -> None:
    def script(seen: Seen) -> Sequence[Part]:
        if seen.method == "PROPFIND":
            return answer(207, multistatus(collection("/dav/team/a/"), collection("/dav/team/b/")))
        if b"sync-collection" in seen.body:
            name = seen.path.split("/")[3]
            return answer(
                207, multistatus(found(f"/dav/team/{name}/{name}.ics", "<d:getetag>x</d:getetag>"), token="1")
            )
        return answer(207, multistatus(resource(f"http://host/dav/team/a/{UID}.ics")))

    server.script = script
    page = CaldavAdapter().changes(ctx, "task", None, 10)
    assert page.complete
    assert {change.body["account"] for change in page.items} == {"a", "b"}
    assert sum(b"sync-collection" in seen.body for seen in server.requests) == 2


def test_a_resource_too_large_for_an_answer_does_not_keep_the_others_back(server: ScriptedServer, ctx: Context) -> None:
    names = [f"{n}.ics" for n in range(8)]

    def script(seen: Seen) -> Sequence[Part]:
        if seen.method == "PROPFIND":
            return answer(207, multistatus(collection("/dav/team/a/", "<d:sync-token>1</d:sync-token>")))
        if b"sync-collection" in seen.body:
            all_of_them = [found(f"/dav/team/a/{name}", "<d:getetag>x</d:getetag>") for name in names]
            return answer(207, multistatus(*all_of_them, token="1"))
        asked = [name for name in names if f"/a/{name}<".encode() in seen.body]
        told = [
            resource(f"/dav/team/a/{n}", data=AS_KEPT.replace(UID, n) + " " * (n == "5.ics") * 30_000) for n in asked
        ]
        return answer(207, multistatus(*told))

    server.script = script
    page = CaldavAdapter().changes(ctx, "task", None, 10)
    assert (len(page.items), page.complete) == (7, True)


def test_a_calendar_that_is_shown_and_closed_does_not_keep_the_others_back(
    server: ScriptedServer, ctx: Context
) -> None:
    def script(seen: Seen) -> Sequence[Part]:
        if seen.method == "PROPFIND":
            calendars = [collection(f"/dav/team/{name}/", "<d:sync-token>1</d:sync-token>") for name in ("a", "b")]
            return answer(207, multistatus(*calendars))
        if "/team/a/" in seen.path:
            return answer(403, condition("need-privileges"))
        if b"sync-collection" in seen.body:
            return answer(207, multistatus(found("/dav/team/b/x.ics", "<d:getetag>x</d:getetag>"), token="1"))
        return answer(207, multistatus(resource("/dav/team/b/x.ics")))

    server.script = script
    page = CaldavAdapter().changes(ctx, "task", None, 10)
    assert ([change.body["account"] for change in page.items], page.complete) == (["b"], True)
    with pytest.raises(TryLater):  # a listing that leaves one out is not complete
        CaldavAdapter().list(ctx, "task", None, 10)


def test_a_calendar_that_is_closed_in_the_midst_of_its_pages_leaves_the_others_whole(
    server: ScriptedServer, ctx: Context
) -> None:
    closed = False

    def script(seen: Seen) -> Sequence[Part]:
        if seen.method == "PROPFIND":
            calendars = [collection(f"/dav/team/{name}/", "<d:sync-token>1</d:sync-token>") for name in ("a", "b")]
            return answer(207, multistatus(*calendars))
        place = seen.path.split("/")[3]
        if place == "a" and closed:
            return answer(403)
        names = ["m", "n"] if place == "a" else ["c", "z"]
        if b"sync-collection" in seen.body:
            told = [found(f"/dav/team/{place}/{name}.ics", "<d:getetag>x</d:getetag>") for name in names]
            return answer(207, multistatus(*told, token="1"))
        asked = [name for name in names if f"/{name}.ics<".encode() in seen.body]
        return answer(
            207, multistatus(*[resource(f"/dav/team/{place}/{n}.ics", data=AS_KEPT.replace(UID, n)) for n in asked])
        )

    server.script = script
    first = CaldavAdapter().changes(ctx, "task", None, 1)
    assert [change.external_id for change in first.items] == ["m"]
    closed = True
    rest = CaldavAdapter().changes(ctx, "task", first.next_cursor, 10)
    assert ([change.external_id for change in rest.items], rest.complete) == (["c", "z"], True)
    closed = False
    last = CaldavAdapter().changes(ctx, "task", rest.next_cursor, 10)
    assert {change.external_id for change in last.items} >= {"n"}
