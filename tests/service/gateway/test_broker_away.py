"""The broker dies, or stands still, and comes back behind a running gateway (row 6 of the fault matrix, as a client
sees it). What the API promises is 503 within 2 s, and that is what is asserted.
"""

from __future__ import annotations

import threading
import time

import requests

from tests.service.gateway.running import Hub
from tests.support.broker import QUEUE_SETTLES_S, Management
from tests.support.processes import eventually

PROMISED_S = 2.0
CUSTOMER = {"name": "Evergreen Trading", "kind": "company", "phone": "+86 138 0013 8000"}


def test_while_the_broker_is_away_every_answer_is_503_at_once_and_afterwards_all_is_well(
    hub: Hub, broker: Management
) -> None:
    assert hub.post("/customers", CUSTOMER).status_code == 201
    time.sleep(QUEUE_SETTLES_S)
    broker.kill()
    try:
        for _ in range(3):
            _is_told_in_time(hub)
        assert _many_at_once(hub, 20) == {503}
        assert requests.get(f"{hub.url}/livez", timeout=5).status_code == 200
        eventually(lambda: requests.get(f"{hub.url}/readyz", timeout=5).status_code == 503, 10)
    finally:
        broker.start()
    began = time.monotonic()
    eventually(lambda: hub.get("/customers").status_code == 200, 15, every_s=0.2)
    print(f"first good answer {time.monotonic() - began:.1f} s after the broker was back")  # noqa: T201
    eventually(lambda: hub.post("/customers", CUSTOMER).status_code == 201, 15, every_s=0.2)


def test_while_the_broker_stands_still_every_answer_is_503_in_time_and_afterwards_all_is_well(
    hub: Hub, broker: Management
) -> None:
    eventually(lambda: hub.get("/customers").status_code == 200, 15, every_s=0.2)
    broker.pause()
    try:
        for _ in range(4):
            _is_told_in_time(hub)
        assert _many_at_once(hub, 20) == {503}
    finally:
        broker.resume()
    eventually(lambda: hub.get("/customers").status_code == 200, 30, every_s=0.2)


def test_a_request_in_flight_when_the_broker_stops_answering_is_told_in_time(hub: Hub, broker: Management) -> None:
    eventually(lambda: hub.get("/customers").status_code == 200, 15, every_s=0.2)
    answers: list[tuple[int, float]] = []
    customers = hub.rooms["customers"]
    customers.pause()
    try:
        asking = threading.Thread(target=lambda: answers.append((hub.get("/customers").status_code, time.monotonic())))
        asking.start()
        time.sleep(1.2)  # by now the gateway has made sure once that the service is there
        broker.pause()
        stopped_at = time.monotonic()
        asking.join(15)
    finally:
        broker.resume()
        customers.resume()
    assert answers, "a hang"
    status, at = answers[0]
    assert status == 503
    assert at - stopped_at < PROMISED_S, f"answered after {at - stopped_at:.1f} s"
    eventually(lambda: hub.get("/customers").status_code == 200, 30, every_s=0.2)


def _is_told_in_time(hub: Hub) -> None:
    began = time.monotonic()
    answer = hub.get("/customers")
    took = time.monotonic() - began
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    assert took < PROMISED_S, f"answered after {took:.1f} s"


def _many_at_once(hub: Hub, count: int) -> set[int]:
    """Ask from many threads at once; no answer may take longer than one alone may."""
    seen: list[tuple[int, float]] = []

    def ask() -> None:
        began = time.monotonic()
        status = requests.get(f"{hub.url}/api/v1/customers", headers=dict(hub.http.headers), timeout=20).status_code
        seen.append((status, time.monotonic() - began))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(took for _, took in seen) < PROMISED_S, seen
    return {status for status, _ in seen}
