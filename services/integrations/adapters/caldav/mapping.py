"""Our task ↔ a VTODO (RFC 5545). Pure functions: no call, no clock.

A field that already says what is wanted is left as the colleague's client wrote it (a due date without a time, a time
in their zone, priority 3 for high); what differs is written in one form. All other properties and alarms stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from icalendar import Calendar, Component, ComponentFactory, Todo
from icalendar.parser.ical.calendar import CalendarIcalParser
from icalendar.prop import TypesFactory

from hub_adapter.failure import Invalid

PRODUCT = "-//crm-hub//caldav//EN"
OUR_ID = "X-HUB-ID"
UNTITLED = "(untitled)"
LONGEST_UID = 200

STATUS_HERE = {"NEEDS-ACTION": "open", "IN-PROCESS": "in_progress", "COMPLETED": "done", "CANCELLED": "cancelled"}
STATUS_THERE = {ours: theirs for theirs, ours in STATUS_HERE.items()}
PRIORITY_THERE = {"high": 1, "normal": 5, "low": 9}

_MOMENT = {"type": ["string", "null"], "format": "date-time"}
FIELDS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "description": {"type": ["string", "null"]},
        "due_at": _MOMENT,
        "priority": {"enum": list(PRIORITY_THERE)},
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "status": {"enum": list(STATUS_THERE)},
        "completed_at": _MOMENT,
    },
}
"""What of our tasks a calendar takes."""

# XML cannot carry control characters, and servers drop them: written, they would differ from what is read, for ever.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LINE_ENDS = re.compile("\r\n|[\r\u2028\u2029]")


class Unreadable(Exception):
    """The text is no calendar, or holds no task."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """The fields that both sides keep. Moments are in UTC, to the second, as a calendar holds them."""

    title: str
    description: str
    due_at: datetime | None
    priority: str
    progress: int
    status: str
    completed_at: datetime | None

    def body(self) -> dict[str, Any]:
        """The canonical record."""
        return {
            "title": self.title,
            "description": self.description,
            "due_at": stamp(self.due_at),
            "priority": self.priority,
            "progress": self.progress,
            "status": self.status,
            "completed_at": stamp(self.completed_at),
        }


# --- keys ------------------------------------------------------------------------------------------------------------


def uid_of(task_id: str) -> str:
    """The UID under which our task stands there: the same for ever, so that a second creation finds the first."""
    return f"hub-{hashlib.sha256(task_id.encode()).hexdigest()[:32]}"


def is_ours(uid: str) -> bool:
    """Whether the UID was given by a hub."""
    return re.fullmatch("hub-[0-9a-f]{32}", uid) is not None


def resource_name(uid: str) -> str:
    """Where a task with this UID is put: most clients name a resource after its UID, ours included."""
    return f"{uid}.ics" if "/" not in uid else f"{hashlib.sha256(uid.encode()).hexdigest()[:32]}.ics"


def stamp(moment: datetime | None) -> str | None:
    """A moment as canonical records spell it: 2026-12-01T09:00:00.000000Z."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z" if moment else None


def fit_text(text: str) -> str:
    """The text with one kind of line end and without what no calendar server keeps."""
    return _UNFIT.sub("", _LINE_ENDS.sub("\n", text))


# --- ours ------------------------------------------------------------------------------------------------------------


def wanted_task(body: Mapping[str, Any]) -> Task:
    """What a canonical record asks for, as far as a calendar can hold it.

    Raises:
        Invalid: a field is not what the contract says; `field` names it.
    """
    status, priority = body.get("status") or "open", body.get("priority") or "normal"
    if status not in STATUS_THERE:
        raise Invalid(f"{status!r} is no status of a task", field="/status")
    if priority not in PRIORITY_THERE:
        raise Invalid(f"{priority!r} is no priority of a task", field="/priority")
    done = status == "done"
    return Task(
        title=fit_text(str(body.get("title") or "")) or UNTITLED,
        description=fit_text(str(body.get("description") or "")),
        due_at=_moment(body.get("due_at"), "/due_at"),
        priority=priority,
        progress=100 if done else min(max(int(body.get("progress") or 0), 0), 100),
        status=status,
        completed_at=_moment(body.get("completed_at"), "/completed_at") if done else None,
    )


def expected(body: Mapping[str, Any]) -> dict[str, Any]:
    """A record as `read_task` tells it once it stands there; when a task was done is left to them if we do not know.

    Raises:
        Invalid: as `wanted_task`.
    """
    told = wanted_task(body).body()
    if told["status"] == "done" and told["completed_at"] is None:
        del told["completed_at"]
    return told


