"""The broker dies and comes back behind a running gateway (row 6 of the fault matrix, seen by a client)."""

from __future__ import annotations

import threading
import time

import requests

from tests.service.gateway.running import Hub
from tests.support.broker import QUEUE_SETTLES_S, Management
from tests.support.processes import eventually

CUSTOMER = {"name": "Evergreen Trading", "kind": "company", "phone": "+86 138 0013 8000"}


def test_while_the_broker_is_away_every_answer_is_503_at_once_and_afterwards_all_is_well(
    hub: Hub, broker: Management
) -> None:
    assert hub.post("/customers", CUSTOMER).status_code == 201
    time.sleep(QUEUE_SETTLES_S)
    broker.kill()
    try:
        for _ in range(3):
            began = time.monotonic()
            answer = hub.get("/customers")
            took = time.monotonic() - began
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
            assert int(answer.headers["Retry-After"]) >= 1
            assert took < 2.5, f"answered after {took:.1f} s"
        assert _many_at_once(hub, 20) == {503}
        assert requests.get(f"{hub.url}/livez", timeout=5).status_code == 200
        eventually(lambda: requests.get(f"{hub.url}/readyz", timeout=5).status_code == 503, 10)
    finally:
        broker.start()
    began = time.monotonic()
    eventually(lambda: hub.get("/customers").status_code == 200, 30, every_s=0.2)
    print(f"first good answer {time.monotonic() - began:.1f} s after the broker was back")  # noqa: T201
    eventually(lambda: hub.post("/customers", CUSTOMER).status_code == 201, 15, every_s=0.2)


def _many_at_once(hub: Hub, count: int) -> set[int]:
    """Ask from many threads at once; no answer may take longer than one alone."""
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
    assert max(took for _, took in seen) < 3.5, seen
    return {status for status, _ in seen}
