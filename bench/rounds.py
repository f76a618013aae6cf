"""Rounds of floor and product in turns, and what they say together: the median ratio and its spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")


def alternate(rounds: int, floor: Callable[[], T], product: Callable[[], T]) -> list[tuple[T, T]]:
    """Return what floor and product measured in each round; who goes first changes from round to round."""
    measured = []
    for number in range(rounds):
        if number % 2:
            ours = product()
            measured.append((floor(), ours))
        else:
            least = floor()
            measured.append((least, product()))
    return measured


def quantile(samples: Sequence[float], q: float) -> float:
    """Return the sample below which the share `q` of all samples lies (nearest rank)."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


@dataclass(frozen=True)
class Comparison:
    """One line of the table.

    Attributes:
        name: what was measured.
        unit: of the figures of floor and product; they mean something on this machine only.
        floor, product: one figure for each round.
        better: whether a smaller or a larger figure is better.
        milestone: the ratio that is asked for now; None for a figure that is shown for information.
        goal: the ratio that a release must have.
    """

    name: str
    unit: str
    floor: Sequence[float]
    product: Sequence[float]
    better: Literal["less", "more"]
    milestone: float | None = None
    goal: float | None = None

    @property
    def ratios(self) -> list[float]:
        """Product by floor, round by round."""
        return [ours / least for least, ours in zip(self.floor, self.product, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest ratio of any round."""
        return min(self.ratios), max(self.ratios)

    def reaches(self, ratio: float | None) -> bool | None:
        """Whether the median is as good as `ratio`; None when nothing is asked for."""
        if ratio is None:
            return None
        return self.ratio <= ratio if self.better == "less" else self.ratio >= ratio

    def as_json(self) -> dict[str, Any]:
        """Return everything that was measured."""
        low, high = self.spread
        return {
            "name": self.name, "unit": self.unit, "better": self.better, "rounds": len(self.ratios),
            "ratio": round(self.ratio, 3), "spread": [round(low, 3), round(high, 3)],
            "ratios": [round(ratio, 3) for ratio in self.ratios],
            "floor_median": round(statistics.median(self.floor), 3),
            "product_median": round(statistics.median(self.product), 3),
            "milestone": self.milestone, "reaches_milestone": self.reaches(self.milestone),
            "goal": self.goal, "reaches_goal": self.reaches(self.goal),
        }


def table(comparisons: Sequence[Comparison]) -> str:
    """Return the lines as a table for people."""
    head = f"{'':44} {'floor':>9} {'product':>9} {'':7} {'ratio':>7} {'spread':>15} {'milestone':>11} {'goal':>7}"
    return "\n".join([head, *(_row(one) for one in comparisons)])


def _row(one: Comparison) -> str:
    low, high = one.spread
    sign = "≤" if one.better == "less" else "≥"
    marks = ["–" if limit is None else f"{sign} {limit:g} {'✓' if one.reaches(limit) else '✗'}"
             for limit in (one.milestone, one.goal)]
    return (f"{one.name:44} {statistics.median(one.floor):9.2f} {statistics.median(one.product):9.2f} {one.unit:7} "
            f"{one.ratio:7.2f} {low:7.2f}–{high:<7.2f} {marks[0]:>11} {marks[1]:>7}")
