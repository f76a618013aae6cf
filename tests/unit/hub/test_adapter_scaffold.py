"""`hub adapter new`: a folder that is whole, in nobody's way, and says what to do next."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hub.adapter_scaffold import OURS, make
from hub.cli import app
from hub.installation import ROOT
from hub.trouble import Trouble

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def test_a_package_is_made_that_names_its_adapter_everywhere_alike(tmp_path: Path) -> None:
    made = make("pay_desk", tmp_path, ours=False)
    assert made.folder == tmp_path / "crm-hub-pay-desk"
    project = tomllib.loads((made.folder / "pyproject.toml").read_text(encoding="utf-8"))
    entry = project["project"]["entry-points"]["crm_hub.adapters"]
    assert entry == {"pay_desk": "crm_hub_pay_desk.adapter:PayDeskAdapter"}
    texts = {file: file.read_text(encoding="utf-8") for file in made.files}
    assert "class PayDeskAdapter(" in texts[made.folder / "crm_hub_pay_desk" / "adapter.py"]
    assert [file for file, text in texts.items() if "acme" in text.lower() or "acme" in file.name] == []


def test_a_new_package_passes_the_half_of_the_kit_that_needs_no_system(tmp_path: Path) -> None:
    told = make("pay_desk", tmp_path, ours=False).steps[0]
    command = shlex.split(told["en"].partition(": ")[2])
    # The hub's own plug-ins stay out: they take seconds to load.
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
                          capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "pay_desk 0.1.0: " in done.stdout
    assert "earned: at least once" in done.stdout
    assert "asked of: no entity; not of: customer" in done.stdout, "it says what the other half has to show"


def test_one_of_ours_lies_beside_the_others_with_its_tests_and_passes_the_linter(tmp_path: Path) -> None:
    made = make("pay_desk", tmp_path, ours=True)
    assert made.folder == tmp_path / OURS / "pay_desk"
    assert made.test == tmp_path / "tests/adapters/pay_desk/test_conformance.py"
    assert not (tmp_path / "pyproject.toml").exists()
    assert "services.integrations.adapters.pay_desk.mapping import" in (made.folder / "adapter.py").read_text()
    # The configuration alone would be that of another folder: what is ours decides how imports are sorted.
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    linted = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "."], cwd=tmp_path,
                            capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("name", ["", "a", "Cards", "1st", "card-index", "cards_", "card__index", "../cards", "import",
                                  "x" * 41, "卡片"])
def test_a_name_that_could_not_be_imported_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Trouble, match="no name for an adapter"):
        make(name, tmp_path, ours=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ours", [False, True])
def test_the_name_of_one_of_ours_is_refused(tmp_path: Path, ours: bool) -> None:
    with pytest.raises(Trouble, match="would never be loaded"):
        make("tryton", tmp_path, ours=ours)


def test_the_name_of_a_module_beside_ours_is_refused_for_one_of_ours_alone(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="would hide the module"):
        make("registry", tmp_path, ours=True)
    assert list(tmp_path.iterdir()) == []
    assert make("registry", tmp_path, ours=False).folder.is_dir()


@pytest.mark.parametrize(("ours", "taken"), [(False, "crm-hub-cards"), (True, f"{OURS}/cards"),
                                             (True, "tests/adapters/cards/test_conformance.py")])
def test_what_is_there_already_is_left_as_it_is(tmp_path: Path, ours: bool, taken: str) -> None:
    (tmp_path / taken).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Trouble, match="exists"):
        make("cards", tmp_path, ours=ours)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("ours", [False, True])
def test_the_next_steps_are_told_in_english_and_chinese(tmp_path: Path, ours: bool) -> None:
    said = CliRunner().invoke(app, ["adapter", "new", "cards", "--into", str(tmp_path), *["--ours"] * ours])
    assert said.exit_code == 0
    for number in "123":
        [step] = re.findall(rf"^{number}\. (.*)\n   (.*)$", said.output, re.MULTILINE)
        assert CHINESE.search(step[1])
        assert not CHINESE.search(step[0])


@pytest.mark.parametrize("into", [[], ["--into", "."]])
def test_the_commands_told_hold_the_whole_path_and_survive_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, into: list[str]
) -> None:
    here = tmp_path / "my adapters"
    here.mkdir()
    monkeypatch.chdir(here)
    said = CliRunner().invoke(app, ["adapter", "new", "cards", *into, "--json"])
    kit, _, install = (step["en"].partition(": ")[2] for step in json.loads(said.output)["steps"])
    folder = str(here / "crm-hub-cards")
    assert shlex.split(install.partition(". hub adapter")[0])[1:] == ["-m", "pip", "install", "--no-deps", folder]
    assert shlex.split(kit)[-1] == folder


def test_the_command_told_for_one_of_ours_is_for_the_checkout(tmp_path: Path) -> None:
    command = make("cards", tmp_path / "my hub", ours=True).steps[0]["en"].partition(": ")[2]
    assert shlex.split(command) == ["make", "test", "T=tests/adapters/cards/test_conformance.py"]


def test_a_program_reads_what_was_made_and_what_was_refused(tmp_path: Path) -> None:
    asked = ["adapter", "new", "cards", "--into", str(tmp_path), "--json"]
    made, refused = (CliRunner().invoke(app, asked) for _ in range(2))
    assert json.loads(made.output)["folder"] == str(tmp_path / "crm-hub-cards")
    assert (refused.exit_code, json.loads(refused.output)["ok"]) == (1, False)
