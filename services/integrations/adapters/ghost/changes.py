"""Who entered or left the newsletter since the last poll: the net under the webhooks.

Scar: a member's `updated_at` does not move when it leaves a newsletter, so a poll by that misses every refusal. Ghost
keeps a list of such events, newest first, and gives a hundred at once. The first poll walks all members; a later one
asks for the events since, and walks all members again should more have happened in one second than it can be told.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hub_adapter.failure import AdapterError
from hub_adapter.port import Change, Page
from services.integrations.adapters.ghost import mapping
from services.integrations.adapters.ghost.admin import PAGE, Admin
from services.integrations.adapters.ghost.mapping import Row
from services.integrations.adapters.ghost.members import remotes

PAGES = 5
"""How many pages of events one poll reads before it would rather walk all members."""


@dataclass
class Checkpoint:
    """How far the polls have come.

    Args:
        seen: the second of the newest event that was in an answer; before the first one, a time before the walk began.
        walked: of a walk over all members, the id of the last one; None when none is under way.
    """

    seen: datetime
    walked: str | None = None

    @classmethod
    def read(cls, text: str) -> Checkpoint:
        try:
            known = json.loads(text)
            walked = known["walked"]
            return cls(datetime.fromisoformat(known["seen"]), None if walked is None else str(walked))
        except (ValueError, KeyError, TypeError):
            raise AdapterError(f"not a checkpoint of this adapter: {text[:100]!r}") from None

    def text(self) -> str:
        return json.dumps({"seen": self.seen.isoformat(), "walked": self.walked})


def changes(admin: Admin, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
    """The next members to look at, each as it is now."""
    point = Checkpoint.read(checkpoint) if checkpoint else Checkpoint(_newest(admin), "")
    if point.walked is None and (named := _named(admin, point)) is not None:
        ids = sorted(named)
        members = [one for n in range(0, len(ids), PAGE) for one in admin.members(_either(ids[n : n + PAGE]))]
        return Page(items=_told(admin, entity, members), next_cursor=point.text(), complete=True)
    size = max(1, min(limit, PAGE))
    members = admin.members(f"id:>'{point.walked or '0'}'", size)
    complete = len(members) < size
    point.walked = None if complete else members[-1]["id"]
    return Page(items=_told(admin, entity, members), next_cursor=point.text(), complete=complete)


def _newest(admin: Admin) -> datetime:
    """The time of the newest event, by Ghost's own clock; what comes later is told by the next poll."""
    events = admin.subscriptions(f"data.created_at:>={mapping.in_filter(datetime(2000, 1, 1, tzinfo=UTC))}")
    return datetime.fromisoformat(events[0]["created_at"]) if events else datetime(2000, 1, 1, tzinfo=UTC)


def _named(admin: Admin, point: Checkpoint) -> set[str] | None:
    """The members of all events since the checkpoint, which moves on; None if they are too many to be told."""
    since = mapping.in_filter(point.seen - timedelta(seconds=admin.settings.overlap_s))
    clause, named, newest = f"data.created_at:>={since}", set[str](), point.seen
    until: datetime | None = None
    for _ in range(PAGES):
        before = f"+data.created_at:<={mapping.in_filter(until)}" if until else ""
        events = admin.subscriptions(clause + before)
        named |= {event["member_id"] for event in events if event["newsletter_id"] == admin.settings.newsletter}
        times = [datetime.fromisoformat(event["created_at"]) for event in events]
        newest = max([newest, *times])
        if len(events) < PAGE:
            point.seen = newest
            return named
        if min(times) == until:
            break
        until = min(times)
    point.seen = newest
    return None


def _either(ids: Sequence[str]) -> str:
    return "id:[" + ",".join(f"'{one}'" for one in ids) + "]"


def _told(admin: Admin, entity: str, members: list[Row]) -> list[Change]:
    return [
        Change(
            entity=entity, external_id=one.external_id, op="upsert", body=one.body, version=one.version or ""
        )
        for one in remotes(admin, members)
    ]
