"""What identity writes into the audit trail, over a real broker, and that nothing is done that is not written."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from chassis.audit.tables import AUDIT_ENTRY
from contracts import errors
from contracts import identity as contract
from hub.cli import app
from services.identity.domain.roles import BUILT_IN
from tests.service.identity.test_door import introspect, room, sign_in
from tests.support.processes import eventually

__all__ = ["room"]

SALES = BUILT_IN["sales"][0]
EMAIL, PHONE = "li.lei@example.com", "+86 138 0013 8000"


def trail(room: Any) -> list[dict[str, Any]]:
    """Return every entry, oldest first."""
    with room.running["identity"].runtime.db.read() as session:
        rows = session.execute(sa.select(AUDIT_ENTRY).order_by(AUDIT_ENTRY.c.id)).mappings()
        return [dict(row) | {"details": json.loads(row["details"])} for row in rows]


def last(room: Any) -> dict[str, Any]:
    return trail(room)[-1]


def test_who_came_in_who_did_not_and_what_was_changed_is_written_and_sealed_within_a_second(
    room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.Unauthenticated):
        sign_in(room, password="wrong")
    refused = last(room)
    assert (refused["action"], refused["outcome"], refused["actor_kind"]) == ("identity.sign_in", "denied", "unknown")
    assert refused["details"] == {"reason": "wrong_password", "source": "10.0.0.1", "user_agent": ""}
    with pytest.raises(errors.Unauthenticated):
        sign_in(room, username="a-password-typed-too-early", password="wrong")
    assert last(room)["details"]["reason"] == "unknown_user"

    me = introspect(room, sign_in(room))
    entered = last(room)
    assert (entered["outcome"], entered["actor_id"], entered["record_id"]) == ("done", me.id, me.via)

    asked = {"username": "lilei", "name": "李雷", "email": EMAIL, "phone": PHONE, "role_ids": [SALES]}
    user = room.call(contract.CREATE_USER, asked, subject=me)
    made = last(room)
    assert (made["entity"], made["record_id"], made["actor_id"], made["via"]) == ("user", user["id"], me.id, me.via)
    assert made["details"]["asked"] == asked | {"email": {"sealed": True}, "phone": {"sealed": True}}

    role = room.call(contract.CREATE_ROLE, {"name": "clerk", "title": "Clerk", "depths": {"order": {"read": "own"}}},
                     subject=me)
    room.call(contract.CHANGE_ROLE, {"id": role["id"], "expected_version": 1,
                                     "changes": {"depths": {"order": {"read": "all"}}}}, subject=me)
    assert last(room)["details"]["before"] == {"depths": {"order": {"read": "own"}}}
    given = {"id": user["id"], "expected_version": user["version"], "changes": {"role_ids": [role["id"]]}}
    room.call(contract.CHANGE_USER, given, subject=me, key="given")
    assert last(room)["details"] == {"asked": given, "before": {"role_ids": [SALES]}}
    count = len(trail(room))
    room.call(contract.CHANGE_USER, given, subject=me, key="given")
    assert len(trail(room)) == count, "an answer that was given before is no second effect"

    shown = room.call(contract.RESET_PASSWORD, {"id": user["id"]}, subject=me)["password"]
    key = room.call(contract.CREATE_API_KEY, {"name": "erp"}, subject=me)
    assert last(room)["record_id"] == key["id"]
    room.call(contract.REVOKE_API_KEY, {"id": key["id"]}, subject=me)
    room.call(contract.REVOKE_SESSION, {"id": me.via}, subject=me)
    assert [entry["action"].removeprefix("identity.") for entry in trail(room)[-4:]] == [
        "reset_password", "create_api_key", "revoke_api_key", "revoke_session"]
    committed = time.monotonic()
    eventually(lambda: all(entry["seq"] for entry in trail(room)))
    assert time.monotonic() - committed < 2.0, "within a second of the commit, and a machine that is busy"

    written = json.dumps(trail(room), ensure_ascii=False)
    for secret in (EMAIL, PHONE, "13800138000", shown, key["key"], "a-password-typed-too-early", "wrong\""):
        assert secret not in written
    _verifies(room, monkeypatch)


def _verifies(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command finds the trail whole; and not whole, once an entry is gone."""
    monkeypatch.setenv("HUB_HOME", str(room.home))
    said = CliRunner().invoke(app, ["verify-audit", "identity", "--json"])
    assert (said.exit_code, json.loads(said.stdout)["ok"]) == (0, True), said.stdout
    with room.running["identity"].runtime.db.write() as session:
        session.execute(sa.text("DROP TRIGGER audit_entry_no_delete"))
        session.execute(AUDIT_ENTRY.delete().where(AUDIT_ENTRY.c.seq == 3))
    said = CliRunner().invoke(app, ["verify-audit", "identity"])
    assert said.exit_code == 3
    assert "entry 3 is not there" in said.stdout
    assert "when-the-audit-chain-does-not-verify" in said.stdout


