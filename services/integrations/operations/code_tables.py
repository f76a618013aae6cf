"""Our codes and theirs: the tables of a connection, wherever each of them is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from chassis.audit import trail
from chassis.context import Subject
from chassis.database import utcnow
from contracts.errors import Conflict, NotFound
from services.integrations.models import CodeTable, Connection
from services.integrations.operations import bodies, mappings
from services.integrations.queries import mappings as queries


def put(session: Session, request: Mapping[str, Any], *, by: Subject) -> dict[str, Any]:
    """Replace a code table; what is sent from now on is translated by it.

    Whoever does has seen that no code is taken out that is used (`engine/gaps.py`).

    Raises:
        NotFound: there is no such connection in the caller's sight.
        Conflict: the adapter looks these codes up itself: they are a setting of the connection.
    """
    connection = queries.connection_of(session, request["id"], by, "operate", locked=True)
    name = request["name"]
    if name in bodies.tables_of_settings(connection):
        raise Conflict(f"{name} is a setting of this connection: change it there, and check the connection", name=name)
    table = session.get(CodeTable, (connection.id, name))
    trail.before(session, codes=table.codes if table else None)
    if table is None:
        table = CodeTable(connection_id=connection.id, name=name)
        session.add(table)
    table.codes, table.updated_by, table.updated_at = request["codes"], by.id, utcnow()
    mappings.changed(connection)
    session.flush()
    return _told(connection, name, table.codes, setting=False)


def listed(session: Session, request: Mapping[str, Any], *, by: Subject) -> dict[str, Any]:
    """Return all code tables of a connection, in order of name.

    Raises:
        NotFound: there is no such connection in the caller's sight.
    """
    connection = queries.connection_of(session, request["id"], by, "read")
    return {"items": _all(session, connection, by)}


def get(session: Session, request: Mapping[str, Any], *, by: Subject) -> dict[str, Any]:
    """Return one code table.

    Raises:
        NotFound: there is no such connection in the caller's sight, or no such table.
    """
    connection = queries.connection_of(session, request["id"], by, "read")
    found = next((table for table in _all(session, connection, by) if table["name"] == request["name"]), None)
    if found is None:
        raise NotFound("There is no such code table", entity="code_table", id=request["name"])
    return found


def _all(session: Session, connection: Connection, by: Subject) -> list[dict[str, Any]]:
    put_here, settings = queries.tables(session, connection.id, by), bodies.tables_of_settings(connection)
    every = {**put_here, **settings}
    return [_told(connection, name, every[name], setting=name in settings) for name in sorted(every)]


def _told(connection: Connection, name: str, codes: Mapping[str, Any], *, setting: bool) -> dict[str, Any]:
    return {"connection_id": connection.id, "name": name, "codes": dict(codes), "setting": setting}
