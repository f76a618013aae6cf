"""Writes of tasks as the engine makes them."""

from __future__ import annotations

from typing import Any

from hub_adapter.port import Change, Context, Write, Written
from services.integrations.adapters.caldav.adapter import CaldavAdapter

OBJECT = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//colleague//EN\r\nBEGIN:VTODO\r\nUID:{uid}\r\n"
    "DTSTAMP:20261122T000000Z\r\nSUMMARY:{title}\r\n{more}END:VTODO\r\nEND:VCALENDAR\r\n"
)


def todo(uid: str, title: str = "报销", more: str = "") -> str:
    """A task as a colleague's program makes it; `more` are further lines, each with its line end."""
    return OBJECT.format(uid=uid, title=title, more=more)


def as_write(body: dict[str, Any], account: str | None, known: Written | None = None, **changed: Any) -> Write:
    """The write of a task; of one that is bound, with what the last write said of it."""
    given: dict[str, Any] = {
        "local_id": body["id"],
        "body": body,
        "idempotency_key": f"k-{body['id']}",
        "source_version": body["version"],
        "references": {"account": account} if account else {},
        "external_id": known.external_id if known else None,
        "expected_version": known.remote_version if known else None,
    }
    return Write(**given | changed)


def poll(
    adapter: CaldavAdapter, ctx: Context, checkpoint: str | None = None, limit: int = 100
) -> tuple[list[Change], str]:
    """Every change since the checkpoint, page by page, and the checkpoint behind them."""
    told: list[Change] = []
    complete = False
    while not complete:
        page = adapter.changes(ctx, "task", checkpoint, limit)
        assert page.next_cursor is not None
        told += page.items
        checkpoint, complete = page.next_cursor, page.complete
    assert checkpoint is not None
    return told, checkpoint
