"""Who was subscribed or unsubscribed since the last poll: Tryton sends no webhooks, so rows are walked by their stamp.

A stamp there is the start of a transaction, and rows have shown up 4.6 s after theirs. So a poll begins some time
before the greatest stamp that it has seen, never by a clock of ours, and goes on by (stamp, id): a batch of equal
stamps longer than a page loses nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hub_adapter.failure import AdapterError
from hub_adapter.port import Change, Page
from services.integrations.adapters.tryton_marketing.roll import Roll, later_than, since


@dataclass
class Checkpoint:
    """`seen`: the greatest stamp that was in an answer. `after`: the row behind which a walk goes on."""

    seen: datetime | None = None
    after: tuple[datetime, int] | None = None

    @classmethod
    def read(cls, text: str) -> Checkpoint:
        try:
            known = json.loads(text)
            seen, after = known["seen"], known["after"]
            return cls(
                datetime.fromisoformat(seen) if seen else None,
                (datetime.fromisoformat(after[0]), int(after[1])) if after else None,
            )
        except (ValueError, KeyError, TypeError, IndexError):
            raise AdapterError(f"not a checkpoint of this adapter: {text[:100]!r}") from None

    def text(self) -> str:
        after = [self.after[0].isoformat(), self.after[1]] if self.after else None
        return json.dumps({"seen": self.seen.isoformat() if self.seen else None, "after": after})

    def clause(self, overlap_s: int) -> list[Any]:
        """What a row has to be to come next."""
        if self.after is not None:
            return [later_than(*self.after)]
        return [since(self.seen - timedelta(seconds=overlap_s))] if self.seen else []


def changes(roll: Roll, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
    """The next changed rows, whoever they belong to; the first poll tells of every one."""
    point, size = Checkpoint.read(checkpoint) if checkpoint else Checkpoint(), max(limit, 1)
    rows = roll.changed(point.clause(roll.settings.overlap_s), size)
    complete = len(rows) < size
    if rows:
        last = rows[-1]
        point.seen = max(point.seen or last.changed_at, last.changed_at)
        point.after = (last.changed_at, last.id)
    if complete:
        point.after = None
    told = [
        Change(
            entity=entity,
            external_id=str(row.id),
            op="upsert",
            body=roll.body(row),
            version=row.version,
            changed_at=row.changed_at,
        )
        for row in rows
    ]
    return Page(items=told, next_cursor=point.text(), complete=complete)
