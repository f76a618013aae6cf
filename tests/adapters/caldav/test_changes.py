"""What people do in their calendars comes back: each change once, a move as a move, and nothing lost with a token."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest

from hub_adapter.client import Exchange
from hub_adapter.failure import AdapterError
from hub_adapter.port import Context
from services.integrations.adapters.caldav.adapter import CaldavAdapter
from services.integrations.adapters.caldav.mapping import uid_of
from tests.adapters.caldav.calling import as_write, poll, todo
from tests.support.radicale import TaskServer
from tests.support.records import a_task

Open = Callable[..., Context]
EVENT = todo("event-1", more="DTSTART:20261201T090000Z\r\n").replace("VTODO", "VEVENT")


def test_each_change_is_told_once_with_the_account_it_lies_in(
    adapter: CaldavAdapter, ctx: Open, home: TaskServer, exchanges: list[Exchange]
) -> None:
    written = adapter.write(ctx(), "task", as_write(a_task(), "zhangsan"))
    home.make_calendar("lisi")
    home.put("lisi", "own", todo("own", "自己的"))
    home.put("lisi", "event-1", EVENT)
    told, checkpoint = poll(adapter, ctx())
    assert {(c.external_id, c.op, c.body["account"]) for c in told} == {
        (written.external_id, "upsert", "zhangsan"), ("own", "upsert", "lisi"),
    }  # fmt: skip
    echo = next(change for change in told if change.external_id == written.external_id)
    assert (echo.version, echo.body) == (written.remote_version, written.body)
    exchanges.clear()
    assert poll(adapter, ctx(), checkpoint) == ([], checkpoint)
    assert len(exchanges) == 1
    home.change(
        "zhangsan", written.external_id, ("STATUS:NEEDS-ACTION", "STATUS:COMPLETED\nCOMPLETED:20261201T080000Z")
    )
    told, checkpoint = poll(adapter, ctx(), checkpoint)
    assert [(c.body["status"], c.body["progress"], c.body["completed_at"]) for c in told] == [
        ("done", 100, "2026-12-01T08:00:00.000000Z")
    ]
    assert poll(adapter, ctx(), checkpoint)[0] == []


def test_a_deletion_is_told_once_and_only_of_a_task(adapter: CaldavAdapter, ctx: Open, home: TaskServer) -> None:
    home.make_calendar("zhangsan")
    home.put("zhangsan", "7F3A", todo("a-uid-of-another-name"))
    home.put("zhangsan", "event-1", EVENT)
    _, checkpoint = poll(adapter, ctx())
    assert home.ask("DELETE", "zhangsan/7F3A.ics").ok
    assert home.ask("DELETE", "zhangsan/event-1.ics").ok
    told, checkpoint = poll(adapter, ctx(), checkpoint)
    assert [(c.external_id, c.op, c.body) for c in told] == [
        ("a-uid-of-another-name", "delete", {"account": "zhangsan"})
    ]
    assert poll(adapter, ctx(), checkpoint)[0] == []


@pytest.mark.parametrize(("before", "after"), [("zhangsan", "lisi"), ("lisi", "zhangsan")])
def test_a_move_between_calendars_is_no_deletion(
    adapter: CaldavAdapter, ctx: Open, home: TaskServer, before: str, after: str
) -> None:
    home.make_calendar(after)
    written = adapter.write(ctx(), "task", as_write(a_task(), before))
    _, checkpoint = poll(adapter, ctx())
    home.move(before, written.external_id, f"{after}/{written.external_id}")
    told, checkpoint = poll(adapter, ctx(), checkpoint)
    assert [(c.external_id, c.op, c.body["account"]) for c in told] == [(written.external_id, "upsert", after)]
    assert told[0].version != written.remote_version  # the ETag is the same, and yet this is news
    home.move(after, written.external_id, f"{before}/{written.external_id}")
    told, _ = poll(adapter, ctx(), checkpoint)
    assert [(c.op, c.body["account"], c.version) for c in told] == [("upsert", before, written.remote_version)]


def test_a_move_that_falls_between_two_pages_is_no_deletion(
    adapter: CaldavAdapter, ctx: Open, home: TaskServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.make_calendar("a")
    home.make_calendar("b")
    home.put("b", "moving", todo("moving"))
    _, checkpoint = poll(adapter, ctx())
    home.put("a", "other", todo("other"))
    home.put("b", "another", todo("another"))
    context = ctx()
    asked = context.http.request

    def request(method: str, url: str, **options: object) -> object:
        if method == "REPORT" and url.endswith("/b/") and home.names("b") > {"moving"}:
            home.move("b", "moving", "a/moving")  # a has been read already, b is about to be
        return asked(method, url, **options)

    monkeypatch.setattr(context.http, "request", request)
    told, _ = poll(adapter, context, checkpoint)
    assert {(c.external_id, c.op, c.body["account"]) for c in told} == {
        ("other", "upsert", "a"), ("another", "upsert", "b"), ("moving", "upsert", "a"),
    }  # fmt: skip


def test_a_forgotten_token_loses_neither_changes_nor_deletions(
    adapter: CaldavAdapter, ctx: Open, home: TaskServer
) -> None:
    home.make_calendar("zhangsan")
    for name in ("stays", "changes", "goes"):
        home.put("zhangsan", name, todo(name))
    _, checkpoint = poll(adapter, ctx())
    home.put("zhangsan", "changes", todo("changes", "改了"))
    home.put("zhangsan", "comes", todo("comes"))
    assert home.ask("DELETE", "zhangsan/goes.ics").ok
    home.forget_tokens("zhangsan")
    told, checkpoint = poll(adapter, ctx(), checkpoint, 2)
    assert {(c.external_id, c.op) for c in told} == {
        ("stays", "upsert"), ("changes", "upsert"), ("comes", "upsert"), ("goes", "delete"),
    }  # fmt: skip
    assert len(told) == 4
    assert poll(adapter, ctx(), checkpoint)[0] == []


def test_a_deleted_calendar_takes_its_tasks_with_it_and_those_alone(
    adapter: CaldavAdapter, ctx: Open, home: TaskServer
) -> None:
    for account in ("zhangsan", "lisi"):
        home.make_calendar(account)
        home.put(account, f"of-{account}", todo(f"of-{account}"))
    home.put("lisi", "moved-before", todo("moved-before"))
    _, checkpoint = poll(adapter, ctx())
    home.move("lisi", "moved-before", "zhangsan/moved-before")
    assert home.ask("DELETE", "lisi/").ok
    told, _ = poll(adapter, ctx(), checkpoint)
    assert {(c.external_id, c.op, c.body["account"]) for c in told} == {
        ("moved-before", "upsert", "zhangsan"), ("of-lisi", "delete", "lisi"),
    }  # fmt: skip


def test_a_calendar_that_is_closed_to_us_is_not_taken_for_deleted(
    adapter: CaldavAdapter, ctx: Open, home: TaskServer
) -> None:
    home.make_calendar("private-boss")
    home.put("private-boss", "x", todo("x"))
    seen = {"token": "as it was while it was open", "uids": ["x"], "named": {}}
    checkpoint = json.dumps({"calendars": {"private-boss": seen}, "gone": {}, "walk": None})
    assert poll(adapter, ctx(), checkpoint) == ([], json.dumps(json.loads(checkpoint), separators=(",", ":")))


def test_a_task_that_cannot_be_read_does_not_keep_the_others_back(
    adapter: CaldavAdapter, ctx: Open, home: TaskServer
) -> None:
    home.make_calendar("zhangsan")
    home.put("zhangsan", "a", todo("a", more="DUE:20261201T090000Z\r\nPERCENT-COMPLETE:150\r\nSTATUS:WHATEVER\r\n"))
    folder = home.state / "collections" / "collection-root" / "team" / "zhangsan"
    (folder / "c.ics").write_text(todo("c", more="DUE:next week\r\nPRIORITY:urgent\r\n"))
    home.put("zhangsan", "d", todo("d"))
    told, _ = poll(adapter, ctx())
    assert {c.external_id for c in told} >= {"a", "d"}
    assert next(c.body["progress"] for c in told if c.external_id == "a") == 100


def test_a_thousand_tasks_are_told_and_listed_whole_page_by_page(
    adapter: CaldavAdapter, ctx: Open, home: TaskServer, exchanges: list[Exchange]
) -> None:
    home.make_calendar("small")
    uids = [uid_of(str(n)) for n in range(1_000)]
    lines = "BEGIN:VTODO\r\nUID:{}\r\nDTSTAMP:20261122T000000Z\r\nSUMMARY:任务\r\nEND:VTODO\r\n"
    whole = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\n{''.join(map(lines.format, uids))}END:VCALENDAR\r\n"
    assert home.ask("PUT", "big/", whole, Content_Type="text/calendar").status_code == 201
    home.put("small", "one", todo("one"))
    told, checkpoint = poll(adapter, ctx(), None, 400)
    assert sorted(c.external_id for c in told) == sorted([*uids, "one"])
    gone = [uids[0], uids[500]]
    for uid in gone:
        assert home.ask("DELETE", f"big/{uid}.ics").ok
    home.put("big", uids[7], todo(uids[7], "改了"))
    exchanges.clear()
    told, checkpoint = poll(adapter, ctx(), checkpoint, 400)
    assert {(c.external_id, c.op) for c in told} == {(uids[7], "upsert"), *((uid, "delete") for uid in gone)}
    assert len(exchanges) == 4  # who changed, what, read it, has anybody else meanwhile
    assert len(checkpoint) < 50 * 1_000
    listed: list[str] = []
    cursor, complete = None, False
    while not complete:
        page = adapter.list(ctx(), "task", cursor, 600)
        listed += [remote.external_id for remote in page.items]
        cursor, complete = page.next_cursor, page.complete
    assert sorted(listed) == sorted({*uids, "one"} - {*gone})


def test_a_change_behind_the_back_of_a_walk_is_told_in_the_end(
    adapter: CaldavAdapter, ctx: Open, home: TaskServer
) -> None:
    home.make_calendar("a")
    names = [hashlib.sha256(str(n).encode()).hexdigest()[:8] for n in range(5)]
    for name in names:
        home.put("a", name, todo(name))
    first = adapter.changes(ctx(), "task", None, 2)
    assert (len(first.items), first.complete) == (2, False)
    home.put("a", first.items[0].external_id, todo(first.items[0].external_id, "后来改的"))
    assert home.ask("DELETE", f"a/{first.items[1].external_id}.ics").ok
    told, _ = poll(adapter, ctx(), first.next_cursor, 2)
    last = {change.external_id: change for change in told}
    assert last[first.items[0].external_id].body["title"] == "后来改的"
    assert last[first.items[1].external_id].op == "delete"
    assert last.keys() == set(names)


def test_a_checkpoint_of_another_kind_is_refused(adapter: CaldavAdapter, ctx: Open) -> None:
    for text in ("12", "{}", "[1]", json.dumps({"calendars": [], "gone": {}, "walk": None})):
        with pytest.raises(AdapterError, match="not a checkpoint"):
            adapter.changes(ctx(), "task", text, 10)
