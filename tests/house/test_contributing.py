"""CONTRIBUTING.md is true: its files, written into a copy of the project, do what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'^```python (\S+)(?: after: "([^\n]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
COPIED = ("contracts", "chassis", "hub_adapter", "services", "gateway", "hub", "deploy", "tests",
          "pyproject.toml")


def follow(guide: str, root: Path) -> list[str]:
    """Do what the guide says below `root`; return the files it wrote."""
    written = []
    for name, after, code in BLOCK.findall(guide):
        file = root / name
        if after:
            text = file.read_text(encoding="utf-8")
            assert f"{after}\n" in text, f"CONTRIBUTING.md inserts after {after!r}, which {name} does not hold"
            file.write_text(text.replace(f"{after}\n", f"{after}\n{code}", 1), encoding="utf-8")
        else:
            assert not file.exists(), f"CONTRIBUTING.md would overwrite {name}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(code, encoding="utf-8")
            written.append(name)
    return written


def test_the_walk_through_contributing_makes_a_room_that_works(tmp_path: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    written = follow((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), tmp_path)
    assert len(written) >= 9
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/service/notes"],
                          cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "2 passed" in done.stdout
