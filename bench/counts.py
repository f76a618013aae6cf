"""The exact counts of counts.json, which tests/service/counts holds the product to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("counts.json")


def expected() -> dict[str, dict[str, Any]]:
    """Return, for each thing that is done, what it may cost."""
    counts: dict[str, dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return counts


def table() -> str:
    """Return the counts as a table for people."""
    lines = [f"{'exact counts, held by tests':44} {'commits':>8} {'SQL':>8} {'messages':>9} {'frames':>8} {'calls':>8}"]
    for what, cost in expected().items():
        messages = sum(cost["messages"].get(kind, 0) for kind in ("publish", "deliver"))
        sums = [sum(cost["commits"].values()), sum(cost["statements"].values()), messages, cost["frames"],
                cost["calls"]]
        lines.append(f"{what:44} {sums[0]:8} {sums[1]:8} {sums[2]:9} {sums[3]:8} {sums[4]:8}")
    return "\n".join(lines)
