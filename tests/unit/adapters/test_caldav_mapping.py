"""Our task ↔ a VTODO."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_adapter.failure import Invalid
from services.integrations.adapters.caldav import mapping
from services.integrations.adapters.caldav.mapping import Task, Unreadable

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
SHANGHAI, NEW_YORK = ZoneInfo("Asia/Shanghai"), ZoneInfo("America/New_York")
TASK: dict[str, Any] = {
    "title": "回访",
    "description": "",
    "due_at": "2026-12-01T09:00:00.000000Z",
    "priority": "normal",
    "progress": 0,
    "status": "open",
    "completed_at": None,
}


def calendar(*lines: str, before: str = "") -> bytes:
    """A colleague's task with these lines in it."""
    body = "".join(f"{line}\r\n" for line in ("BEGIN:VTODO", "UID:u", *lines, "END:VTODO"))
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{before}{body}END:VCALENDAR\r\n".encode()


def read(data: bytes, zone: ZoneInfo = SHANGHAI) -> Task:
    return mapping.read_task(mapping.task_in(mapping.parse(data)), zone)


def revised(data: bytes, zone: ZoneInfo = SHANGHAI, **wanted: Any) -> str | None:
    """What is written when the task is to be as it stands, but for `wanted`; lines unfolded."""
    parsed = mapping.parse(data)
    body = mapping.read_task(mapping.task_in(parsed), zone).body() | wanted
    written = mapping.revised(parsed, mapping.wanted_task(body), NOW, zone)
    return written.decode().replace("\r\n ", "") if written is not None else None


moments = st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
tasks = st.fixed_dictionaries(
    {
        "title": st.text(min_size=1, max_size=300),
        "description": st.text(max_size=3_000) | st.text('任务跟进，。\n\r\\;,:" 😀👩🏽‍💻', max_size=500),
        "due_at": st.none() | moments.map(lambda moment: moment.isoformat()),
        "priority": st.sampled_from(sorted(mapping.PRIORITY_THERE)),
        "progress": st.integers(0, 100),
        "status": st.sampled_from(sorted(mapping.STATUS_THERE)),
        "completed_at": st.none() | moments.map(lambda moment: moment.isoformat()),
    }
)


@given(tasks)
def test_every_task_reads_back_as_it_was_written(body: dict[str, Any]) -> None:
    wanted = mapping.wanted_task(body)
    data = mapping.new_calendar("u", "id", wanted, NOW)
    expected = wanted.body()
    if wanted.status == "done" and wanted.completed_at is None:
        expected["completed_at"] = mapping.stamp(NOW)
    assert read(data).body() == expected
    assert all(len(line) <= 75 for line in data.split(b"\r\n"))


@given(tasks, tasks)
def test_every_change_reads_back_and_is_then_no_change_any_more(before: dict[str, Any], after: dict[str, Any]) -> None:
    parsed = mapping.parse(mapping.new_calendar("u", "id", mapping.wanted_task(before), NOW))
    wanted = mapping.wanted_task(after)
    mapping.revised(parsed, wanted, NOW, SHANGHAI)
    there = read(parsed.to_ical())
    assert there.body() | {"completed_at": None} == wanted.body() | {"completed_at": None}
    assert (there.completed_at is not None) == (wanted.status == "done")
    assert mapping.revised(mapping.parse(parsed.to_ical()), wanted, NOW, SHANGHAI) is None


@given(st.text(max_size=200))
def test_text_that_was_made_fit_is_fit(text: str) -> None:
    assert mapping.fit_text(mapping.fit_text(text)) == mapping.fit_text(text)