def test_what_was_refused_for_want_of_a_right_or_of_reach_is_written_and_a_wrong_id_is_not(room: Any) -> None:
    me = introspect(room, sign_in(room))
    user = room.call(contract.CREATE_USER, {"username": "lilei", "name": "李雷"}, subject=me)
    somebody = contract.SERVICE, {"user": {"read": "own", "create": "own"}, "role": {"read": "all"}}
    narrow = type(me)(id=user["id"], kind="user", name="lilei", depths=somebody[1], via="s-1")

    with pytest.raises(errors.Forbidden):
        room.call(contract.DELETE_ROLE, {"id": me.id, "expected_version": 1}, subject=narrow)
    no_right = last(room)
    assert (no_right["outcome"], no_right["entity"], no_right["record_id"]) == ("denied", "role", me.id)
    assert (no_right["actor_id"], no_right["via"]) == (user["id"], "s-1")
    assert no_right["details"] == {"reason": "forbidden", "action": "delete"}

    with pytest.raises(errors.NotFound):
        room.call(contract.GET_USER, {"id": me.id}, subject=narrow)
    out_of_reach = last(room)
    assert (out_of_reach["action"], out_of_reach["record_id"]) == ("identity.get_user", me.id)
    assert out_of_reach["details"] == {"reason": "out_of_reach"}

    count = len(trail(room))
    with pytest.raises(errors.NotFound):
        room.call(contract.GET_USER, {"id": "0" * 36}, subject=narrow)
    room.call(contract.GET_USER, {"id": user["id"]}, subject=narrow)
    assert len(trail(room)) == count


def test_what_cannot_be_written_down_is_not_done(room: Any) -> None:
    me = introspect(room, sign_in(room))
    user = room.call(contract.CREATE_USER, {"username": "lilei", "name": "李雷"}, subject=me)
    narrow = type(me)(id=user["id"], kind="user", name="lilei", depths={})
    db = room.running["identity"].runtime.db
    with db.write() as session:
        session.execute(sa.text("CREATE TRIGGER full BEFORE INSERT ON audit_entry "
                                "BEGIN SELECT RAISE(ABORT, 'no space'); END"))
    of_user = {"id": user["id"]}
    for operation, request in ((contract.DISABLE_USER, of_user), (contract.RESET_PASSWORD, of_user),
                               (contract.CREATE_API_KEY, {"name": "erp"})):
        with pytest.raises(errors.InternalError):
            room.call(operation, request, subject=me)
    with pytest.raises(errors.InternalError):
        sign_in(room)
    with pytest.raises(errors.InternalError):
        room.call(contract.DISABLE_USER, {"id": me.id}, subject=narrow)
    found = room.call(contract.GET_USER, {"id": user["id"]}, subject=me)
    assert (found["status"], found["has_password"]) == ("active", False)
    assert room.call(contract.LIST_API_KEYS, subject=me)["items"] == []
    assert len(room.call(contract.LIST_SESSIONS, subject=me)["items"]) == 1
    with db.write() as session:
        session.execute(sa.text("DROP TRIGGER full"))
