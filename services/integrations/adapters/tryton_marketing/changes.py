"""Who was subscribed or unsubscribed since the last poll, whoever they belong to; the first poll tells of every one."""

from __future__ import annotations

from hub_adapter.port import Change, Page
from services.integrations.adapters.tryton_marketing.roll import EMAIL, Roll
from services.integrations.adapters.wires import tryton_walk as walk


def changes(roll: Roll, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
    """The next changed rows, each as it is now."""
    ours = (["list_", "=", roll.settings.mailing_list],)
    streams = (walk.Stream(EMAIL, (), lambda row: [row["id"]], ours),)
    step = walk.step(roll, streams, checkpoint, limit, roll.settings.overlap_s)
    told = [
        Change(
            entity=entity,
            external_id=str(row.id),
            op="upsert",
            body=roll.body(row),
            version=row.version,
            changed_at=row.changed_at,
        )
        for row in (roll.by_ids(step.stamps) if step.stamps else [])
    ]
    return Page(items=told, next_cursor=step.cursor, complete=step.complete)
