"""Asking a Tryton what changed: it sends no webhooks, so rows are walked by the stamp of their last change.

A record changes in several places, each with a stamp of its own. A poll walks all of them and names each record that
shows up; the caller reads it as it is now.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hub_adapter.failure import AdapterError
from services.integrations.adapters.wires.tryton import Rest, Row, read_datetime, wire_datetime


@dataclass(frozen=True)
class Stream:
    """One place to look for changes.

    Args:
        model: whose rows are walked.
        fields: what of a row `named` needs.
        named: reads the ids of the records that changed off a row.
        domain: which rows count.
    """

    model: str
    fields: tuple[str, ...]
    named: Callable[[Row], Sequence[int]]
    domain: tuple[Any, ...] = ()


@dataclass
class Checkpoint:
    """How far the polls have come.

    `seen`: per stream, the greatest stamp that was in an answer, never a clock of ours: stamps there are the start of a
    transaction, and rows have shown up 4.6 s after theirs. `walking`: the stream in hand and the row to go on after.
    """

    seen: dict[str, str] = field(default_factory=dict)
    walking: int = 0
    after: tuple[str, int] | None = None

    @classmethod
    def read(cls, text: str) -> Checkpoint:
        try:
            known = json.loads(text)
            after = known["after"]
            return cls(known["seen"], known["walking"], (after[0], after[1]) if after else None)
        except (ValueError, KeyError, TypeError, IndexError):
            raise AdapterError(f"not a checkpoint of this adapter: {text[:100]!r}") from None

    def text(self) -> str:
        return json.dumps({"seen": self.seen, "walking": self.walking, "after": self.after})


@dataclass(frozen=True)
class Step:
    """The records of one page with the greatest stamp that named each, and where the next page begins."""

    stamps: dict[int, datetime]
    cursor: str
    complete: bool


def step(rest: Rest, streams: Sequence[Stream], checkpoint: str | None, limit: int, overlap_s: int) -> Step:
    """The next rows of all streams. Each poll begins `overlap_s` before the greatest stamp seen, and is walked by
    (stamp, id), so that a batch of equal stamps longer than a page loses nothing."""
    point = Checkpoint.read(checkpoint) if checkpoint else _beginning(rest, streams)
    stamps: dict[int, datetime] = {}
    room = max(limit, 1)
    while room > 0 and point.walking < len(streams):
        stream = streams[point.walking]
        rows = _rows_after(rest, stream, point, room, overlap_s)
        for row in rows:
            stamp = read_datetime(row["last_modified_at"])
            for record in stream.named(row):
                stamps[record] = max(stamp, stamps.get(record, stamp))
        if rows:
            last = read_datetime(rows[-1]["last_modified_at"]).isoformat()
            point.seen[stream.model] = max(last, point.seen.get(stream.model, last), key=datetime.fromisoformat)
            point.after = (last, rows[-1]["id"])
        if len(rows) < room:
            point.walking, point.after = point.walking + 1, None
        room -= len(rows)
    complete = point.walking == len(streams)
    if complete:
        point.walking, point.after = 0, None
    return Step(stamps, point.text(), complete)


def _beginning(rest: Rest, streams: Sequence[Stream]) -> Checkpoint:
    """The first poll reports every record once, through its first stream, and reads the rest of it then. The others are
    followed from now on only: years of them would say the same records over and over."""
    point = Checkpoint()
    for stream in streams[1:]:
        newest = rest.search(
            stream.model, list(stream.domain), ["last_modified_at"], limit=1, order=[["last_modified_at", "DESC"]]
        )
        if newest:
            point.seen[stream.model] = read_datetime(newest[0]["last_modified_at"]).isoformat()
    return point


def _rows_after(rest: Rest, stream: Stream, point: Checkpoint, limit: int, overlap_s: int) -> list[Row]:
    domain: list[Any] = list(stream.domain)
    if point.after is not None:
        stamp, row_id = wire_datetime(datetime.fromisoformat(point.after[0])), point.after[1]
        later = [["last_modified_at", ">", stamp]]
        domain.append(["OR", later, [["last_modified_at", "=", stamp], ["id", ">", row_id]]])
    elif (seen := point.seen.get(stream.model)) is not None:
        start = datetime.fromisoformat(seen) - timedelta(seconds=overlap_s)
        domain.append(["last_modified_at", ">=", wire_datetime(start)])
    by_stamp = [["last_modified_at", "ASC"], ["id", "ASC"]]
    return rest.search(stream.model, domain, [*stream.fields, "last_modified_at"], limit=limit, order=by_stamp)
