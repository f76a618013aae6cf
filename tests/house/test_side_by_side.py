"""The run of all tests loses none of them: what fails, dies or is out of sight makes it fail and is named."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.side_by_side import LONGEST, ROOT, TOGETHER, folder
from tests.support import processes

PASSES = "def test_it():\n    pass\n"


def make(root: Path, files: dict[str, str]) -> None:
    """Make a project that has the files which the run names, and `files`."""
    named = {f"{name}test_it.py" if name.endswith("/") else name for names in TOGETHER for name in names}
    for name, text in {**dict.fromkeys((*named, *LONGEST), PASSES), **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name in ("tests/side_by_side.py", "tests/support/part.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\nmarkers = faults: long\n")


def side_by_side(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run all tests of a project."""
    done = subprocess.run([sys.executable, "tests/side_by_side.py", "--parts=2", *options], cwd=root, check=False,
                          env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, capture_output=True, text=True)
    for kept in re.findall(r"^what the tests wrote is in (\S+)$", done.stdout, re.MULTILINE):
        shutil.rmtree(kept)
    return done


def test_every_file_is_run_once_and_its_session_lasts_as_long_as_the_part(tmp_path: Path) -> None:
    session = """
import pytest

@pytest.fixture(scope="session")
def dear(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    yield
    print("given back", "in time" if (folder / ".lock").exists() else "when others may remove", folder)

@pytest.fixture(scope="session")
def whole_hub():
    yield
    print("hub stopped")
"""
    uses = "import pytest\ndef test_a(whole_hub, dear):\n    pass\n@pytest.mark.faults\ndef test_b():\n    assert 0\n"
    make(tmp_path, {"tests/a/conftest.py": session, "tests/a/test_a.py": uses, "tests/a/test_b.py": uses})
    done = side_by_side(tmp_path, "--capture=no", "-m", "not faults")
    named = {name for names in TOGETHER for name in names}
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(named) + len(LONGEST) + 2} passed, 0 of them unsteady, 0 failed, 0 skipped" in done.stdout
    told = re.findall("given back (.*) (/.*)", done.stdout)
    assert 1 <= len(told) <= 2, "once in each part that used it"
    assert {when for when, _ in told} == {"in time"}, "a server is stopped while its files are there"
    assert len({Path(folder).parents[1] for _, folder in told}) == len(told), "a part shares no folder with another"
    ends = re.findall("hub stopped|given back", done.stdout)
    assert ends.count("hub stopped") == 2, "a hub is not kept for files that do not ask for it"
    assert (ends[0], ends[-1]) == ("hub stopped", "given back")


def test_what_a_dead_run_wrote_goes_and_a_live_one_keeps_its_folder(monkeypatch: pytest.MonkeyPatch,
                                                                    tmp_path: Path) -> None:
    monkeypatch.setattr("tests.side_by_side.MEMORY", tmp_path)
    dead, live = tmp_path / "hub-tests-0-dead", tmp_path / "hub-tests-0-out-of-sight"
    dead.mkdir()
    live.mkdir()
    with subprocess.Popen(["flock", str(live), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"held\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"held\n"
        shutil.rmtree(folder(1))
        assert (dead.exists(), live.exists()) == (False, True)


@pytest.mark.parametrize(("name", "text", "told"), [
    ("tests/a/test_a.py", "def test_a():\n    assert 1 == 2\n", "FAILED tests/a/test_a.py::test_a"),
    ("tests/a/test_a.py", "import nowhere\n", "FAILED tests/a/test_a.py"),
    ("tests/a/test_a.py", "import os\ndef test_a():\n    os._exit(0)\n", "in tests/a/test_a.py"),
    ("tests/build/test_a.py", PASSES, "find other files: tests/build/test_a.py"),
    ("tests/a/a_test.py", PASSES, "find other files: tests/a/a_test.py"),
], ids=["fails", "cannot-be-imported", "dies", "not-seen-by-pytest", "seen-by-pytest-alone"])
def test_what_fails_dies_or_is_out_of_sight_fails_the_run(tmp_path: Path, name: str, text: str, told: str) -> None:
    make(tmp_path, {name: text})
    done = side_by_side(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert told in done.stdout, done.stdout + done.stderr


def test_what_fails_only_beside_others_is_named_and_does_not_fail_the_run(tmp_path: Path) -> None:
    beside = "import sys\ndef test_a():\n    assert 'tests.support.part' not in sys.modules\n"
    make(tmp_path, {"tests/a/test_a.py": beside})
    done = side_by_side(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.findall(r"^UNSTEADY .*\n  (\S+)\n", done.stdout, re.MULTILINE)
    assert told == ["tests/a/test_a.py::test_a"]
    assert "1 of them unsteady, 0 failed" in done.stdout


@pytest.mark.parametrize("text", [
    "import pathlib\ndef test_a():\n    runs = pathlib.Path('runs')\n"
    "    runs.write_text(runs.read_text() + '.' if runs.exists() else '.')\n"
    "    assert len(runs.read_text()) in (2, 3)\n",
    "import sys\nimport pytest\n@pytest.mark.parametrize('n', range(4))\n"
    "def test_a(n):\n    assert 'tests.support.part' not in sys.modules\n",
], ids=["fails-again-at-the-third-time", "too-many"])
def test_what_fails_again_or_in_numbers_is_no_accident(tmp_path: Path, text: str) -> None:
    make(tmp_path, {"tests/a/test_a.py": text})
    done = side_by_side(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "UNSTEADY" not in done.stdout
    assert "FAILED" in done.stdout


def test_a_name_that_is_not_there_fails_the_run(tmp_path: Path) -> None:
    make(tmp_path, {})
    (tmp_path / LONGEST[0]).unlink()
    done = side_by_side(tmp_path)
    assert (done.returncode, LONGEST[0] in done.stderr) == (1, True)


def test_a_port_that_a_test_was_given_is_given_to_no_other_before_that_process_ends(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    first = processes.free_port(in_a_row=3)
    tried = iter([first, first + 2, *range(32_000, 33_000)])
    monkeypatch.setattr(random, "randrange", lambda *_: next(tried))
    assert processes.free_port() >= 32_000
