"""The service as it runs: real broker, real calls, what the gateway sees and what it never sees."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from chassis.broker import RPC_EXCHANGE
from chassis.context import Subject
from contracts import identity as contract
from contracts.errors import Conflict, Forbidden, NotFound, Unauthenticated
from contracts.users import CreateUser
from services.identity.domain.roles import ADMIN_ROLE_ID
from services.identity.operations import passwords, users
from tests.support.processes import eventually

from .conftest import PASSWORD, ROOT

GATEWAY = Subject.service("gateway", {})


@pytest.fixture
def room(rooms: Any) -> Any:
    """The running identity service, with the administrator `root` in it."""
    container = rooms.start("identity", IDENTITY_PASSWORD_HASH_MEMORY_MIB="19")
    gate = container.runtime.extra["gate"]
    with gate.db.write() as session:
        admin = CreateUser().load({"username": "root", "name": "Root", "role_ids": [ADMIN_ROLE_ID]})
        passwords.put(users.create(session, admin, ROOT), gate.hasher.hash(PASSWORD), must_change=False)
    return rooms


def sign_in(room: Any, username: str = "root", password: str = PASSWORD) -> str:
    request = {"username": username, "password": password, "source": "10.0.0.1"}
    token: str = room.call(contract.SIGN_IN, request, subject=GATEWAY)["token"]
    return token


def introspect(room: Any, credential: str) -> Subject:
    digest = hashlib.sha256(credential.encode()).hexdigest()
    claims = room.call(contract.INTROSPECT, {"credential_sha256": digest}, subject=GATEWAY)
    claims.pop("expires_at")
    claims.pop("must_change_password")
    return Subject(**{name: tuple(value) if isinstance(value, list) else value for name, value in claims.items()})


def test_from_sign_in_to_sign_out_over_the_broker(room: Any) -> None:
    token = sign_in(room)
    me = introspect(room, token)
    assert me.depth("user", "create") == "all"
    record = room.call(contract.GET_ME, subject=me)
    assert (record["username"], record["roles"], record["depths"]) == ("root", ["admin"], {"*": {"*": "all"}})
    sessions = room.call(contract.LIST_SESSIONS, subject=me)["items"]
    assert [session["id"] for session in sessions] == [me.via]
    room.call(contract.REVOKE_SESSION, {"id": me.via}, subject=me)
    with pytest.raises(Unauthenticated):
        introspect(room, token)


def test_every_operation_of_the_contract_is_answered(rooms: Any) -> None:
    container = rooms.start("identity")
    exposed = {entrypoint.method_name for entrypoint in container.entrypoints}
    assert exposed >= {operation.name for operation in contract.OPERATIONS}


def test_only_the_gateway_itself_signs_in_and_introspects(room: Any) -> None:
    me = introspect(room, sign_in(room))
    for operation, request in (
        (contract.INTROSPECT, {"credential_sha256": "0" * 64}),
        (contract.SIGN_IN, {"username": "root", "password": PASSWORD, "source": "x"}),
    ):
        with pytest.raises(Forbidden):
            room.call(operation, request, subject=me)


def test_a_user_is_made_used_changed_and_shut_out(room: Any) -> None:
    me = introspect(room, sign_in(room))
    role = next(r for r in room.call(contract.LIST_ROLES, subject=me)["items"] if r["name"] == "sales")
    wei = room.call(
        contract.CREATE_USER,
        {"username": "wei", "name": "Wei", "email": "wei@example.com", "role_ids": [role["id"]]},
        subject=me,
    )
    assert (wei["email"], wei["has_password"]) == ("wei@example.com", False)
    given = room.call(contract.RESET_PASSWORD, {"id": wei["id"]}, subject=me)["password"]
    narrow = introspect(room, sign_in(room, "wei", given))
    with pytest.raises(Forbidden):
        room.call(contract.LIST_USERS, subject=narrow)
    room.call(contract.CHANGE_PASSWORD, {"current_password": given, "new_password": "a long new one"}, subject=narrow)
    token = sign_in(room, "wei", "a long new one")
    salesman = introspect(room, token)
    assert salesman.depth("customer", "read") == "own"
    with pytest.raises(Forbidden):
        room.call(contract.CREATE_USER, {"username": "friend", "name": "F"}, subject=salesman)
    assert {user["username"] for user in room.call(contract.LIST_USERS, subject=salesman)["items"]} == {"root", "wei"}
    version = room.call(contract.GET_USER, {"id": wei["id"]}, subject=me)["version"]
    gone = room.call(contract.DISABLE_USER, {"id": wei["id"], "expected_version": version}, subject=me)
    assert gone["status"] == "disabled"
    with pytest.raises(Unauthenticated):
        introspect(room, token)


def test_a_key_is_shown_once_even_to_a_repeated_request(room: Any) -> None:
    me = introspect(room, sign_in(room))
    made = room.call(contract.CREATE_API_KEY, {"name": "erp"}, subject=me, key="once")
    assert introspect(room, made["key"]).kind == "api_key"
    with pytest.raises(Conflict):
        room.call(contract.CREATE_API_KEY, {"name": "erp"}, subject=me, key="once")
    listed = room.call(contract.LIST_API_KEYS, subject=me)["items"]
    assert [key["id"] for key in listed] == [made["id"]]
    assert "key" not in listed[0]


def test_teams_and_roles_are_kept_over_the_broker(room: Any) -> None:
    me = introspect(room, sign_in(room))
    top = room.call(contract.CREATE_TEAM, {"name": "top"}, subject=me)
    below = room.call(contract.CREATE_TEAM, {"name": "below", "parent_id": top["id"]}, subject=me)
    moved = room.call(
        contract.CHANGE_TEAM, {"id": below["id"], "expected_version": 1, "changes": {"parent_id": None}}, subject=me
    )
    assert (moved["parent_id"], moved["version"]) == (None, 2)
    room.call(contract.DELETE_TEAM, {"id": below["id"], "expected_version": 2}, subject=me)
    with pytest.raises(NotFound):
        room.call(contract.GET_TEAM, {"id": below["id"]}, subject=me)
    role = room.call(
        contract.CREATE_ROLE, {"name": "clerk", "title": "Clerk", "depths": {"order": {"read": "team"}}}, subject=me
    )
    changed = room.call(
        contract.CHANGE_ROLE, {"id": role["id"], "expected_version": 1, "changes": {"title": "Clerks"}}, subject=me
    )
    assert changed["title"] == "Clerks"
    room.call(contract.DELETE_ROLE, {"id": role["id"], "expected_version": 2}, subject=me)


def test_a_change_of_rights_is_announced_with_its_version(room: Any, amqp_uri: str) -> None:
    me = introspect(room, sign_in(room))
    heard: list[Any] = []
    with Connection(amqp_uri, connect_timeout=30) as connection:
        exchange = Exchange(contract.ACCESS_CHANGED.exchange, type="topic", durable=True)
        queue = Queue("heard", exchange=exchange, routing_key="access.changed", durable=True, auto_delete=True)
        bound = queue(connection.default_channel)
        bound.declare()
        wei = room.call(contract.CREATE_USER, {"username": "wei", "name": "Wei"}, subject=me)
        room.call(contract.DISABLE_USER, {"id": wei["id"]}, subject=me)

        def arrived() -> bool:
            message = bound.get(no_ack=True)
            if message is not None:
                heard.append(message.payload)
            return bool(heard)

        eventually(arrived, 10.0, every_s=0.01)
    assert heard[0]["type"] == "identity.access.changed"
    assert heard[0]["data"] == {"user_id": wei["id"], "reason": "user", "roles_version": heard[0]["entityversion"]}


def test_a_password_is_ciphertext_on_the_broker(room: Any, amqp_uri: str) -> None:
    with Connection(amqp_uri, connect_timeout=30) as connection:
        copy = Queue("copy", exchange=RPC_EXCHANGE, routing_key="identity.sign_in", durable=True, auto_delete=True)
        bound = copy(connection.default_channel)
        bound.declare()
        sign_in(room)
        message = bound.get(no_ack=True)
    assert message is not None
    assert message.payload["request"]["username"] == "root"
    assert PASSWORD not in str(message.payload)
