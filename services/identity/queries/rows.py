"""Finding one row or one page of rows within a condition."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.paging import Order, Page, keyset_page
from contracts.errors import NotFound, StaleVersion
from contracts.schema import Codec

Row = TypeVar("Row")


def one(session: Session, model: type[Row], id: str, within: ColumnElement[bool]) -> Row:
    """Return the row with this id.

    Raises:
        NotFound: there is none within the condition.
    """
    return _found(session, select(model).where(_id(model) == id, within), model, id)


def locked(
    session: Session, model: type[Row], id: str, within: ColumnElement[bool], expected_version: int | None = None
) -> Row:
    """Return the row with this id, locked until the transaction ends.

    Raises:
        NotFound: there is none within the condition.
        StaleVersion: it is no longer at `expected_version`.
    """
    query = select(model).where(_id(model) == id, within).with_for_update().execution_options(populate_existing=True)
    row: Any = _found(session, query, model, id)
    if expected_version is not None and row.version != expected_version:
        raise StaleVersion(f"The {_noun(model)} is at version {row.version}", version=row.version)
    found: Row = row
    return found


def page(
    session: Session, query: Select[Any], model: type[Any], request: dict[str, Any], subject: Subject, codec: Codec
) -> Page:
    """Return one page of `query`, newest first.

    The key is the id, which never changes: rows that come or go meanwhile neither repeat nor hide others.

    Raises:
        InvalidCursor: the cursor was not made for this list, these filters and this subject.
    """
    order = Order(by=model.id, id=model.id, descending=True)
    return keyset_page(session, query, order, request, subject, codec, name=model.__tablename__)


def _found(session: Session, query: Select[Any], model: type[Row], id: str) -> Row:
    row: Row | None = session.scalars(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no {_noun(model)} {id}", entity=_noun(model).replace(" ", "_"), id=id)
    return row


def _id(model: type[Any]) -> Any:
    return model.id


def _noun(model: type[Any]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", model.__name__).lower()
