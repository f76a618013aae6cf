"""The floor of many deliveries: claim a batch in one commit, call for all of it at once, settle it in one commit.

Run as `python -m bench.floors.deliveries DB_URI PORT IN_FLIGHT`. The calls go through `requests`, as an adapter's do.
Nothing is ordered, opened, mapped, retried, paced, announced or logged here, and nobody else claims.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

# ruff: noqa: E402
import sys
from collections.abc import Sequence
from typing import Any

import requests
from eventlet.greenpool import GreenPool
from requests.adapters import HTTPAdapter

from bench.floors.order import Store
from bench.stage import commands

CLAIM = ("UPDATE delivery SET state = 'leased' WHERE id IN "
         "(SELECT id FROM delivery WHERE state = 'pending' ORDER BY id LIMIT ?) RETURNING id, body")
OPEN = "INSERT INTO attempt SELECT id, NULL FROM delivery WHERE state = 'leased'"
SETTLE = "UPDATE delivery SET state = 'delivered' WHERE state = 'leased'"
CLOSE = "UPDATE attempt SET outcome = 'succeeded' WHERE outcome IS NULL"
INDEXES = ("CREATE INDEX IF NOT EXISTS ix_state ON delivery (state, id)",
           "CREATE INDEX IF NOT EXISTS ix_open ON attempt (id) WHERE outcome IS NULL")


class Backlog(Store):
    """Deliveries that wait."""

    def make(self) -> None:
        """Make the indexes."""
        self.commit(*((index, ()) for index in INDEXES))

    def fill(self, ids: Sequence[str], body: str) -> None:
        """Let deliveries wait."""
        self.commit(*(("INSERT INTO delivery VALUES (?, ?, 'pending')", (id, body)) for id in ids))

    def claim(self, limit: int) -> list[tuple[str, str]]:
        """Take up to so many, with an attempt opened for each."""
        if self._sqlite:
            self._cursor.execute("BEGIN IMMEDIATE")
        self._cursor.execute(CLAIM if self._sqlite else CLAIM.replace("?", "%s"), (limit,))
        claimed: list[tuple[str, str]] = self._cursor.fetchall()
        self._cursor.execute(OPEN)
        self._connection.commit()
        return claimed

    def settle(self) -> None:
        """Write down that all of what was taken has arrived."""
        self.commit((SETTLE, ()), (CLOSE, ()))


def main(db_uri: str, port: str, in_flight: str) -> None:
    """Deliver so many each time it is told to."""
    backlog, at_once = Backlog(db_uri), int(in_flight)
    backlog.make()
    http, pool = requests.Session(), GreenPool(at_once)
    http.mount("http://", HTTPAdapter(pool_maxsize=at_once))

    def call(row: tuple[str, str]) -> None:
        id, body = row
        answer = http.post(f"http://127.0.0.1:{port}/records/customer", data=body.encode(), timeout=30,
                           headers={"Idempotency-Key": f"customer-{id}", "Content-Type": "application/json"})
        answer.raise_for_status()

    def drain(order: dict[str, Any]) -> dict[str, Any]:
        backlog.fill(order["ids"], order["body"])
        while claimed := backlog.claim(at_once):
            list(pool.imap(call, claimed))
            backlog.settle()
        return {}

    commands(drain, backlog.durability())


if __name__ == "__main__":
    main(*sys.argv[1:])
