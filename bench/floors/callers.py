"""What so many calls at once make of a target: each calls again as soon as it is answered, with nothing else to do.

Run as `python -m bench.floors.callers PORT`. The calls go through `requests`, as an adapter's do; no database is near.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

# ruff: noqa: E402
import sys
from typing import Any

import requests
from eventlet.greenpool import GreenPool
from requests.adapters import HTTPAdapter

from bench.stage import commands


def main(port: str) -> None:
    """Bring so many records, so many at once, each time it is told to."""

    def drain(order: dict[str, Any]) -> dict[str, Any]:
        at_once, body = int(order["at_once"]), order["body"].encode()
        http = requests.Session()
        http.mount("http://", HTTPAdapter(pool_maxsize=at_once))

        def call(id: str) -> None:
            answer = http.post(f"http://127.0.0.1:{port}/records/customer", data=body, timeout=30,
                               headers={"Idempotency-Key": f"customer-{id}", "Content-Type": "application/json"})
            answer.raise_for_status()

        for _ in GreenPool(at_once).imap(call, order["ids"]):
            pass
        http.close()
        return {}

    commands(drain, {})


if __name__ == "__main__":
    main(*sys.argv[1:])
