"""What is wrong, said so that the reader knows what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Trouble(Exception):
    """Something on this machine keeps the hub from doing what was asked.

    Attributes:
        problem: what happened, and to whom; no full stop.
        remedy: what to do about it, as an order.
        named: `errors` and `details` of the gateway's problem document, where that is what happened.
    """

    def __init__(self, problem: str, remedy: str, named: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{problem}: {remedy}")
        self.problem = problem
        self.remedy = remedy
        self.named = named or {}