@pytest.mark.parametrize(
    ("line", "due"),
    [
        ("DUE:20260701T130000Z", "2026-07-01T13:00:00.000000Z"),
        ("DUE;TZID=America/New_York:20260701T090000", "2026-07-01T13:00:00.000000Z"),
        ("DUE;TZID=America/New_York:20261201T090000", "2026-12-01T14:00:00.000000Z"),
        ("DUE:20260701T090000", "2026-07-01T01:00:00.000000Z"),  # floating: in the zone of the settings
        ("DUE;TZID=Nowhere/Known:20260701T090000", "2026-07-01T01:00:00.000000Z"),
        ("DUE;VALUE=DATE:20260701", "2026-07-01T15:59:59.000000Z"),
        ("DTSTART:20260701T010000Z\r\nDURATION:PT2H", "2026-07-01T03:00:00.000000Z"),
        ("DUE:next week", None),
        ("DUE:next week\r\nDUE:20260701T130000Z", "2026-07-01T13:00:00.000000Z"),
        ("X-NO:due", None),
    ],
)
def test_when_it_is_due_is_read_from_whatever_a_client_writes_and_left_so(line: str, due: str | None) -> None:
    data = calendar(line)
    assert read(data).body()["due_at"] == due
    written = revised(data, title="新的")
    assert written is not None
    for part in line.split("\r\n"):
        assert part in written


def test_a_new_time_is_written_in_utc() -> None:
    written = revised(calendar("DUE;TZID=America/New_York:20260701T090000"), due_at="2026-07-02T09:30:00+08:00")
    assert written is not None
    assert "DUE:20260702T013000Z" in written
    assert "TZID" not in written


def test_a_time_between_two_seconds_is_the_second() -> None:
    wanted = mapping.wanted_task(TASK | {"due_at": "2026-12-01T09:00:00.999999Z"})
    assert wanted.body()["due_at"] == "2026-12-01T09:00:00.000000Z"


def test_what_contradicts_a_new_date_goes_and_what_does_not_stays() -> None:
    """RFC 5545 §3.8.2.3: DUE has the type of DTSTART and lies behind it; it excludes DURATION."""
    of_days = calendar("DTSTART;VALUE=DATE:20260701", "DUE;VALUE=DATE:20260703")
    assert "DTSTART" not in (revised(of_days, due_at="2026-07-04T02:00:00Z") or "DTSTART")
    kept = revised(of_days, due_at="2026-07-04T15:59:59Z") or ""
    assert ("DTSTART;VALUE=DATE:20260701" in kept, "DUE;VALUE=DATE:20260704" in kept) == (True, True)
    late = calendar("DTSTART:20260701T010000Z", "DURATION:PT2H")
    assert "DURATION" not in (revised(late, due_at="2026-07-01T05:00:00Z") or "DURATION")
    assert "DTSTART" not in (revised(late, due_at="2026-06-01T05:00:00Z") or "DTSTART")
    assert "DUE" not in (revised(of_days, due_at=None) or "DUE")


@pytest.mark.parametrize(
    ("lines", "field", "value"),
    [
        (("PRIORITY:1",), "priority", "high"),
        (("PRIORITY:4",), "priority", "high"),
        (("PRIORITY:5",), "priority", "normal"),
        (("PRIORITY:6",), "priority", "low"),
        (("PRIORITY:0",), "priority", "normal"),
        (("PRIORITY:urgent",), "priority", "normal"),
        ((), "priority", "normal"),
        (("PERCENT-COMPLETE:150",), "progress", 100),
        (("PERCENT-COMPLETE:-3",), "progress", 0),
        (("PERCENT-COMPLETE:half",), "progress", 0),
        (("STATUS:COMPLETED",), "progress", 100),
        (("STATUS:needs-action",), "status", "open"),
        (("STATUS:IN-PROCESS",), "status", "in_progress"),
        (("STATUS:CANCELLED",), "status", "cancelled"),
        (("STATUS:PAUSED",), "status", "open"),
        (("COMPLETED:20261201T080000Z",), "status", "done"),
        (("STATUS:NEEDS-ACTION", "COMPLETED:20261201T080000Z"), "completed_at", None),
        (("STATUS:COMPLETED", "COMPLETED:20261201T080000Z"), "completed_at", "2026-12-01T08:00:00.000000Z"),
        ((), "title", "(untitled)"),
        (("SUMMARY:a", "SUMMARY:b"), "title", "a"),
        ((), "description", ""),
    ],
)
def test_a_field_is_read_whatever_a_client_left_out_or_garbled(lines: tuple[str, ...], field: str, value: Any) -> None:
    assert read(calendar(*lines)).body()[field] == value


