"""A long backlog: how it drains from its first tenth to its last, and how fast its connection is paused and resumed."""

from __future__ import annotations

from typing import Any

from bench.deliveries import AT_ONCE, MANY, Product, open_door, rate
from bench.durability import of_product
from bench.rounds import Comparison
from bench.stage import Stage

BACKLOG = 100_000
PAUSE_MS = 50.0
"""Longest time that pausing or resuming a connection may take, whatever waits and whatever is on its way."""
TURNS, BETWEEN = 7, 500
"""How often it is paused and resumed at each place, and how many arrive between two times in the middle."""


def measure(database: str, many: int) -> tuple[list[Comparison], dict[str, Any]]:
    """Return how a long backlog drains, and how fast its connection is paused and resumed; takes minutes."""
    with Stage(database) as stage:
        product = Product(stage, open_door(stage), AT_ONCE)
        product.drained(MANY)
        product.turn("pause")
        product.fill(many)
        product.forget()
        product.turn("resume")
        full = _turned(product, [0] * TURNS)
        middle = _turned(product, [many // 2 + n * BETWEEN for n in range(TURNS)])
        arrived = product.arrivals(many)
        settings = of_product(stage.db_uri("integrations"))
    tenth = many // 10
    made = [Comparison(f"backlog of {many}: last tenth for the first", "1/s", [rate(arrived[:tenth])],
                       [rate(arrived[-tenth:])], "more", 0.9, 0.9)]
    made += [Comparison(f"{verb} {where}, of the {PAUSE_MS:g} ms it may take", "ms", [PAUSE_MS] * TURNS, took, "less",
                        1.0, 1.0)
             for where, turns in ((f"with {many} waiting", full), ("in the middle of the drain", middle))
             for verb, took in turns.items()]
    return made, {"backlog": settings}


def _turned(product: Product, after: list[int]) -> dict[str, list[float]]:
    """Pause and resume, each time once so many have arrived; return how long each took, in milliseconds.

    Between them the connection is read: what the way to the service and back takes meanwhile, of which a pause is more.
    """
    took: dict[str, list[float]] = {"read": [], "pause": [], "resume": []}
    for many in after:
        product.wait_for(many)
        for verb, times in took.items():
            times.append(product.read() if verb == "read" else product.turn(verb))
    return took
