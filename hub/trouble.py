"""What is wrong, said so that the reader knows what to do next."""

from __future__ import annotations


class Trouble(Exception):
    """Something on this machine keeps the hub from doing what was asked.

    Attributes:
        problem: what happened, and to whom; no full stop.
        remedy: what to do about it, as an order.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}: {remedy}")
        self.problem = problem
        self.remedy = remedy
