"""Docs match code: a setting, an event, a verb or a room without its line is found here."""

from __future__ import annotations

import configparser
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from itertools import dropwhile, groupby
from pathlib import Path
from typing import Any

import pytest
from typer.exceptions import TyperException
from typer.main import get_command

from hub.cli import app
from tests.house.test_pages import pages

ROOT = Path(__file__).resolve().parents[2]


def rooms() -> list[str]:
    """Every room that has a door, in the checkout."""
    services = sorted(door.parent.name for door in (ROOT / "services").glob("*/service.py"))
    return services + (["gateway"] if (ROOT / "gateway" / "service.py").exists() else [])


def folder(room: str) -> Path:
    return ROOT / "gateway" if room == "gateway" else ROOT / "services" / room


PROGRAM = """
import contextlib, io, json, sys
from chassis.config import Settings, describe
from chassis.launcher import room_module
from hub import room_config

def written(room, form):
    with contextlib.redirect_stdout(io.StringIO()) as page:
        room_config._main(room, form)
    return page.getvalue()

def asked(room):
    shared = {key["key"] for key in describe(Settings, room)}
    keys = describe(room_module(room).SETTINGS, room)
    return {"own": [key["env"] for key in keys if key["key"] not in shared],
            **{form: written(room, form) for form in ("yaml", "env", "reference")}}

json.dump({room: asked(room) for room in sys.argv[1:]}, sys.stdout)
"""


@cache
def asked() -> subprocess.CompletedProcess[str]:
    """One process tells of every room: it costs a second, and a room's door patches whoever imports it."""
    return subprocess.run([sys.executable, "-c", PROGRAM, *rooms()], cwd=ROOT, capture_output=True, text=True,
                          check=False)


def configuration() -> dict[str, dict[str, Any]]:
    """What `make examples` writes for every room, and the settings of its own."""
    answer = asked()
    assert answer.returncode == 0, answer.stderr
    told: dict[str, dict[str, Any]] = json.loads(answer.stdout)
    return told


@pytest.mark.parametrize("room", rooms())
def test_every_room_has_its_operators_page(room: str) -> None:
    assert (folder(room) / "README.md").exists()


@pytest.mark.parametrize("room", rooms())
def test_every_setting_of_a_room_is_explained_on_its_page(room: str) -> None:
    page = (folder(room) / "README.md").read_text(encoding="utf-8")
    assert [env for env in configuration()[room]["own"] if f"`{env}`" not in page] == []


def test_the_reference_of_the_settings_that_all_rooms_share_is_what_the_code_says() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert page == configuration()["customers"]["reference"], "run `make examples`"


@pytest.mark.parametrize("form", ["yaml", "env"])
@pytest.mark.parametrize("room", rooms())
def test_the_example_configuration_of_a_room_is_what_its_code_says(room: str, form: str) -> None:
    file = ROOT / "deploy" / room / ("config.yaml" if form == "yaml" else "env.example")
    assert file.read_text(encoding="utf-8") == configuration()[room][form], "run `make examples`"


@pytest.mark.parametrize("room", [room for room in rooms() if room != "gateway"])
def test_every_event_that_a_room_announces_is_on_its_page(room: str) -> None:
    page = (folder(room) / "README.md").read_text(encoding="utf-8")
    events = importlib.import_module(f"contracts.{room}").EVENTS
    assert [event.type for event in events if event.routing_key not in page and event.type not in page] == []


# -- the process file, migrations and the Makefile --------------------------------------------------------------------


def test_every_room_stands_in_the_process_file_and_every_program_there_exists() -> None:
    parser = configparser.RawConfigParser(comment_prefixes=(";",))
    parser.read(ROOT / "deploy" / "local" / "supervisord.conf")
    commands = [parser[section]["command"] for section in parser.sections() if section.startswith("program:")]
    assert {command.split()[-1] for command in commands if "chassis.launcher" in command} == set(rooms())
    for command in commands:
        for path in re.findall(r"\{root\}/(\S+)", command):
            assert (ROOT / path).exists(), path


def test_every_database_has_its_section_in_alembic_ini() -> None:
    parser = configparser.RawConfigParser()
    parser.read(ROOT / "alembic.ini")
    assert set(parser.sections()) == {env.parent.parent.name for env in (ROOT / "services").glob("*/migrations/env.py")}