def test_a_field_that_means_what_is_wanted_is_left_as_it_is() -> None:
    data = calendar("PRIORITY:3", "STATUS:PAUSED", "DUE;VALUE=DATE:20260701", "SUMMARY;LANGUAGE=zh:旧")
    assert revised(data) is None
    written = revised(data, description="新的说明") or ""
    for line in ("PRIORITY:3", "STATUS:PAUSED", "DUE;VALUE=DATE:20260701", "SUMMARY;LANGUAGE=zh:旧", "SEQUENCE:1"):
        assert line in written


def test_of_a_repeated_task_the_series_is_ours_and_its_days_are_not() -> None:
    day = "BEGIN:VTODO\r\nUID:u\r\nRECURRENCE-ID:20260702T010000Z\r\nSUMMARY:one day\r\nEND:VTODO\r\n"
    data = calendar("RRULE:FREQ=DAILY", "SUMMARY:series", before=day)
    assert read(data).title == "series"
    written = revised(data, title="new") or ""
    assert ("SUMMARY:one day" in written, "SUMMARY:new" in written) == (True, True)


def test_a_reopened_task_keeps_nothing_of_its_completion() -> None:
    done = calendar("STATUS:COMPLETED", "COMPLETED:20261201T080000Z", "PERCENT-COMPLETE:100", "SEQUENCE:4")
    written = revised(done, status="open", progress=0) or ""
    assert "STATUS:NEEDS-ACTION" in written
    assert "SEQUENCE:5" in written
    assert "COMPLETED:" not in written
    assert "PERCENT-COMPLETE" not in written


@pytest.mark.parametrize("data", [b"", b"not a calendar", b"\xff\xfe", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n",
                                  calendar().replace(b"VTODO", b"VEVENT"), calendar().replace(b"UID:u\r\n", b""),
                                  calendar() + calendar(), b"/etc/passwd"])  # fmt: skip
def test_what_holds_no_task_is_said_to_be_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        mapping.parse(data)


def test_our_id_is_believed_under_our_uid_alone() -> None:
    ours = mapping.new_calendar(mapping.uid_of("t-1"), "t-1", mapping.wanted_task(TASK), NOW)
    assert mapping.our_id(mapping.task_in(mapping.parse(ours))) == "t-1"
    copied = ours.replace(mapping.uid_of("t-1").encode(), b"a-copy")
    assert mapping.our_id(mapping.task_in(mapping.parse(copied))) is None
    assert (mapping.is_ours(mapping.uid_of("t-1")), mapping.is_ours("hub-1")) == (True, False)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"status": "waiting"}, "/status"),
        ({"priority": "urgent"}, "/priority"),
        ({"due_at": "tomorrow"}, "/due_at"),
        ({"due_at": "2026-12-01T09:00:00"}, "/due_at"),
        ({"status": "done", "completed_at": 5}, "/completed_at"),
    ],
)
def test_a_record_that_is_no_task_is_refused_with_its_field(change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Invalid) as refused:
        mapping.wanted_task(TASK | change)
    assert refused.value.failure.field == pointer


def test_a_task_completed_without_a_time_is_completed_now_and_stays_so() -> None:
    wanted = mapping.wanted_task(TASK | {"status": "done"})
    parsed = mapping.parse(calendar())
    mapping.revised(parsed, wanted, NOW, SHANGHAI)
    later = mapping.parse(parsed.to_ical())
    assert mapping.revised(later, wanted, NOW + timedelta(days=1), SHANGHAI) is None


@pytest.mark.parametrize(("said", "told"), [
    ("20261122T080000Z", NOW), ("20261122T160000", NOW), ("yesterday", None), (None, None)])
def test_when_a_colleague_changed_a_task_is_told_if_the_client_says(said: str | None, told: datetime | None) -> None:
    todo = mapping.task_in(mapping.parse(calendar(*([f"LAST-MODIFIED:{said}"] if said else []))))

    assert mapping.changed_at(todo, SHANGHAI) == told
