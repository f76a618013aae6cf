"""The sandbox counts the steps that it runs, not those that it could."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.erp import ROOM

sys.path.append(str(ROOM))

import layout
import sandbox


@pytest.mark.parametrize(("backend", "said"), [
    ("sqlite", ["[1/3] environment", "[2/3] tables", "[3/3] seed"]),
    ("postgresql", ["[1/4] environment", "[2/4] cluster", "[3/4] tables", "[4/4] seed"]),
])
def test_a_first_preparation_counts_what_its_backend_needs(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str, said: list[str]) -> None:
    tell = sandbox.steps(new(tmp_path, backend))
    for step in said:
        tell(step.partition(" ")[2])
    assert [line.partition("[")[2] for line in capsys.readouterr().out.splitlines()] == [s[1:] for s in said]


def test_a_step_that_was_done_before_is_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box = new(tmp_path, "sqlite")
    box.venv.mkdir()
    (box.venv / ".complete").write_text(sandbox.fingerprint(sandbox.REQUIREMENTS))
    box.tables_marker.write_text("older modules")
    box.seed_file.write_text("{}")
    box.seed_marker.write_text(sandbox.seed_wanted())
    sandbox.steps(box)("tables")
    assert "[1/1] tables" in capsys.readouterr().out


def new(state: Path, backend: str) -> layout.Sandbox:
    return layout.Sandbox(state=state, venv=state / "venv", port=1, postgres_port=2, backend=backend, threads=1)
