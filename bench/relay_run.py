"""The product's relay in a process of its own, with an outbox to empty: `python -m bench.relay_run AMQP_URI DB_URI`.

It is measured from its start to the moment at which the last row was marked sent, so the claim of each batch, the
marking and their commits are inside.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

# ruff: noqa: E402
import datetime as dt
import sys
from typing import Any

import sqlalchemy as sa
import structlog

from bench.stage import commands
from chassis.database import CHASSIS, Database, new_id, utcnow
from chassis.outbox import OUTBOX
from chassis.relay import BATCH, Relay
from contracts.sales import ORDER_CONFIRMED


def fill(db: Database, body: str, count: int) -> None:
    """Put `count` unsent events into an outbox that is empty otherwise."""
    with db.write() as session:
        session.execute(OUTBOX.delete())
    now = utcnow()
    row = {"exchange": ORDER_CONFIRMED.exchange, "routing_key": ORDER_CONFIRMED.routing_key, "subject": new_id(),
           "mandatory": True, "body": body, "created_at": now, "due_at": now}
    with db.write() as session:
        session.execute(OUTBOX.insert(), [row | {"id": new_id()} for _ in range(count)])


def empty(db: Database, amqp_uri: str) -> dict[str, Any]:
    """Run a relay until everything is sent; return the seconds it took."""
    relay = Relay(db, amqp_uri, "bench")
    began = utcnow()
    running = eventlet.spawn(relay.run)
    left = sa.select(sa.func.count()).select_from(OUTBOX).where(OUTBOX.c.sent_at.is_(None))
    while True:
        eventlet.sleep(0.05)
        with db.read() as session:
            if session.scalar(left) == 0:
                break
    relay.stop()
    running.wait()
    with db.read() as session:
        last: dt.datetime = session.execute(sa.select(sa.func.max(OUTBOX.c.sent_at))).scalar_one()
    return {"took_s": (last - began).total_seconds()}


def main(amqp_uri: str, db_uri: str) -> None:
    """Fill and empty the outbox each time it is told to."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # answers go to standard output
    db = Database(db_uri, pool_size=4, info={"outbox_retention_h": 72.0})
    CHASSIS.create_all(db.engine, tables=[OUTBOX])
    db.engine.dispose()

    def run(order: dict[str, Any]) -> dict[str, Any]:
        fill(db, order["body"], order["count"])
        return empty(db, amqp_uri)

    commands(run, {"batch": BATCH})


if __name__ == "__main__":
    main(*sys.argv[1:])
