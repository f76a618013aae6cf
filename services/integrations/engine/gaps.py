"""What is missing before a route sends anything: a match, and codes, looked up over its records a page at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypedDict

from sqlalchemy.orm import Session

from chassis import telemetry
from chassis.context import Subject
from chassis.crypto import Keyring
from chassis.database import Database, utcnow
from contracts.errors import Conflict
from services.integrations.adapters import registry
from services.integrations.domain.codes import Gaps
from services.integrations.domain.gates import barring
from services.integrations.domain.mapping import Unmappable
from services.integrations.engine.targets import Targets
from services.integrations.models import Connection, Route
from services.integrations.operations import bodies, code_tables, mappings, readiness, strangers
from services.integrations.operations import routes as operations
from services.integrations.operations.bodies import InForce
from services.integrations.queries import mappings as queries
from services.integrations.queries import routes

log = telemetry.logger(__name__)

PAGE = 500
MOST_RECORDS = 50_000
MOST_S = 20.0
"""The newest records are looked at, so many or for so long; what is older tells itself when it is sent."""
MOST_TOLD = 200


class Look(TypedDict):
    """How many records were looked at, and whether those were all."""

    records: int
    complete: bool


def activate(db: Database, keyring: Keyring, request: Mapping[str, Any], deadline_s: float, *, by: Subject,
             keep: Callable[[Session, object], None]) -> dict[str, Any]:
    """Switch a route on once its mapping can be used and every code that its records use has a counterpart.

    One that has never been on is switched on once what the target had before the hub is matched with ours.

    Raises:
        NotFound: there is none, or it is out of reach.
        Conflict: something is missing, `gaps` names each; nobody has matched what the target has (`needs`); or the
            route was changed meanwhile.
        Invalid: matching is to be left out without a reason.
    """
    with db.read() as session:
        route = routes.get(session, request["id"], by, "operate")
        connection = session.get_one(Connection, route.connection_id)
        saved = queries.version(session, route.id, route.mapping_version)
        sent = mappings.with_version(session, connection, route, saved)
        ready = not readiness.gaps(connection)
        unmet = None if strangers.waived(request, request.get("reason", "")) else (
            operations.unmatched(session, connection, route, "set without_matching and say why"))
    if ready and unmet is not None and not _is_empty(db, keyring, connection, unmet[0], deadline_s):
        raise unmet[1]
    looked = _required(db, keyring, connection, route, sent) if ready else None
    with db.write() as session:
        [switched] = operations.told(session, [operations.activate(session, request, by=by, checked=route.version)])
        keep(session, answer := switched | {"code_check": looked})
        return answer


def _is_empty(db: Database, keyring: Keyring, connection: Connection, entity: str, deadline_s: float) -> bool:
    """Tell whether a target has no record of an entity, by the first page of its list; one that does not answer may."""
    with db.read() as session:
        target = Targets(keyring).load(session, connection.id)
    try:
        with target.calling(utcnow, deadline_s, dry_run=True) as ctx:
            page = target.adapter.list(ctx, entity, None, target.adapter.spec.limits.page_size)
    except Exception as error:
        log.warning("target_not_listed", connection_id=connection.id, entity=entity, error=type(error).__name__)
        return False
    finally:
        target.replace()
    return page.complete and not page.items


def use(db: Database, keyring: Keyring, request: Mapping[str, Any], *, by: Subject,
        keep: Callable[[Session, object], None]) -> dict[str, Any]:
    """Put a version of a mapping in force; on an active route, once every code that its records use has a counterpart.

    Raises:
        NotFound: there is no such route or version in the caller's sight.
        Conflict: the version cannot be used any more, or codes are missing; `gaps` names each.
    """
    with db.read() as session:
        route = queries.route_of(session, request["id"], by, "operate")
        connection = session.get_one(Connection, route.connection_id)
        number = request["number"]
        saved = None if number is None else queries.get(session, route.id, number, by, "operate")
        sent = mappings.with_version(session, connection, route, saved)
    _require_usable(connection, route, sent)
    looked = _required(db, keyring, connection, route, sent) if route.state == "active" else None
    with db.write() as session:
        used = mappings.use(session, request, by=by) | {"code_check": looked}
        keep(session, used)
        return used


def put(db: Database, keyring: Keyring, request: Mapping[str, Any], *, by: Subject,
        keep: Callable[[Session, object], None]) -> dict[str, Any]:
    """Replace a code table, unless that takes out a code that records of an active route use.

    Raises:
        NotFound: there is no such connection in the caller's sight.
        Conflict: such a code is taken out, `gaps` names each; or the table is a setting of the connection.
    """
    name, codes = request["name"], request["codes"]
    with db.read() as session:
        connection = queries.connection_of(session, request["id"], by, "operate")
        now = bodies.of(session, connection)
        using = [route for route in routes.active(session, connection.id)
                 if (mapping := now.mappings.get(route.entity)) is not None and name in mapping.tables]
    # What was lacking before may go on lacking: a table is mended code by code.
    taken = {(name, code) for code, theirs in now.tables.get(name, {}).items()
             if theirs is not None and codes.get(code) is None}
    sent, until = replace(now, tables=now.tables | {name: codes}), time.monotonic() + MOST_S
    looks = [_required(db, keyring, connection, route, sent, among=taken, until=until)
             for route in (using if taken else ())]
    with db.write() as session:
        replaced = code_tables.put(session, request, by=by) | {"code_check": _together(looks)}
        keep(session, replaced)
        return replaced


def _together(looks: Sequence[Look | None]) -> Look | None:
    made = [look for look in looks if look is not None]
    return {"records": sum(look["records"] for look in made),
            "complete": all(look["complete"] for look in made)} if made else None


def _require_usable(connection: Connection, route: Route, sent: InForce) -> None:
    if (why := sent.unusable.get(route.entity)) is not None:
        raise Conflict(f"{connection.name} is not ready", gaps=[{"field": f"mapping/{route.entity}", "message": why}])


def _required(db: Database, keyring: Keyring, connection: Connection, route: Route, sent: InForce, *,
              among: Collection[tuple[str, str]] | None = None, until: float | None = None) -> Look | None:
    """Return how far was looked, None where nothing looks up a code.

    Raises:
        Conflict: the mapping cannot be used, or codes are missing.
    """
    _require_usable(connection, route, sent)
    found = _found(db, keyring, connection, route, sent, until or time.monotonic() + MOST_S)
    if found is None:
        return None
    look = Look(records=found.looked_at, complete=found.complete)
    lacking = [one for one in found.records.most_common() if among is None or one[0] in among]
    if lacking:
        raise Conflict(f"{connection.name} is not ready", code_check=look, gaps=[
            {"field": f"code_tables/{table}", "code": code, "records": records,
             "message": f"{code!r} is not in the code table {table!r}: {records} records of {route.entity} use it."}
            for (table, code), records in lacking[:MOST_TOLD]])
    return look


def _found(db: Database, keyring: Keyring, connection: Connection, route: Route, sent: InForce, until: float
           ) -> Gaps | None:
    """Look up every code of the records that the route would send; None where none has any."""
    spec, entity = registry.load(connection.adapter).spec, route.entity
    mapping, target = sent.mappings.get(entity), spec.fields.get(entity, {})
    gaps = Gaps(sent.tables)
    if route.direction == "pull" or not (spec.code_tables or (mapping is not None and mapping.tables)):
        return None
    before = None
    for _page in range(MOST_RECORDS // PAGE):
        with db.read() as session:
            rows = queries.newest(session, entity, PAGE, before=before)
        for _row, state in mappings.opened(keyring, rows):
            if barring(spec, entity, state) is None and sent.admits(entity, state):
                with suppress(Unmappable):
                    gaps.looked_up_by_target(target, sent.body(entity, state, codes=gaps))
                gaps.next_record()
        gaps.complete = len(rows) < PAGE
        if gaps.complete or time.monotonic() > until:
            break
        before = rows[-1].id
    return gaps
