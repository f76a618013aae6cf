"""What no file of this repository may hold, and what every lock file must."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_TEXT = {".png", ".ico", ".woff2", ".gz"}

# Written in parts, so that this file does not find itself.
HOSTS = [".".join(parts) for parts in (
    ("pypi", "org"), ("pythonhosted", "org"), ("deb", "debian", "org"), ("npmjs", "org"), ("npmjs", "com"),
)]  # fmt: skip
PATHS = ["/" + part + "/" for part in ("work", "root", "tmp")]
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers", "base_manager"}


def tracked() -> list[Path]:
    """Every file git knows here, and those about to be added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file() and (ROOT / name).suffix not in NOT_TEXT]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for file in tracked()
        if file != Path(__file__).resolve()
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_the_host_of_a_package_index() -> None:
    assert lines_with(re.compile("|".join(map(re.escape, HOSTS)))) == []


def test_no_file_holds_a_path_of_the_machine_it_was_written_on() -> None:
    # A path begins after a blank, a quote or the like; `orders/work/` or a route `/api/v1/work/` is none.
    assert lines_with(re.compile(r"(?<![\w./}*-])(" + "|".join(map(re.escape, PATHS)) + r")")) == []


def test_nothing_is_left_for_later() -> None:
    assert lines_with(UNFINISHED) == []


def test_no_module_hides_behind_an_empty_name() -> None:
    assert [str(f.relative_to(ROOT)) for f in tracked() if f.suffix == ".py" and f.stem in EMPTY_NAMES] == []


def test_services_stays_a_namespace_so_that_an_image_carries_one_room() -> None:
    assert not (ROOT / "services" / "__init__.py").exists()


# -- locks ------------------------------------------------------------------------------------------------------------


def extras() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


@pytest.mark.parametrize("extra", sorted(extras()))
def test_every_deployable_has_a_lock_with_hashes_and_without_addresses(extra: str) -> None:
    lock = (ROOT / "requirements" / f"{extra}.txt").read_text(encoding="utf-8")
    requirements = re.split(r"\n(?=\S)", lock.strip())
    assert [r.split()[0] for r in requirements if "--hash=sha256:" not in r] == []
    assert "://" not in lock
    assert "--index" not in lock
    assert re.search(r"^nameko==2\.14\.1 ", lock, re.MULTILINE)


def canonical(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


@pytest.mark.parametrize("extra", sorted(extras()))
def test_a_lock_has_what_the_project_asks_for(extra: str) -> None:
    lock = (ROOT / "requirements" / f"{extra}.txt").read_text(encoding="utf-8")
    locked = {canonical(line) for line in lock.splitlines() if re.match(r"\S", line)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {canonical(r) for r in [*project["dependencies"], *extras()[extra]]} - {"crm-hub"}
    assert asked - locked == set(), "run `make lock`"


def test_the_gateway_carries_no_database_driver() -> None:
    assert "psycopg2" not in (ROOT / "requirements" / "gateway.txt").read_text(encoding="utf-8")
