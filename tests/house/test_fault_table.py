"""The table of faults names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

FAULTS = Path(__file__).resolve().parents[1] / "faults"


def test_every_test_that_the_table_of_faults_names_is_there() -> None:
    named = re.findall(r"`([./\w]+\.py)::(\w+)`", (FAULTS / "README.md").read_text(encoding="utf-8"))
    assert len(named) > 15
    missing = [f"{file}::{name}" for file, name in named
               if f"def {name}(" not in (FAULTS / file).read_text(encoding="utf-8")]
    assert missing == []
