"""Reading what runs have found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.masking import Seen
from chassis.paging import Order, Page, Sealer, keyset_page, narrowed
from contracts.errors import NotFound
from contracts.operation import UNMASK
from contracts.runs import Finding as Told
from contracts.schema import instance_of
from services.integrations.domain.veils import veiled_finding
from services.integrations.models import Finding, Run
from services.integrations.queries import runs


def get(session: Session, run_id: str, finding_id: str) -> Finding:
    """Return a finding of a run.

    Raises:
        NotFound: it has none like that.
    """
    found = session.scalar(sa.select(Finding).where(Finding.id == finding_id, Finding.run_id == run_id))
    if found is None:
        raise NotFound("There is no such finding", entity="finding", id=finding_id)
    return found


def listed(session: Session, asked: Mapping[str, Any], subject: Subject, sealer: Sealer) -> tuple[Page, Seen]:
    """Return one page of what a run has found, in order, and whose values are in it without their masks.

    Raises:
        NotFound: there is no such run, or it is out of reach.
        InvalidCursor: the cursor is not one of this list.
    """
    run = runs.get(session, asked["id"], subject)
    page = keyset_page(session, filtered(asked), Order(Finding.id, Finding.id), asked, subject, sealer, name="findings")
    items = [told(run, finding, subject) for finding in page.items]
    revealed = tuple(item["local_id"] or item["external_id"] for item in items
                     if item["detail"] != veiled_finding(run.entity, item["detail"]))
    return Page(items, page.next), Seen({"items": []}, run.entity, revealed)


def filtered(asked: Mapping[str, Any]) -> sa.Select[Finding]:
    """Select the findings of a run by the filters that were given."""
    query = sa.select(Finding).where(Finding.run_id == asked["id"])
    return narrowed(query, Finding, asked, "kind", "state")


def told(run: Run, finding: Finding, subject: Subject | None) -> dict[str, Any]:
    """Return a finding as the subject may see it: without the right to unmask all such records, under masks.

    Under masks for everybody where there is no subject: of an answer that nobody writes down as seen.
    """
    shown = {name: getattr(finding, name) for name in instance_of(Told).dump_fields}
    if subject is None or subject.depth(run.entity, UNMASK) != "all":
        shown["detail"] = veiled_finding(run.entity, shown["detail"])
    return shown
