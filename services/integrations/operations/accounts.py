"""Which account at a target is a user's: a binding like any other, so that what needs it waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chassis.context import Subject
from chassis.database import now_of
from contracts.errors import AlreadyExists, Invalid, NotFound
from services.integrations.adapters import registry
from services.integrations.models import Binding
from services.integrations.operations import dependents
from services.integrations.operations.bulk import Upsert, excluded
from services.integrations.queries import connections, lanes
from services.integrations.queries.statements import table_of
from services.integrations.routing import ACCOUNT

_BINDING = table_of(Binding)
_PUT = Upsert(_BINDING, changing={name: excluded(_BINDING.c[name]) for name in ("external_id", "state")})


def put(session: Session, request: Mapping[str, Any], *, by: Subject) -> dict[str, Any]:
    """Say which account is a user's; what was blocked for want of it goes on.

    Raises:
        NotFound: there is no such connection in the caller's sight.
        Invalid: the target keeps nothing in accounts.
        AlreadyExists: the account is another user's.
    """
    connection = connections.for_write(session, request["id"], by, "change")
    if not registry.load(connection.adapter).spec.accounts:
        raise Invalid.of("/account", "unsupported", f"The adapter {connection.adapter} knows no accounts.")
    user_id, account = request["user_id"], request["account"]
    place = (connection.id, ACCOUNT, account)
    if lanes.bound_elsewhere(session, [place]).get(place, user_id) != user_id:
        raise AlreadyExists(f"{account} is the account of another user", account=account)
    _PUT.put(session, [{"connection_id": connection.id, "entity": ACCOUNT, "local_id": user_id, "external_id": account,
                        "state": "bound", "create_key": f"{ACCOUNT}-{user_id}", "acked_version": 0}])
    dependents.release(session, [(connection.id, ACCOUNT, user_id)], now_of(session))
    return _told(connection.id, user_id, account)


def get(session: Session, request: Mapping[str, Any], *, by: Subject) -> dict[str, Any]:
    """Return which account is a user's.

    Raises:
        NotFound: there is no such connection in the caller's sight, or the user has no account there.
    """
    connection = connections.get(session, request["id"], by)
    lane = (connection.id, ACCOUNT, request["user_id"])
    binding = lanes.bindings(session, [lane]).get(lane)
    if binding is None:
        raise NotFound("The user has no account there", entity=ACCOUNT, id=request["user_id"])
    return _told(connection.id, request["user_id"], binding.external_id)


def delete(session: Session, request: Mapping[str, Any], *, by: Subject) -> dict[str, Any]:
    """Forget a user's account. What lies in it stays there; what is to be brought there waits.

    Raises:
        NotFound: there is no such connection in the caller's sight.
    """
    connection = connections.for_write(session, request["id"], by, "change")
    session.execute(sa.delete(Binding).where(
        Binding.connection_id == connection.id, Binding.entity == ACCOUNT, Binding.local_id == request["user_id"]))
    return {}


def _told(connection_id: str, user_id: str, account: str) -> dict[str, Any]:
    return {"connection_id": connection_id, "user_id": user_id, "account": account}
