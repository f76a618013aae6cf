"""The kinds of run, a module each; what starts one. See `engine.turns.Kind` for what a module has to answer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from chassis import telemetry
from contracts.errors import Conflict, HubError, Invalid
from contracts.schema import Request, dump, load
from services.integrations.adapters import registry
from services.integrations.engine.runs import backfill, dry_run, match, reconcile, replay
from services.integrations.engine.turns import Asked, Kind
from services.integrations.models import Connection, Run
from services.integrations.operations import routes, runs
from services.integrations.queries import runs as queries

log = telemetry.logger(__name__)

KINDS: Mapping[str, Kind] = {
    "match": match,
    "backfill": backfill,
    "replay": replay,
    "dry_run": dry_run,
    "reconcile": reconcile,
}


def start(session: Session, connection: Connection, request: Mapping[str, Any], now: dt.datetime, *, by: str) -> Run:
    """Start a run over an entity of a connection.

    Args:
        session: the transaction.
        connection: on which.
        request: its `kind`, `entity`, `filter`, `options` and `reason`.
        now: from when on it is due.
        by: id of whoever wants it.

    Raises:
        Invalid: the kind or the entity is not known, or the kind takes no such filter or option.
        Conflict: it makes no sense now, one like it is unfinished, or the connection's adapter is missing.
    """
    kind = KINDS.get(request["kind"])
    if kind is None:
        raise Invalid.of("/kind", "unsupported", f"The hub has runs of: {', '.join(KINDS)}.")
    checked = {"filter": _checked("filter", kind.Filter, request),
               "options": _checked("options", kind.Options, request)}
    try:
        routes.require_entity(registry.load(connection.adapter).spec, request["entity"])
        plan = kind.plan(session, Asked(connection=connection, entity=request["entity"], reason=request["reason"],
                                        **checked))
    except (registry.UnknownAdapter, registry.BrokenAdapter) as error:
        raise Conflict(f"{connection.name} cannot be used: {error}") from error
    return runs.create(session, connection, {**request, **checked}, plan, now, by=by)


def repeat(session: Session, now: dt.datetime) -> None:
    """Start the next of every run whose time has come; one that cannot begin is tried again when the next would be."""
    for run in queries.to_repeat(session, now):
        again = {name: getattr(run, name) for name in ("kind", "entity", "filter", "options", "reason")}
        try:
            with session.begin_nested():
                start(session, session.get_one(Connection, run.connection_id), again, now, by=run.created_by)
        except Exception as error:  # whatever it is, the runs of other connections do not wait for it
            reason = error.message if isinstance(error, HubError) else type(error).__name__
            log.warning("run_not_repeated", run_id=run.id, kind=run.kind, entity=run.entity,
                        connection_id=run.connection_id, reason=reason)
            run.next_run_at = runs.later(run, now)


def _checked(name: str, schema: type[Request], request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dump(schema, load(schema, request[name]))
    except Invalid as error:
        raise Invalid(error.message, errors=[
            {**one, "pointer": f"/{name}{one['pointer']}"} for one in error.fields["errors"]]) from error
