"""The table of faults has every row that is asked for, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

FAULTS = Path(__file__).resolve().parents[1] / "faults"
ASKED_FOR = {*range(1, 7), *range(9, 15), *range(16, 27), *range(29, 32)}
"""Rows that this version has to pass."""
NAMED = re.compile(r"`([./\w]+\.py)::(\w+)`")


def rows() -> list[tuple[set[int], list[tuple[str, str]]]]:
    """Return, for each row of the table, its numbers (a dash stands for those in between) and the tests it names."""
    found = []
    for line in (FAULTS / "README.md").read_text(encoding="utf-8").splitlines():
        if (cells := line.split("|"))[0] == "" and len(cells) > 4 and re.match(r" \d", cells[1]):
            numbers: set[int] = set()
            for part in cells[1].split(","):
                first, _, last = part.partition("–")
                numbers.update(range(int(first), int(last or first) + 1))
            found.append((numbers, NAMED.findall(line)))
    return found


def test_every_row_that_is_asked_for_stands_in_the_table_with_a_test() -> None:
    standing = {number for numbers, tests in rows() for number in numbers if tests}
    assert standing >= ASKED_FOR, f"missing: {sorted(ASKED_FOR - standing)}"


def test_every_test_that_the_table_of_faults_names_is_there() -> None:
    named = [test for _, tests in rows() for test in tests]
    assert len(named) > 40
    assert len(named) == len(NAMED.findall((FAULTS / "README.md").read_text(encoding="utf-8"))), "a line is no row"
    missing = [f"{file}::{name}" for file, name in named
               if f"def {name}(" not in (FAULTS / file).read_text(encoding="utf-8")]
    assert missing == []
