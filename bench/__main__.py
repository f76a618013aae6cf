"""`python -m bench VERB`: measure, print a table, write JSON.

    all       every comparison below
    order     an order, from its acknowledgement to its arrival
    gateway   reading and creating a customer: how many a second, and the slowest hundredth over 64 connections
    relay     an outbox of many events
    deliveries  many deliveries: one process of the engine, a slow target, and on PostgreSQL two processes
    backlog   100,000 waiting deliveries: how they drain, and how fast they are paused; some ten minutes, not in `all`
    memory    each process of a hub that has nothing to do
    counts    the exact counts that tests hold: commits, statements, messages, frames, calls
    profile   where the time of an order, and of a read, goes
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

from bench import backlog, counts, deliveries, gateway, memory, order, relay
from bench.rounds import Comparison, table

PARTS = ("gateway", "relay", "order", "deliveries")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("verb", choices=["all", *PARTS, "backlog", "memory", "counts", "profile"])
    parser.add_argument("--json", type=Path, help="write everything that was measured here")
    parser.add_argument("--rounds", type=int, default=7, help="turns of floor and product [7]")
    parser.add_argument("--orders", type=int, default=60, help="orders in a round [60]")
    parser.add_argument("--backlog", type=int, default=backlog.BACKLOG, help="deliveries that wait [100000]")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--delay-ms", type=float, default=0, help="how long the target thinks [0]")
    return parser.parse_args()


def _measure(part: str, asked: argparse.Namespace) -> tuple[list[Comparison], dict[str, Any]]:
    if part == "order":
        return order.measure(asked.database, asked.delay_ms, asked.rounds, asked.orders)
    if part == "backlog":
        return backlog.measure(asked.database, asked.backlog)
    measure = {"gateway": gateway.measure, "relay": relay.measure, "deliveries": deliveries.measure}[part]
    return measure(asked.database, asked.rounds)


def _compare(asked: argparse.Namespace) -> dict[str, Any]:
    began = time.monotonic()
    made: list[Comparison] = []
    settings: dict[str, Any] = {}
    for part in PARTS if asked.verb == "all" else (asked.verb,):
        print(f"measuring {part}: {asked.rounds} rounds, {asked.database} …", file=sys.stderr, flush=True)
        comparisons, told = _measure(part, asked)
        made += comparisons
        settings |= told
    print(table(made), end="\n\n")
    for part, durability in settings.items():
        print(f"{part}: {', '.join(f'{k}={v}' for k, v in durability.items())}")
    return {"comparisons": [one.as_json() for one in made], "durability": settings, "database": asked.database,
            "delay_ms": asked.delay_ms, "python": platform.python_version(),
            "took_s": round(time.monotonic() - began, 1)}


def _remember() -> dict[str, Any]:
    print("measuring memory: a hub started with `hub up`, idle …", file=sys.stderr, flush=True)
    told = memory.measure()
    print(f"\n{memory.table(told)}")
    return told


def main() -> int:
    """Run one verb."""
    asked = _arguments()
    if asked.verb == "profile":
        from bench import profile

        document = profile.run(asked.database)
    elif asked.verb == "counts":
        document = {"counts": counts.expected()}
        print(counts.table())
    elif asked.verb == "memory":
        document = {"memory": _remember()}
    else:
        document = _compare(asked)
        if asked.verb == "all":
            document["memory"] = _remember()
        print(f"\n{counts.table()}")
        document["counts"] = counts.expected()
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
