"""The floor of one order: three commits, one confirmed publish, one delivery, one call, then a commit of the outcome.

`sender` stands for sales: order and event in one commit, then a mandatory, persistent, confirmed publish. `receiver`
stands for integrations: inbox and delivery in one commit, the opened attempt in another before a byte leaves, the call,
the outcome. Nothing is validated, authorised, encrypted, retried or logged.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from typing import Any

import amqp
import psycopg2

from bench.stage import commands
from bench.wire_http import Line, request

QUEUE, EXCHANGE = "floor.orders", "floor.events"
TABLES = (
    "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS outbox (id TEXT PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS inbox (id TEXT PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS delivery (id TEXT PRIMARY KEY, body TEXT NOT NULL, state TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS attempt (id TEXT PRIMARY KEY, outcome TEXT)",
)


class Store:
    """A database connection whose commits are as durable as the product's: WAL and synchronous=FULL, or fsync on."""

    def __init__(self, uri: str) -> None:
        self._sqlite = uri.startswith("sqlite:///")
        if self._sqlite:
            self._connection: Any = sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                self._connection.execute(f"PRAGMA {pragma}")
        else:
            self._connection = psycopg2.connect(uri)
        self._cursor = self._connection.cursor()
        self.commit(*((table, ()) for table in TABLES))

    def commit(self, *statements: tuple[str, tuple[Any, ...]]) -> None:
        """Run statements in one transaction."""
        if self._sqlite:
            self._cursor.execute("BEGIN IMMEDIATE")
        for statement, values in statements:
            self._cursor.execute(statement if self._sqlite else statement.replace("?", "%s"), values)
        self._connection.commit()

    def durability(self) -> dict[str, Any]:
        """Return the settings that decide what survives a power cut."""
        asked = ("journal_mode", "synchronous") if self._sqlite else ("fsync", "synchronous_commit")
        told = {}
        for setting in asked:
            self._cursor.execute(f"{'PRAGMA' if self._sqlite else 'SHOW'} {setting}")
            told[setting] = self._cursor.fetchone()[0]
        self._connection.commit()
        return told


def connect(uri: str) -> Any:
    """Return an open py-amqp connection that confirms what is published."""
    user, _, address = uri.removeprefix("amqp://").partition("@")
    host, _, vhost = address.partition("/")
    name, _, password = user.partition(":")
    connection = amqp.Connection(host, userid=name, password=password, virtual_host=vhost, confirm_publish=True)
    connection.connect()
    return connection


def sender(amqp_uri: str, db_uri: str) -> None:
    """Commit and publish an order each time it is told to; answers with the moments of the commit, begun and done."""
    store, channel = Store(db_uri), connect(amqp_uri).channel()
    channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
    channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    channel.queue_bind(QUEUE, EXCHANGE, "order.confirmed")

    def send(order: dict[str, Any]) -> dict[str, Any]:
        began_ns = time.monotonic_ns()
        store.commit(("INSERT INTO orders VALUES (?, ?)", (order["id"], order["body"])),
                     ("INSERT INTO outbox VALUES (?, ?)", (order["id"], order["body"])))
        committed_ns = time.monotonic_ns()
        message = amqp.Message(order["body"], delivery_mode=2, message_id=order["id"])
        channel.basic_publish_confirm(message, EXCHANGE, "order.confirmed", mandatory=True)
        return {"began_ns": began_ns, "committed_ns": committed_ns}

    commands(send, store.durability())


def receiver(amqp_uri: str, db_uri: str, target_port: str) -> None:
    """Deliver each order to the target."""
    store, connection, line = Store(db_uri), connect(amqp_uri), Line(int(target_port))
    channel = connection.channel()

    def deliver(message: Any) -> None:
        id, body = message.properties["message_id"], message.body
        store.commit(("INSERT INTO inbox VALUES (?)", (id,)),
                     ("INSERT INTO delivery VALUES (?, ?, 'pending')", (id, body)))
        message.channel.basic_ack(message.delivery_tag)
        store.commit(("UPDATE delivery SET state = 'leased' WHERE id = ?", (id,)),
                     ("INSERT INTO attempt VALUES (?, NULL)", (id,)))
        answer = line.ask(request("POST", "/records/floor", body.encode(), Idempotency_Key=f"order-{id}"))
        assert answer.status == 201, answer
        store.commit(("UPDATE delivery SET state = 'delivered' WHERE id = ?", (id,)),
                     ("UPDATE attempt SET outcome = 'succeeded' WHERE id = ?", (id,)))

    channel.basic_qos(0, 1, False)
    channel.basic_consume(QUEUE, callback=deliver)
    print(json.dumps(store.durability()), flush=True)
    while True:
        connection.drain_events()


if __name__ == "__main__":
    (sender if sys.argv[1] == "sender" else receiver)(*sys.argv[2:])
