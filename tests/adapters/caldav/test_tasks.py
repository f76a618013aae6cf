"""A task in its assignee's calendar: made once, kept in step, moved, deleted; whatever is lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hub_adapter.client import Exchange
from hub_adapter.failure import DependencyMissing, InDoubt, Invalid, NotFound, VersionConflict
from hub_adapter.port import Context
from services.integrations.adapters.caldav.adapter import CaldavAdapter
from services.integrations.adapters.caldav.mapping import uid_of
from tests.adapters.caldav.calling import as_write, todo
from tests.support.chaos_proxy import ChaosProxy
from tests.support.radicale import TaskServer
from tests.support.records import a_task

Open = Callable[..., Context]
KEPT = ("title", "description", "due_at", "priority", "progress", "status", "completed_at")


def kept(body: Any) -> dict[str, Any]:
    return {name: body[name] for name in KEPT}


def test_a_task_stands_in_its_assignees_calendar_which_is_made_for_it(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    task = a_task()
    written = adapter.write(ctx(), "task", as_write(task, account))
    assert (written.external_id, written.adopted) == (uid_of(task["id"]), False)
    remote = adapter.get(ctx(), "task", written.external_id)
    assert remote is not None
    assert remote.body == kept(task) | {"account": account, "id": task["id"]}
    assert (remote.version, dict(written.body or {})) == (written.remote_version, remote.body)
    assert server.names(account) == {uid_of(task["id"])}


@pytest.mark.parametrize(
    "text",
    [
        "很长的中文说明，" * 500,
        "emoji 👩🏽‍💻🎉, 逗号; 分号: 冒号\\ 反斜杠\n换行\n\n空行 ",
        " leading, trailing \ttab ",
        "control \x07\x1b\x00 characters, \r\n two line ends \r\u2028 and \x85",
    ],
)
def test_text_reads_back_as_it_was_written_and_is_not_written_again(
    adapter: CaldavAdapter, ctx: Open, account: str, exchanges: list[Exchange], text: str
) -> None:
    task = a_task(description=text, title=text[:100])
    written = adapter.write(ctx(), "task", as_write(task, account))
    remote = adapter.get(ctx(), "task", written.external_id)
    assert remote is not None
    assert dict(written.body or {}) == remote.body
    if "control" not in text:
        assert (remote.body["description"], remote.body["title"]) == (text, text[:100])
    exchanges.clear()
    again = adapter.write(ctx(), "task", as_write(task, account, written))
    assert again.remote_version == written.remote_version
    assert not any(exchange.changes for exchange in exchanges)


def test_the_same_creation_twice_is_one_task(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    task = a_task()
    adapter.write(ctx(), "task", as_write(task, account))
    again = adapter.write(ctx(), "task", as_write(task | {"title": "新标题"}, account))
    assert again.adopted
    assert server.names(account) == {again.external_id}
    assert "SUMMARY:新标题" in server.text(account, again.external_id)


@pytest.mark.parametrize("lost", [b"MKCALENDAR ", b"PUT /team/"])
def test_a_lost_answer_to_the_creation_ends_in_one_task(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str, lost: bytes
) -> None:
    task = a_task()
    server.make_calendar(account) if lost == b"PUT /team/" else None
    with ChaosProxy(("127.0.0.1", server.port)) as link:
        link.lose_answer_to(lost)
        with pytest.raises(InDoubt):
            adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "task", as_write(task, account))
    found = adapter.find(ctx(), "task", {"id": task["id"]})
    assert [remote.external_id for remote in found] == ([uid_of(task["id"])] if lost == b"PUT /team/" else [])
    adapter.write(ctx(), "task", as_write(task, account))
    assert server.names(account) == {uid_of(task["id"])}


def test_a_lost_answer_to_an_update_is_no_conflict_with_ourselves(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    task = a_task()
    written = adapter.write(ctx(), "task", as_write(task, account))
    changed = as_write(task | {"title": "第二版", "progress": 30, "status": "in_progress"}, account, written)
    with ChaosProxy(("127.0.0.1", server.port)) as link:
        link.lose_answer_to(b"PUT /team/")
        with pytest.raises(InDoubt):
            adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "task", changed)
    again = adapter.write(ctx(), "task", changed)
    assert again.remote_version != written.remote_version
    assert server.text(account, again.external_id).count("SUMMARY:第二版") == 1


def test_complete_reopen_and_cancel_say_so_in_each_of_the_three_ways(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    task = a_task()
    written = adapter.write(ctx(), "task", as_write(task, account))
    done = task | {"status": "done", "completed_at": "2026-11-30T08:00:00.123456Z", "progress": 60}
    written = adapter.write(ctx(), "task", as_write(done, account, written))
    text = server.text(account, written.external_id)
    for line in ("STATUS:COMPLETED", "PERCENT-COMPLETE:100", "COMPLETED:20261130T080000Z", "SEQUENCE:1"):
        assert line in text
    reopened = task | {"status": "open", "progress": 0}
    written = adapter.write(ctx(), "task", as_write(reopened, account, written))
    text = server.text(account, written.external_id)
    assert "STATUS:NEEDS-ACTION" in text
    assert "COMPLETED" not in text.replace("NEEDS-ACTION", "")
    assert "PERCENT-COMPLETE" not in text
    written = adapter.write(ctx(), "task", as_write(task | {"status": "cancelled"}, account, written))
    assert "STATUS:CANCELLED" in server.text(account, written.external_id)
    remote = adapter.get(ctx(), "task", written.external_id)
    assert remote is not None
    assert remote.body["status"] == "cancelled"


def test_what_a_colleague_added_survives_our_update(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    task = a_task()
    written = adapter.write(ctx(), "task", as_write(task, account))
    alarm = "BEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:x\nTRIGGER:-PT15M\nEND:VALARM\n"
    own = f"X-COLLEAGUE;X-P=1:keep me\nCOMMENT:call first\nCATEGORIES:a,b\nRRULE:FREQ=DAILY;COUNT=2\n{alarm}"
    server.change(account, written.external_id, ("END:VTODO", f"{own}END:VTODO"))
    now = adapter.get(ctx(), "task", written.external_id)
    assert now is not None
    newer = as_write(task | {"title": "改过的"}, account, written, expected_version=now.version)
    adapter.write(ctx(), "task", newer)
    text = server.text(account, written.external_id)
    for kept_line in (
        "X-P=1:keep me",
        "COMMENT:call first",
        "CATEGORIES:a,b",
        "TRIGGER:-PT15M",
        "COUNT=2",
        "SUMMARY:改过的",
    ):
        assert kept_line in text, text


def test_an_edit_of_theirs_makes_ours_stale_and_the_next_try_builds_on_it(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    task = a_task()
    written = adapter.write(ctx(), "task", as_write(task, account))
    server.change(account, written.external_id, ("STATUS:NEEDS-ACTION", "STATUS:IN-PROCESS\nPERCENT-COMPLETE:40"))
    ours = task | {"title": "我们改的"}
    with pytest.raises(VersionConflict):
        adapter.write(ctx(), "task", as_write(ours, account, written))
    assert "我们改的" not in server.text(account, written.external_id)
    theirs = adapter.get(ctx(), "task", written.external_id)
    assert theirs is not None
    assert (theirs.body["status"], theirs.body["progress"]) == ("in_progress", 40)
    merged = ours | {"status": theirs.body["status"], "progress": theirs.body["progress"]}
    adapter.write(ctx(), "task", as_write(merged, account, written, expected_version=theirs.version))
    after = adapter.get(ctx(), "task", written.external_id)
    assert after is not None
    assert (after.body["title"], after.body["progress"]) == ("我们改的", 40)


def test_an_edit_between_our_read_and_our_write_is_not_overwritten(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = a_task()
    written = adapter.write(ctx(), "task", as_write(task, account))
    context = ctx()
    asked = context.http.request

    def request(method: str, url: str, **options: Any) -> Any:
        if method == "PUT":
            server.change(account, written.external_id, ("STATUS:NEEDS-ACTION", "STATUS:IN-PROCESS"))
        return asked(method, url, **options)

    monkeypatch.setattr(context.http, "request", request)
    with pytest.raises(VersionConflict):
        adapter.write(context, "task", as_write(task | {"title": "赛跑"}, account, written, expected_version=None))
    assert "STATUS:IN-PROCESS" in server.text(account, written.external_id)


def test_a_task_given_to_somebody_else_moves_and_keeps_what_is_in_it(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    task = a_task()
    written = adapter.write(ctx(), "task", as_write(task, account))
    server.change(account, written.external_id, ("END:VTODO", "COMMENT:keep\nEND:VTODO"))
    now = adapter.get(ctx(), "task", written.external_id)
    assert now is not None
    other = f"{account}-2"
    moved = adapter.write(ctx(), "task", as_write(task, other, written, expected_version=now.version))
    assert moved.external_id == written.external_id
    assert (moved.remote_version or "").split("/", 1) == [other, (now.version or "").split("/", 1)[1]]
    assert (server.names(account), server.names(other)) == (set(), {written.external_id})
    assert "COMMENT:keep" in server.text(other, written.external_id)


def test_a_move_whose_answer_was_lost_is_finished_by_the_next_try(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    task, other = a_task(), f"{account}-2"
    written = adapter.write(ctx(), "task", as_write(task, account))
    server.make_calendar(other)
    given = as_write(task | {"title": "给了别人"}, other, written)
    with ChaosProxy(("127.0.0.1", server.port)) as link:
        link.lose_answer_to(b"MOVE /team/")
        with pytest.raises(InDoubt):
            adapter.write(ctx(base_url=f"http://127.0.0.1:{link.port}"), "task", given)
    adapter.write(ctx(), "task", given)
    assert (server.names(account), server.names(other)) == (set(), {written.external_id})
    assert "SUMMARY:给了别人" in server.text(other, written.external_id)


def test_a_uid_that_lies_under_another_name_is_adopted_where_it_lies(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    task = a_task()
    server.make_calendar(account)
    server.put(account, "strange-name", todo(uid_of(task["id"]), "先前的"))
    written = adapter.write(ctx(), "task", as_write(task, account))
    assert written.adopted
    assert server.names(account) == {"strange-name"}
    assert f"SUMMARY:{task['title']}" in server.text(account, "strange-name")


def test_a_copy_in_the_new_assignees_calendar_is_left_to_a_person(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    task, other = a_task(), f"{account}-2"
    written = adapter.write(ctx(), "task", as_write(task, account))
    server.make_calendar(other)
    server.put(other, "copied", todo(written.external_id, "抄来的"))
    with pytest.raises(Invalid, match="delete one of the two"):
        adapter.write(ctx(), "task", as_write(task, other, written))
    assert "SUMMARY:抄来的" in server.text(other, "copied")


def test_a_calendar_that_was_deleted_is_made_again_with_the_task_in_it(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    task = a_task()
    written = adapter.write(ctx(), "task", as_write(task, account))
    assert server.ask("DELETE", f"{account}/").ok
    with pytest.raises(NotFound):  # the engine then makes it anew, unbound
        adapter.write(ctx(), "task", as_write(task, account, written))
    again = adapter.write(ctx(), "task", as_write(task, account))
    assert again.external_id == written.external_id
    assert server.names(account) == {written.external_id}


def test_a_task_of_theirs_is_changed_where_it_is_whatever_it_is_called(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    server.make_calendar(account)
    uid = f"外来/{account}@example.com"
    server.put(account, "7F3A", todo(uid, "他们的", "DUE;VALUE=DATE:20261201\r\nPRIORITY:3\r\n"))
    theirs = adapter.get(ctx(time_zone="Asia/Shanghai"), "task", uid)
    assert theirs is not None
    assert (theirs.body["title"], theirs.body["due_at"], theirs.body["priority"]) == (
        "他们的", "2026-12-01T15:59:59.000000Z", "high",
    )  # fmt: skip
    assert "id" not in theirs.body
    ours = a_task(**theirs.body | {"progress": 50, "status": "in_progress"})
    write = as_write(ours, account, external_id=uid, expected_version=theirs.version)
    adapter.write(ctx(time_zone="Asia/Shanghai"), "task", write)
    text = server.text(account, "7F3A")
    for line in ("DUE;VALUE=DATE:20261201", "PRIORITY:3", "PERCENT-COMPLETE:50"):
        assert line in text


def test_a_task_is_deleted_once_and_twice_is_no_error(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    task = a_task()
    written = adapter.write(ctx(), "task", as_write(task, account))
    for expected in ("gone" if n else "deleted" for n in range(2)):
        deleted = adapter.delete(
            ctx(), "task", written.external_id, idempotency_key="k", expected_version=written.remote_version
        )
        assert deleted.details["state"] == expected
    assert server.names(account) == set()
    assert adapter.get(ctx(), "task", written.external_id) is None


def test_a_lost_answer_to_a_deletion_ends_in_a_deleted_task(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    written = adapter.write(ctx(), "task", as_write(a_task(), account))
    with ChaosProxy(("127.0.0.1", server.port)) as link:
        link.lose_answer_to(b"DELETE /team/")
        with pytest.raises(InDoubt):
            adapter.delete(
                ctx(base_url=f"http://127.0.0.1:{link.port}"), "task", written.external_id, idempotency_key="k"
            )
    assert adapter.delete(ctx(), "task", written.external_id, idempotency_key="k").details["state"] == "gone"
    assert server.names(account) == set()


def test_a_task_that_a_colleague_changed_is_not_deleted_over_their_edit(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    written = adapter.write(ctx(), "task", as_write(a_task(), account))
    server.change(account, written.external_id, ("PRIORITY:1", "PRIORITY:9"))
    with pytest.raises(VersionConflict):
        adapter.delete(ctx(), "task", written.external_id, idempotency_key="k", expected_version=written.remote_version)
    assert server.names(account) == {written.external_id}


def test_a_task_of_somebody_without_an_account_waits_and_a_bad_name_is_refused(
    adapter: CaldavAdapter, ctx: Open
) -> None:
    with pytest.raises(DependencyMissing) as missing:
        adapter.write(ctx(), "task", as_write(a_task(), None))
    assert missing.value.failure.dependency == "account"
    for name in ("..", "a/b", "x" * 101, "a\nb", "a#b", "a?b", "a%2fb", ".hidden"):
        context = ctx()
        with pytest.raises(Invalid) as refused:
            adapter.write(context, "task", as_write(a_task(), name))
        assert (refused.value.failure.field, context.http.calls) == ("/assignee_id", 0)


def test_an_account_with_a_chinese_name_is_as_good_as_any(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str
) -> None:
    name = f"张三 {account}"
    task = a_task()
    written = adapter.write(ctx(), "task", as_write(task, name))
    moved = adapter.write(ctx(), "task", as_write(task, f"李四 {account}", written))
    assert (moved.body or {})["account"] == f"李四 {account}"


def test_a_dry_run_tells_what_it_would_do_and_does_nothing(
    adapter: CaldavAdapter, ctx: Open, account: str, exchanges: list[Exchange]
) -> None:
    task = a_task()
    written = adapter.write(ctx(), "task", as_write(task, account))
    exchanges.clear()
    assert adapter.write(ctx(dry_run=True), "task", as_write(a_task(), account)).details["would"] == "create"
    moved = as_write(task | {"title": "X"}, f"{account}-2", written)
    told = adapter.write(ctx(dry_run=True), "task", moved).details
    assert (told["would"], told["from"]["title"], told["to"]["title"]) == ("move and update", task["title"], "X")
    assert adapter.write(ctx(dry_run=True), "task", as_write(task, account, written)).details["would"] == "nothing"
    adapter.delete(ctx(dry_run=True), "task", written.external_id, idempotency_key="k")
    assert not any(exchange.changes for exchange in exchanges)
    assert adapter.get(ctx(), "task", written.external_id) is not None


def test_no_preview_of_a_whole_conversation_holds_the_password(
    adapter: CaldavAdapter, ctx: Open, server: TaskServer, account: str, exchanges: list[Exchange]
) -> None:
    adapter.write(ctx(), "task", as_write(a_task(), account))
    everything = " ".join(f"{e.url}{e.request_preview}{e.response_preview}{e.error}" for e in exchanges)
    assert server.secrets["password"] not in everything
    assert "Basic " not in everything