def verbs() -> dict[str, str]:
    """The verbs of the Makefile that `make help` shows, with their words."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z-]+):.*?## (.+)$", text, re.MULTILINE))


def test_make_alone_lists_every_verb() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [verb for verb, words in verbs().items() if f"make {verb} " not in shown or words not in shown] == []


def test_every_verb_of_the_makefile_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [verb for verb in verbs() if f"make {verb}" not in readme] == []


def test_every_verb_is_declared_phony() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    declared = set(" ".join(re.findall(r"^\.PHONY:(.*)$", text, re.MULTILINE)).split())
    assert set(re.findall(r"^([a-z-]+):", text, re.MULTILINE)) - declared == set()


def test_every_verb_of_the_command_line_is_in_its_page() -> None:
    page = (ROOT / "hub" / "README.md").read_text(encoding="utf-8")
    lines = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `hub ")]
    missing = [
        f"{name} {verb}".rstrip()
        for name, command in getattr(get_command(app), "commands", {}).items()
        for verb in getattr(command, "commands", {"": None})
        if not any(f"`hub {name}" in line and re.search(rf"\b{verb}\b", line) for line in lines)
    ]
    assert missing == []


def test_the_command_line_explains_every_variable_of_its_own() -> None:
    page = (ROOT / "hub" / "README.md").read_text(encoding="utf-8")
    sources = [*(ROOT / "hub").glob("*.py"), *(ROOT / "deploy" / "local").glob("broker.py")]
    used = {name for file in sources for name in re.findall(r'"(HUB_[A-Z_]+[A-Z])"', file.read_text(encoding="utf-8"))}
    assert sorted(name for name in used if f"`{name}`" not in page) == []


def lines_of_shell(text: str) -> list[str]:
    """The lines of a page's blocks of shell, each with what it goes on with."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return "".join(blocks).replace("\\\n", " ").splitlines()


def calls(line: str) -> list[list[str]]:
    """What follows `hub` wherever a line of shell calls it; whatever is passed to it is one word."""
    if not re.search(r"\bhub\b", line):
        return []
    words = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    words.whitespace_split = True
    parts = [list(part) for apart, part in groupby(words, lambda word: set(word) <= set("|&;")) if not apart]
    called = [list(dropwhile(lambda word: re.match(r"[A-Z_]+=", word), part)) for part in parts]
    return [part[1:] for part in called if part and part[0] in ("hub", ".venv/bin/hub")]


def mentioned(text: str) -> list[list[str]]:
    """What the sentences and tables of a page quote that begins with `hub`; brackets hold what may be left out."""
    return [shlex.split(re.sub(r"[\[\]]", " ", words)) for words in re.findall(r"`hub ([^`]+)`", text)]


@cache
def command_line() -> Any:
    """The whole tree of verbs."""
    return get_command(app)


def fault(words: Sequence[str], *, in_a_sentence: bool = False) -> str | None:
    """What keeps the command line from taking these words, whatever the values are; None if it takes them.

    A sentence may name a group or a verb, or an option of one, without any argument.
    """
    command, left = command_line(), list(words)
    context = command.context_class(command, info_name="hub")
    while hasattr(command, "commands"):
        name = left.pop(0) if left else ""
        if name not in command.commands:
            return f"no verb {name!r} in {context.command_path}" if name or not in_a_sentence else None
        command = command.commands[name]
        context = command.context_class(command, info_name=name, parent=context)
    try:
        given, beyond, _order = command.make_parser(context).parse_args(left)
    except TyperException as refused:
        return refused.format_message()
    lacking = [one.name for one in command.params if one.required and given.get(one.name) in (None, ())]
    if in_a_sentence and not any(given.get(one.name) for one in command.params if one.param_type_name == "argument"):
        lacking = []
    return f"lacks {lacking}, has {beyond} too much" if lacking or beyond else None


def test_the_command_line_takes_every_command_that_a_page_has() -> None:
    refused: dict[str, str] = {}
    for page in pages():
        text = page.read_text(encoding="utf-8")
        told = [(words, fault(words)) for line in lines_of_shell(text) for words in calls(line)]
        told += [(words, fault(words, in_a_sentence=True)) for words in mentioned(text)]
        refused |= {f"{page.relative_to(ROOT)}: {' '.join(words)}": why for words, why in told if why}
    assert refused == {}


@pytest.mark.parametrize(("line", "wrong"), [
    ("hub runs begin match ERP customer", "no verb 'begin' in hub runs"), ("hub", "no verb '' in hub"),
    ("hub runs start match ERP", "lacks ['entity']"), ("hub why ORDER NOW", "has ['NOW'] too much"),
    ("hub runs watch RUN --quiet", "No such option: --quiet"), ("hub runs approve RUN", "lacks ['count']"),
])
def test_a_command_that_the_command_line_does_not_take_is_found(line: str, wrong: str) -> None:
    [words] = calls(line)
    assert wrong in (fault(words) or "")


def test_commands_are_found_behind_pipes_and_variables_and_may_hold_placeholders() -> None:
    line = """echo '{"a": "hub up"}' | HUB_HOME=/srv/hub .venv/bin/hub codes put ERP cities - && make up  # hub down"""
    assert calls(line) == [["codes", "put", "ERP", "cities", "-"]]
    assert fault(["runs", "approve", "<run>", "--count", "N"]) is None


@pytest.mark.parametrize(("quoted", "taken"), [
    ("hub runs", True), ("hub retry", True), ("hub why --calls", True), ("hub retry DELIVERY [--as-sent]", True),
    ("hub fly", False), ("hub retry --gently", False), ("hub runs start match ERP", False),
])
def test_a_sentence_may_name_a_verb_alone_but_no_part_of_its_arguments(quoted: str, taken: bool) -> None:
    [words] = mentioned(f"Say `{quoted}` for that.")
    assert (fault(words, in_a_sentence=True) is None) is taken