def _moment(text: Any, pointer: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise Invalid(f"{text!r} is no time", field=pointer) from None
    if moment.tzinfo is None:
        raise Invalid(f"{text!r} has no zone", field=pointer)
    return moment.astimezone(UTC).replace(microsecond=0)


def new_calendar(uid: str, task_id: str, task: Task, now: datetime) -> bytes:
    """A calendar object that holds a new task."""
    todo = Todo()
    todo.add("UID", uid)
    todo[OUR_ID] = task_id
    todo.add("CREATED", now)
    _apply(todo, _BLANK, task, now, UTC_ZONE)
    todo.add("SEQUENCE", 0)
    _touch(todo, now)
    calendar = Calendar()
    calendar.add("VERSION", "2.0")
    calendar.add("PRODID", PRODUCT)
    calendar.add_component(todo)
    return bytes(calendar.to_ical())


def revised(calendar: Component, task: Task, now: datetime, zone: ZoneInfo) -> bytes | None:
    """Bring the task of a calendar object to what is wanted, in place; its text, None when nothing differed."""
    todo = task_in(calendar)
    if not _apply(todo, read_task(todo, zone), task, now, zone):
        return None
    _set(todo, "SEQUENCE", (_number(todo, "SEQUENCE") or 0) + 1)
    _touch(todo, now)
    return bytes(calendar.to_ical())


def _touch(todo: Component, now: datetime) -> None:
    for name in ("DTSTAMP", "LAST-MODIFIED"):
        _set(todo, name, now.astimezone(UTC).replace(microsecond=0))


def _apply(todo: Component, standing: Task, wanted: Task, now: datetime, zone: ZoneInfo) -> bool:
    """Write what differs; return whether anything did."""
    changed = False
    for name, mine, theirs in (
        ("SUMMARY", wanted.title, standing.title),
        ("DESCRIPTION", wanted.description or None, standing.description or None),
        ("PRIORITY", PRIORITY_THERE[wanted.priority], PRIORITY_THERE[standing.priority]),
        ("STATUS", STATUS_THERE[wanted.status], STATUS_THERE.get(standing.status)),
        ("PERCENT-COMPLETE", wanted.progress, standing.progress),
    ):
        if mine != theirs:
            _set(todo, name, mine)
            changed = True
    if wanted.status == "done":
        completed = wanted.completed_at or standing.completed_at or now.astimezone(UTC).replace(microsecond=0)
    else:
        completed = None
    if completed != standing.completed_at:
        _set(todo, "COMPLETED", completed)
        changed = True
    if wanted.status != standing.status:
        # A client may leave one of the three behind; a change of status makes them agree.
        _set(todo, "PERCENT-COMPLETE", wanted.progress or None)
        _set(todo, "COMPLETED", completed)
    if wanted.due_at != standing.due_at:
        _set_due(todo, wanted.due_at, zone)
        changed = True
    return changed


def _set_due(todo: Component, due: datetime | None, zone: ZoneInfo) -> None:
    """Write when it is due: in UTC, since servers lose half of a zone's rules on the way (RDATEs of a VTIMEZONE).

    DUE excludes DURATION, has the type of DTSTART, and lies behind it (RFC 5545 §3.8.2.3): what would contradict the
    new date goes.
    """
    start = _when(todo, "DTSTART")
    todo.pop("DURATION", None)
    whole_day = due is not None and _is_day(start) and due == _end_of(due.astimezone(zone).date(), zone)
    value: date | None = due.astimezone(zone).date() if due and whole_day else due
    _set(todo, "DUE", value)
    if due is None or start is None:
        return
    if _is_day(start) != whole_day or _instant(start, zone) > due:
        todo.pop("DTSTART", None)


def _set(todo: Component, name: str, value: Any) -> None:
    todo.pop(name, None)
    if value is not None:
        todo.add(name, value)


# --- theirs ----------------------------------------------------------------------------------------------------------


class _TolerantTodo(Todo):
    """Keeps a property that it cannot read as it is, instead of refusing the task for it."""

    ignore_exceptions = True


def _factory() -> ComponentFactory:
    factory = ComponentFactory()
    factory.add_component_class(_TolerantTodo)
    return factory


def parse(data: bytes) -> Component:
    """The calendar object of a resource.

    Raises:
        Unreadable: it is none, or holds no task.
    """
    try:
        components = CalendarIcalParser(data, _factory(), TypesFactory()).parse()
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise Unreadable(f"no calendar: {type(error).__name__}") from None
    if len(components) != 1:
        raise Unreadable(f"{len(components)} calendars in one resource")
    calendar: Component = components[0]
    task_in(calendar)
    return calendar


def task_in(calendar: Component) -> Component:
    """The task of a calendar object: of a repeated one the series, not one of its days.

    Raises:
        Unreadable: there is none with a UID.
    """
    todos: list[Component] = [todo for todo in calendar.walk("VTODO") if todo.get("UID")]
    for todo in todos:
        if "RECURRENCE-ID" not in todo:
            return todo
    if not todos:
        raise Unreadable("no task in it")
    return todos[0]


def uid_in(calendar: Component) -> str:
    """The UID of the task."""
    return str(_first(task_in(calendar), "UID"))


def our_id(todo: Component) -> str | None:
    """Our id of a task that the hub made. A copy that a colleague made of it carries the id too, under another UID."""
    told = _first(todo, OUR_ID)
    return str(told) if told is not None and uid_of(str(told)) == str(_first(todo, "UID")) else None


def read_task(todo: Component, zone: ZoneInfo) -> Task:
    """A VTODO in our words, whatever its client left out or garbled.

    Args:
        zone: where a date is a day and a time without a zone is meant. A task due on a day is due at its last second.
    """
    completed = _utc(_when(todo, "COMPLETED"), zone)
    told = str(_first(todo, "STATUS") or "").upper()
    status = STATUS_HERE.get(told) or ("done" if completed else "open")
    progress = 100 if status == "done" else min(max(_number(todo, "PERCENT-COMPLETE") or 0, 0), 100)
    return Task(
        title=fit_text(str(_first(todo, "SUMMARY") or "")) or UNTITLED,
        description=fit_text(str(_first(todo, "DESCRIPTION") or "")),
        due_at=_utc(_due(todo, zone), zone),
        priority=_priority(_number(todo, "PRIORITY") or 0),
        progress=progress,
        status=status,
        completed_at=completed if status == "done" else None,
    )


def changed_at(todo: Component, zone: ZoneInfo) -> datetime | None:
    """When a client changed it last (RFC 5545 §3.8.7.3), if it says."""
    return _utc(_when(todo, "LAST-MODIFIED"), zone)


def _priority(number: int) -> str:
    """RFC 5545 §3.8.1.9: 1 to 4 is high, 5 medium, 6 to 9 low, 0 undefined."""
    if 1 <= number <= 4:
        return "high"
    return "low" if 6 <= number <= 9 else "normal"


def _due(todo: Component, zone: ZoneInfo) -> date | None:
    due = _when(todo, "DUE")
    start, lasts = _when(todo, "DTSTART"), _first(todo, "DURATION")
    if due is not None or start is None or not isinstance(getattr(lasts, "dt", None), timedelta):
        return due
    return _instant(start, zone) + timedelta(seconds=lasts.dt.total_seconds())


def _first(todo: Component, name: str) -> Any:
    """The first readable value of a property; a client may have written it twice, or garbled it."""
    value = todo.get(name)
    for one in value if isinstance(value, list) else [value]:
        if one is not None and type(one).__name__ != "vBroken":
            return one
    return None


def _number(todo: Component, name: str) -> int | None:
    value = _first(todo, name)
    return int(value) if isinstance(value, int) else None


def _when(todo: Component, name: str) -> date | None:
    value = getattr(_first(todo, name), "dt", None)
    return value if isinstance(value, date) else None


def _is_day(value: date | None) -> bool:
    return value is not None and not isinstance(value, datetime)


def _end_of(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(23, 59, 59), zone).astimezone(UTC)


def _instant(value: date, zone: ZoneInfo) -> datetime:
    """The moment of a date (its beginning) or a time, in UTC."""
    if not isinstance(value, datetime):
        return datetime.combine(value, time(), zone).astimezone(UTC)
    return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC).replace(microsecond=0)


def _utc(value: date | None, zone: ZoneInfo) -> datetime | None:
    if value is None:
        return None
    return _end_of(value, zone) if _is_day(value) else _instant(value, zone)


UTC_ZONE = ZoneInfo("UTC")
_BLANK = Task(title="", description="", due_at=None, priority="normal", progress=0, status="", completed_at=None)
