"""Whoever is shut out is out within a second, and it is the broadcast that does it, not the age of what is held."""

from __future__ import annotations

import time
import types
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import gateway.service
from chassis.runtime import Runtime
from gateway import auth
from gateway.calls import Calls
from tests.flows.people import Client, hire
from tests.service.gateway.running import Hub
from tests.support.processes import eventually, free_port
from tests.support.rooms import Rooms

PROMISED_S = 1.0
HELD_S = 300.0
"""Far longer than any test here takes."""


@dataclass
class Patient:
    """A gateway that holds for minutes whom it knows, and how often it has asked identity."""

    url: str = ""
    asked: int = 0

    def prepare(self, runtime: Runtime) -> None:
        """Set the process up as the product does, but for the time that an answer is held."""
        gateway.service.prepare(runtime)
        runtime.extra[gateway.service.AUTHENTICATOR] = auth.Authenticator(self._introspect, held_s=HELD_S, most=100)

    def _introspect(self, caller: Calls, digest: str, request_id: str) -> auth.Introspected:
        self.asked += 1
        return auth.introspect(caller, digest, request_id)


@pytest.fixture
def patient(all_rooms: Hub) -> Iterator[Patient]:
    """A second gateway beside the hub's own, in this process."""
    made, address = Patient(), f"127.0.0.1:{free_port()}"
    made.url = f"http://{address}"
    rooms = Rooms(all_rooms.home, all_rooms.amqp_uri)
    module = types.SimpleNamespace(SERVICE=gateway.service.SERVICE, SETTINGS=gateway.service.SETTINGS,
                                   prepare=made.prepare)
    container = rooms.start("gateway", module=module, GATEWAY_LISTEN=address,
                            HEALTH_ADDRESS_GATEWAY=f"127.0.0.1:{free_port()}")
    eventually(lambda: container.runtime.health.missing() == {}, 15)
    yield made
    rooms.stop_all()


def status(client: Client) -> int:
    """Ask who one is."""
    return client.ask("GET", "/me").status_code


def refused_after(client: Client) -> float:
    """Return the seconds until the client is turned away, and see that it stays away."""
    began = time.monotonic()
    while (seen := status(client)) != 401:
        assert seen == 200
        assert time.monotonic() - began < 10, "still in after 10 s"
    took = time.monotonic() - began
    assert {status(client) for _ in range(5)} == {401}
    return took


def test_a_disabled_user_is_out_within_a_second_and_so_is_their_key(all_rooms: Hub) -> None:
    client = hire(all_rooms, "at-once-own", "integrator")
    key = client.ask("POST", "/api-keys", {"name": "own"}).json()["key"]
    program = Client(all_rooms.url, {"Authorization": f"Bearer {key}"}, client.id)
    assert (status(client), status(program)) == (200, 200)
    assert all_rooms.post(f"/users/{client.id}/disable").status_code == 200
    assert refused_after(client) < PROMISED_S
    assert status(program) == 401


def test_what_a_gateway_holds_for_minutes_is_forgotten_when_the_change_is_broadcast(
    all_rooms: Hub, patient: Patient
) -> None:
    own = hire(all_rooms, "at-once-held", "sales")
    client = Client(patient.url, own.headers, own.id)
    eventually(lambda: status(client) == 200, 15)
    time.sleep(2.0)  # what was announced while the user was made has been heard
    patient.asked = 0
    assert {status(client) for _ in range(10)} == {200}
    time.sleep(1.0)  # twice the time that the product holds an answer
    assert status(client) == 200
    assert patient.asked <= 1, "it asks again by itself, so nothing is proved"

    assert all_rooms.post(f"/users/{client.id}/disable").status_code == 200
    assert refused_after(client) < PROMISED_S


def test_a_right_that_is_taken_away_is_gone_within_a_second(all_rooms: Hub, patient: Patient) -> None:
    own = hire(all_rooms, "at-once-role", "sales")
    client = Client(patient.url, own.headers, own.id)
    eventually(lambda: client.ask("GET", "/customers").status_code == 200, 15)
    version = all_rooms.get(f"/users/{client.id}").headers["ETag"]
    assert all_rooms.patch(f"/users/{client.id}", {"role_ids": []}, headers={"If-Match": version}).status_code == 200
    time.sleep(PROMISED_S)
    assert client.ask("GET", "/customers").status_code == 403
