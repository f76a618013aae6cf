"""What people decide about connections and conflicts stands in the audit trail, and no secret with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.audit.tables import AUDIT_ENTRY
from chassis.context import Subject
from chassis.database import new_id, utcnow
from contracts import errors
from contracts import integrations as contract
from services.integrations.models import Conflict
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.rooms import ADMIN, Rooms

SALESPERSON = Subject(id=new_id(), kind="user", name="li", depths={"customer": {"*": "own"}})


def trail(rooms: Rooms) -> list[dict[str, Any]]:
    with rooms.running["integrations"].runtime.db.read() as session:
        rows = session.execute(sa.select(AUDIT_ENTRY).order_by(AUDIT_ENTRY.c.id)).mappings()
        return [dict(row) | {"details": json.loads(row["details"])} for row in rows]


def test_connections_credentials_routes_and_accounts_are_audited_without_their_secrets(
    rooms: Rooms, target: FakeTarget
) -> None:
    rooms.start("integrations")
    made = rooms.call(contract.CREATE_CONNECTION, {"name": "ERP", "adapter": "fake", "config": target.config})
    of = {"id": made["id"]}
    rooms.call(contract.PUT_CREDENTIAL, {**of, "secrets": {"key": GOOD_KEY}})
    assert rooms.call(contract.CHECK_CONNECTION, of)["ok"]
    route = rooms.call(contract.CREATE_ROUTE, {"connection_id": made["id"], "entity": "customer", "direction": "push"})
    rooms.call(contract.ACTIVATE_ROUTE, {"id": route["id"]})
    rooms.call(contract.PAUSE_CONNECTION, {**of, "reason": "年终盘点"})
    rooms.call(contract.RESUME_CONNECTION, of)
    forced = {"options": {"force": True, "payload": "as_sent"}, "reason": "书面要求"}
    run = rooms.call(contract.START_RUN, {"connection_id": made["id"], "kind": "replay", "entity": "customer",
                                          **forced})
    version = rooms.call(contract.GET_CONNECTION, of)["version"]
    rooms.call(contract.CHANGE_CONNECTION, {**of, "expected_version": version, "changes": {"name": "ERP 2"}})
    with pytest.raises(errors.Forbidden):
        rooms.call(contract.PUT_CREDENTIAL, {**of, "secrets": {"key": "stolen"}}, subject=SALESPERSON)

    entries = trail(rooms)
    told = [(entry["action"].removeprefix("integrations."), entry["entity"], entry["outcome"]) for entry in entries]
    assert told == [
        ("create_connection", "connection", "done"), ("put_credential", "connection", "done"),
        ("create_route", "route", "done"), ("activate_route", "route", "done"),
        ("pause_connection", "connection", "done"), ("resume_connection", "connection", "done"),
        ("start_run", "run", "done"), ("change_connection", "connection", "done"),
        ("put_credential", "connection", "denied")]
    assert {entry["record_id"] for entry in entries} == {made["id"], route["id"], run["id"]}
    assert {entry["actor_id"] for entry in entries} == {ADMIN.id, SALESPERSON.id}
    assert entries[0]["details"]["asked"]["config"] == target.config
    assert entries[1]["details"]["asked"]["secrets"] == {"key": {"sealed": True}}
    assert forced.items() <= entries[6]["details"]["asked"].items()
    assert entries[7]["details"]["before"] == {"name": "ERP"}
    for secret in (GOOD_KEY, "stolen"):
        assert secret not in json.dumps(entries)

    decided = _conflict(rooms, made["id"])
    asked = {"id": decided, "resolution": "dismissed", "note": "reviewed"}
    rooms.call(contract.RESOLVE_CONFLICT, asked)
    last = trail(rooms)[-1]
    assert (last["action"], last["entity"], last["record_id"]) == ("integrations.resolve_conflict", "conflict", decided)
    assert last["details"] == {"asked": asked}


def _conflict(rooms: Rooms, connection_id: str) -> str:
    conflict = Conflict(id=new_id(), connection_id=connection_id, entity="order", external_id="7", fields=["state"],
                        code="refused", reason="no", local_id=None, remote_version=None, opened_at=utcnow(),
                        updated_at=utcnow())
    with rooms.running["integrations"].runtime.db.write() as session:
        session.add(conflict)
    return conflict.id
