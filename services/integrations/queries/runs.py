"""Reading runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.access import visible as within_reach
from chassis.context import Subject
from chassis.paging import Order, Page, Sealer, keyset_page, narrowed
from contracts.errors import NotFound
from contracts.operation import Permission
from contracts.runs import Run as Told
from contracts.schema import instance_of
from services.integrations.domain.runs import TO_CONFIRM, UNFINISHED
from services.integrations.models import Run
from services.integrations.models.base import one_of
from services.integrations.queries.statements import built_once, locking


def visible(subject: Subject, action: str) -> sa.ColumnElement[bool]:
    """The one predicate: which runs `subject` may do `action` to. They belong to nobody: all or none."""
    return within_reach(subject, Permission("run", action))


def get(session: Session, run_id: str, subject: Subject, action: str = "read", *, locked: bool = False) -> Run:
    """Return a run within the subject's reach.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    query = sa.select(Run).where(Run.id == run_id, visible(subject, action))
    found = session.scalar(locking(query) if locked else query)
    if found is None:
        raise NotFound("There is no such run", entity="run", id=run_id)
    return found


def listed(session: Session, asked: Mapping[str, Any], subject: Subject, sealer: Sealer) -> Page:
    """Return one page of the runs within the subject's reach, newest first.

    Raises:
        InvalidCursor: the cursor is not one of this list.
    """
    query = filtered(asked).where(visible(subject, "read"))
    page = keyset_page(session, query, Order(Run.id, Run.id, descending=True), asked, subject, sealer, name="runs")
    return Page([told(run) for run in page.items], page.next)


def filtered(asked: Mapping[str, Any]) -> sa.Select[Run]:
    """Select runs by the filters that were given."""
    return narrowed(sa.select(Run), Run, asked, "connection_id", "kind", "state")


def told(run: Run) -> dict[str, Any]:
    """Return a run as it is shown, with the number that approving it takes."""
    shown = {name: getattr(run, name) for name in instance_of(Told).dump_fields if name != "to_confirm"}
    return shown | {"to_confirm": run.counts.get(TO_CONFIRM, 0) if run.state == "awaiting_approval" else None}


def unfinished(session: Session, connection_id: str, entity: str, kind: str) -> str | None:
    """Return the run of a kind that has not ended."""
    return session.scalar(sa.select(Run.id).where(
        Run.connection_id == connection_id, Run.entity == entity, Run.kind == kind, one_of("run.state", UNFINISHED)))


def has_completed(session: Session, connection_id: str, entity: str, kind: str) -> bool:
    """Tell whether a run of a kind has ever come to its end."""
    done = sa.select(Run.id).where(Run.connection_id == connection_id, Run.entity == entity, Run.kind == kind,
                                   Run.state == "completed")
    return session.scalar(done.limit(1)) is not None


def any_repeated(session: Session, now: dt.datetime) -> bool:
    """Tell whether it is time to repeat a run."""
    return session.execute(*_repeated(now)).first() is not None


def to_repeat(session: Session, now: dt.datetime) -> list[Run]:
    """Return the runs that it is time to repeat, locked."""
    due = sa.select(Run).where(Run.next_run_at <= now, Run.next_run_at.is_not(None)).order_by(Run.next_run_at)
    return list(session.scalars(due.with_for_update(skip_locked=True)))


@built_once
def _repeated(now: dt.datetime) -> sa.Select[Any]:
    return sa.select(Run.id).where(Run.next_run_at <= now, Run.next_run_at.is_not(None)).limit(1)
