"""A system calls the hub: its message goes through the gateway and the broker to integrations, and is taken in once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
import requests

from tests.flows.people import administrator
from tests.flows.test_brought_together import made
from tests.service.gateway.running import Hub
from tests.support import fake_target
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.processes import eventually
from tests.support.two_way import HOOK, message, signed

MARKER = "a-marker-of-the-body"


@pytest.fixture
def target() -> Iterator[FakeTarget]:
    yield from fake_target.running()


@pytest.fixture
def connection(all_rooms: Hub, target: FakeTarget) -> Iterator[str]:
    """A system whose tasks are pulled, and which signs what it calls with."""
    admin = administrator(all_rooms)
    asked = {"name": f"OA {uuid4()}", "adapter": "two_way", "config": target.config}
    path = f"/connections/{made(admin, '/connections', asked)['id']}"
    secrets = {"key": GOOD_KEY, "hook": HOOK}
    assert admin.ask("PUT", f"{path}/credential", {"secrets": secrets}).status_code == 200
    assert admin.ask("POST", f"{path}/check").json()["ok"]
    id = path.rpartition("/")[2]
    route = made(admin, "/routes", {"connection_id": id, "entity": "task", "direction": "pull"})
    assert admin.ask("POST", f"/routes/{route['id']}/activate").status_code == 200
    yield id
    assert admin.ask("POST", f"{path}/stop").status_code == 200


def test_a_signed_message_is_taken_in_once_and_a_forged_or_an_old_one_is_refused(
    all_rooms: Hub, target: FakeTarget, connection: str
) -> None:
    body = message(target.put("task", "theirs", {"title": MARKER}))
    captured = signed(body)

    def received(headers: dict[str, str]) -> requests.Response:
        return requests.post(f"{all_rooms.url}/api/v1/inbound/{connection}", data=body, headers=headers, timeout=20)

    first, again = received(captured), received(captured)
    assert (first.status_code, first.json()["known"]) == (200, False)
    assert (again.status_code, again.json()) == (200, {"changes": 0, "known": True})
    for headers in (signed(body, secret="another"), signed(body, age_s=600)):
        assert received(headers).status_code == 401

    def said() -> list[str]:
        log = all_rooms.rooms["integrations"].log()
        return [found[1] for line in log.splitlines() if connection in line
                and (found := re.search(r"\b(webhook_\w+)", line))]

    eventually(lambda: said() == ["webhook_taken", "webhook_known", "webhook_refused", "webhook_refused"])
    assert [name for name, room in all_rooms.rooms.items() if MARKER in room.log()] == []
