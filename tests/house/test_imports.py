"""Three floors, and nothing runs up: the import rules of the house hold."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_import_rules_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    told = subprocess.run([linter, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_no_product_module_imports_the_kit_that_tests_adapters() -> None:
    kit = "hub_adapter.conformance"
    found = []
    for room in ("contracts", "hub_adapter", "chassis", "services", "gateway", "hub"):
        for file in (ROOT / room).rglob("*.py"):
            if (ROOT / "hub_adapter" / "conformance") in file.parents or "tests" in file.relative_to(ROOT).parts:
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                found += [f"{file.relative_to(ROOT)}: {name}" for name in names if f"{name}.".startswith(f"{kit}.")]
    assert found == []
