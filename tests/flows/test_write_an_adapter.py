"""docs/guides/write-an-adapter.md is true: followed word by word, it brings a customer to a card index."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from typer.testing import CliRunner

from hub.cli import app
from tests.flows.people import administrator
from tests.service.gateway.running import Hub
from tests.support.processes import ROOT, Processes, eventually

GUIDE = (ROOT / "docs" / "guides" / "write-an-adapter.md").read_text(encoding="utf-8")
FILE = re.compile(r"^```python (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REQUESTS = re.compile(r"^(GET|POST|PUT) (/\S+)(?: (\{.*\}))?$", re.MULTILINE)
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOLD_AT = "http://127.0.0.1:8099"
SERVE, NEW, KIT, INSTALL = (block.splitlines()[0] for block in SHELL.findall(GUIDE))


def typed(command: str, folder: Path | str = "") -> list[str]:
    """A command of the guide, for this machine."""
    return command.replace(".venv/bin/python", sys.executable).replace("../crm-hub-cards", str(folder)).split()


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The system that the guide brings along, at its address."""
    processes = Processes(tmp_path_factory.mktemp("cards"))
    process = processes.start("cards", typed(SERVE.replace("8099", "0")))
    try:
        eventually(lambda: "cards at " in process.log())
        yield process.log().partition("cards at ")[2].strip()
    finally:
        processes.stop_all()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `hub adapter new` makes."""
    into = tmp_path_factory.mktemp("author")
    said = CliRunner().invoke(app, NEW.replace("--into ..", f"--into {into}").split()[1:])
    assert said.exit_code == 0, said.output
    return into / "crm-hub-cards"


@pytest.fixture(scope="module")
def written(made: Path) -> Path:
    """The folder with the guide's code in it."""
    for name, code in FILE.findall(GUIDE):
        assert (made / name).exists(), f"the guide fills {name}, which `hub adapter new` does not make"
        (made / name).write_text(code, encoding="utf-8")
    return made


def test_the_adapter_of_the_guide_passes_the_whole_kit(written: Path, cards: str) -> None:
    # The hub's own plug-ins stay out: they take seconds to load.
    environ = {**os.environ, "CARDS_URL": cards, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(typed(KIT, written), cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100,
                          check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "earned: effectively once" in done.stdout


def test_installed_as_a_package_it_brings_a_customer_there(all_rooms: Hub, written: Path, cards: str) -> None:
    site = Path(all_rooms.settings["PYTHONPATH"].partition(":")[2])
    apart = ("--quiet", "--no-build-isolation", "--no-index", "--target", str(site))
    subprocess.run([*typed(INSTALL, written), *apart], cwd=ROOT, check=True)
    admin, ids = administrator(all_rooms), dict[str, str]()
    assert "cards" in {adapter["name"] for adapter in admin.ask("GET", "/adapters").json()["items"]}
    for method, path, body in REQUESTS.findall(GUIDE.replace(TOLD_AT, cards).replace('"Cards"', f'"Cards {uuid4()}"')):
        for name, id in ids.items():
            path, body = path.replace(f"{{{name}}}", id), body.replace(f"{{{name}}}", id)
        answer = admin.ask(method, path, json.loads(body or "null"), Idempotency_Key=str(uuid4()))
        assert answer.ok, f"{method} {path}: {answer.text}"
        if answer.status_code == 201:
            ids[path.strip("/").removesuffix("s")] = answer.json()["id"]

    def card() -> list[dict[str, Any]]:
        found = requests.get(f"{cards}/cards", params={"reference": ids["customer"]}, timeout=20,
                             headers={"Authorization": "Bearer open-sesame"})
        listed: list[dict[str, Any]] = found.json()
        return listed

    eventually(lambda: card() != [])
    [one] = card()
    assert (one["name"], one["city"]) == ("宁波示例贸易", "宁波")
    assert admin.ask("POST", f"/routes/{ids['route']}/deactivate").ok  # the index goes with this file
