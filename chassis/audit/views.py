"""Whose values somebody was shown that are masked for others: written down before the answer leaves.

One's own records are left out: whoever works with a customer sees its number many times a day, and that the customer is
theirs stands in its history. A read has no transaction to be written in, so it gets one: no row, no answer.
"""

from __future__ import annotations

from chassis.audit import trail
from chassis.context import Subject
from chassis.masking import Seen
from chassis.runtime import Runtime
from contracts.operation import UNMASK, Operation


def written(runtime: Runtime, operation: Operation, subject: Subject, shown: Seen, request_id: str) -> None:
    """Write down the records of others that an answer shows without their masks.

    Raises:
        Unavailable: it could not be written down; the answer must not leave.
    """
    others = _of_others(shown, subject) if shown.revealed else []
    if not others:
        return
    with runtime.db.write() as session:
        trail.record(session, operation.routing_key, by=subject, entity=shown.entity,
                     record_id=others[0] if len(others) == 1 else "", details={"unmasked": others},
                     request_id=request_id)


def _of_others(shown: Seen, subject: Subject) -> list[str]:
    if subject.depth(shown.entity, UNMASK) == "own":
        return []
    records = shown.answer.get("items", [shown.answer])
    own = {record["id"] for record in records if record.get("owner_id") == subject.id}
    return [id for id in shown.revealed if id not in own]
