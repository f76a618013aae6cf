"""The floor of the gateway: stock nameko, HTTP → RPC → one SELECT, or one INSERT with its outbox row.

Run as `python -m bench.floors.gateway http PORT` and `... service DB_URI`, two processes like the product's. No
credential, validation, idempotency key, encryption, limit, log or event leaves here.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

# ruff: noqa: E402
import json
import logging
import os
import sys
import time
import uuid
from typing import Any

from nameko.rpc import RpcProxy, rpc
from nameko.runners import ServiceRunner
from nameko.web.handlers import http
from werkzeug.wrappers import Response

from bench.floors.order import Store

COLUMNS = ("id", "version", "name", "kind", "phone", "email", "wechat_id", "address", "invoice", "source", "level",
           "lifecycle", "tags", "preferences", "next_follow_up_at", "owner_id", "team_id", "created_by", "created_at",
           "updated_at")
TABLE = f"CREATE TABLE IF NOT EXISTS customer ({', '.join(f'{name} TEXT' for name in COLUMNS)}, PRIMARY KEY (id))"
SELECT = f"SELECT {', '.join(COLUMNS)} FROM customer WHERE id = ?"
INSERT = f"INSERT INTO customer VALUES ({', '.join('?' * len(COLUMNS))})"


class CustomerStore(Store):
    """The table of one bare service."""

    def make(self) -> None:
        """Make the table."""
        self.commit((TABLE, ()))

    def read(self, id: str) -> dict[str, Any]:
        """Return one customer."""
        self._cursor.execute(SELECT if self._sqlite else SELECT.replace("?", "%s"), (id,))
        row = self._cursor.fetchone()
        if not self._sqlite:
            self._connection.commit()
        return dict(zip(COLUMNS, row, strict=True))


STORE: CustomerStore


class Door:
    """The bare gateway."""

    name = "floor_gateway"
    customers = RpcProxy("floor_customers")

    @http("GET", "/api/v1/customers/<string:id>")  # type: ignore[untyped-decorator]
    def read(self, _request: Any, id: str) -> Response:
        """Answer one customer."""
        return Response(json.dumps(self.customers.read(id)), content_type="application/json")

    @http("POST", "/api/v1/customers")  # type: ignore[untyped-decorator]
    def create(self, request: Any) -> Response:
        """Make a customer."""
        made = self.customers.create(json.loads(request.get_data()))
        return Response(json.dumps(made), status=201, content_type="application/json")


class Customers:
    """The bare service."""

    name = "floor_customers"

    @rpc  # type: ignore[untyped-decorator]
    def read(self, id: str) -> dict[str, Any]:
        """Return one customer."""
        return STORE.read(id)

    @rpc  # type: ignore[untyped-decorator]
    def create(self, given: dict[str, Any]) -> dict[str, Any]:
        """Keep a customer and its event in one commit."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        made = dict.fromkeys(COLUMNS) | given | {"id": str(uuid.uuid4()), "version": "1", "created_at": now,
                                                 "updated_at": now, "address": json.dumps(given.get("address"))}
        STORE.commit((INSERT, tuple(made[name] for name in COLUMNS)),
                     ("INSERT INTO outbox VALUES (?, ?)", (made["id"], json.dumps(made))))
        return made


def main(part: str, argument: str) -> None:
    """Run one of the two processes until killed."""
    global STORE
    logging.disable(logging.INFO)
    config = {"AMQP_URI": os.environ["FLOOR_AMQP_URI"], "WEB_SERVER_ADDRESS": f"127.0.0.1:{argument}"}
    if part == "service":
        STORE = CustomerStore(argument)
        STORE.make()
        print(json.dumps(STORE.durability()), flush=True)
    runner = ServiceRunner(config)
    runner.add_service(Customers if part == "service" else Door)
    runner.start()
    runner.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
