"""Refusals in the audit trail: what somebody may not do at all (403), and what is out of their reach (404).

A refusal has no transaction of its own to be written in: it gets one. Where that fails, the answer is the failure.

The trail is never pruned, and whoever is refused can ask again without end. So the same refusal of the same person is
written once a minute by each process; the entry after that tells how often it came meanwhile.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.audit import trail
from chassis.context import Subject
from chassis.runtime import Runtime
from contracts.errors import Forbidden, HubError, NotFound
from contracts.operation import Operation

QUIET_S = 60.0
"""Seconds after an entry in which the same refusal is counted only."""
_MOST = 10_000
"""Refusals that are counted at once; the longest forgotten is written again at once."""
_REPEATS = "denials"

_ID = re.compile(r"[0-9a-f-]{36}")
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


Refusal = tuple[str, ...]
"""(actor, action, record, reason); without the record where no record of the kind may be touched at all."""


class Repeats:
    """The refusals of the last minute.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._written: OrderedDict[Refusal, tuple[float, int]] = OrderedDict()

    def is_one(self, refusal: Refusal) -> bool:
        """Count a refusal that was written within the last minute; return False if it is to be written."""
        at, count = self._written.get(refusal, (float("-inf"), 0))
        if self._now() - at >= QUIET_S:
            return False
        self._written[refusal] = at, count + 1
        return True

    def since_written(self, refusal: Refusal) -> int:
        """Return how often it came since its last entry."""
        return self._written.get(refusal, (0.0, 0))[1]

    def written(self, refusal: Refusal) -> None:
        """Remember that it has an entry."""
        self._written[refusal] = self._now(), 0
        self._written.move_to_end(refusal)
        if len(self._written) > _MOST:
            self._written.popitem(last=False)


@contextmanager
def written(runtime: Runtime, operation: Operation, subject: Subject, request: Any, request_id: str) -> Iterator[None]:
    """Write down what is refused within, then let the refusal pass on.

    A record that is not there at all is nobody's to be kept from, and not written down.

    Raises:
        Unavailable: it could not be written down.
    """
    try:
        yield
    except (Forbidden, NotFound) as error:
        if runtime.store is not None:
            _write(runtime, operation, subject, request if isinstance(request, Mapping) else {}, request_id, error)
        raise


def _write(runtime: Runtime, operation: Operation, subject: Subject, request: Mapping[str, Any], request_id: str,
           error: HubError) -> None:
    if isinstance(error, NotFound):
        with runtime.db.read() as session:
            if not _stands(session, tables_of(getattr(runtime.extra.get("module"), "BASE", None)), error.fields):
                return
    needed = operation.permission.entity if operation.permission else ""
    entity, record_id = error.fields.get("entity"), error.fields.get("id")
    reason = "out_of_reach" if isinstance(error, NotFound) else error.code
    # Whoever lacks the right lacks it for every record: names that a client makes up must not multiply the entries.
    refusal = (subject.id, operation.routing_key, str(record_id or ""), reason)
    repeats: Repeats = runtime.extra.setdefault(_REPEATS, Repeats())
    if repeats.is_one(refusal):
        return
    if record_id is None and _ID.fullmatch(str(request.get("id"))):
        record_id = request["id"]
    told = {name: value for name, value in error.fields.items() if name not in {"entity", "id"}}
    if count := repeats.since_written(refusal):
        told["repeated"] = count
    with runtime.db.write() as session:
        trail.record(session, operation.routing_key, by=subject, entity=str(entity or operation.audited or needed),
                     record_id=str(record_id or ""), outcome="denied", details={"reason": reason, **told},
                     request_id=request_id)
    repeats.written(refusal)


def _stands(session: Session, tables: Mapping[str, sa.Table], named: Mapping[str, Any]) -> bool:
    """Tell whether the record that an error names is in its table: then it is the reach that was missing."""
    table, id = tables.get(str(named.get("entity"))), named.get("id")
    if table is None or "id" not in table.c or not isinstance(id, str):
        return False
    return session.execute(sa.select(sa.literal(1)).where(table.c.id == id)).first() is not None


@cache
def tables_of(base: type[Any] | None) -> dict[str, sa.Table]:
    """Return a room's tables by the kind of record that errors and permissions name: `api_key` for `ApiKey`."""
    mappers = base.registry.mappers if base is not None else ()
    return {_CAPITAL.sub("_", mapper.class_.__name__).lower(): mapper.local_table for mapper in mappers}
