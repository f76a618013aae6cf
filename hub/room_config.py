"""The settings of one room, as its own process reads them: `python -m hub.room_config ROOM [yaml|env|reference]`.

Without a form it prints the check as JSON, else a template of the room's configuration file or environment, or the page
of the keys that every room has. A program of its own, because a room's settings class stands in the room's code, which
the CLI does not import, and the launcher replaces the blocking calls of the process that imports it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

from hub.installation import ROOT, Installation
from hub.trouble import Trouble

HIDDEN = "(hidden)"
WIDTH = 118
REFERENCE_HEAD = """# Settings that every room has

Written by `make examples` from the code. Each key is given in the environment, or in the YAML file that
`HUB_CONFIG_<ROOM>` names; the environment wins. `<ROOM>` is the room's name in capitals. Keys of one room alone stand
on that room's page; `hub config check` reads them all as the processes would.

| variable | key in YAML | default | meaning |
|---|---|---|---|
"""


def check(hub: Installation, room: str) -> dict[str, Any]:
    """Return `{"room", "problem", "settings"}`; `problem` is None when the room would start with these settings."""
    command = [sys.executable, "-m", "hub.room_config", room]
    answer = subprocess.run(
        command, cwd=ROOT, env=hub.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    try:
        result: dict[str, Any] = json.loads(answer.stdout)
    except ValueError:
        words = (answer.stderr.strip().splitlines() or ["no answer"])[-1]
        return {"room": room, "problem": f"the code of {room} does not load ({words})", "settings": {}}
    return result


def _read(room: str) -> dict[str, Any]:
    from chassis.config import ConfigError, describe
    from chassis.launcher import room_module

    try:
        cls = room_module(room).SETTINGS
        settings = cls.load(room, os.environ)
    except ConfigError as error:
        return {"room": room, "problem": str(error), "settings": {}}
    shown = {
        key["env"]: HIDDEN if key["secret"] else str(getattr(settings, key["key"]))
        for key in describe(cls, room)
        if key["key"] != "room"
    }
    return {"room": room, "problem": None, "settings": shown}


def template(hub: Installation, room: str, form: str) -> str:
    """Return every key of a room with its meaning, limits and default, ready to be filled in.

    Args:
        hub: whose environment the room's code is loaded with.
        room: one of this machine.
        form: `yaml` for `HUB_CONFIG_<ROOM>`, `env` for an environment file.

    Raises:
        Trouble: the room's code does not load.
    """
    command = [sys.executable, "-m", "hub.room_config", room, form]
    answer = subprocess.run(
        command, cwd=ROOT, env=hub.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    if answer.returncode:
        words = (answer.stderr.strip().splitlines() or ["no answer"])[-1]
        raise Trouble(f"the code of {room} does not load ({words})", "run hub doctor")
    return answer.stdout


def _template(room: str, form: str) -> str:
    from chassis.config import describe
    from chassis.launcher import room_module

    head = {
        "yaml": f"Settings of {room}: name a copy of this file in HUB_CONFIG_{room.upper()}. The environment wins.",
        "env": f"Environment of {room}: a copy of this file is what systemd, compose and shells read.",
    }
    parts = [_comment(head[form] + " What is commented out has the value shown.")]
    for key in describe(room_module(room).SETTINGS, room):
        if key["key"] == "room":
            continue
        line = f"{key['env']}={_plain(key['default'])}" if form == "env" else f"{key['key']}: {_yaml(key['default'])}"
        parts.append(f"{_comment(_meaning(key))}\n{'' if key['default'] is None else '#'}{line.rstrip()}")
    return "\n\n".join(parts) + "\n"


def _meaning(key: dict[str, Any]) -> str:
    limits = []
    if key["choices"]:
        limits.append(" or ".join(key["choices"]))
    if key["least"] is not None or key["most"] is not None:
        limits.append(f"{key['least']} to {key['most']}")
    if key["unit"]:
        limits.append(key["unit"])
    if key["secret"]:
        limits.append("secret")
    doc: str = key["doc"]
    return f"{doc} [{', '.join(limits)}]" if limits else doc


def _comment(text: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False))


def _plain(default: Any) -> str:
    return ",".join(map(str, default)) if isinstance(default, tuple) else "" if default is None else str(default)


def _yaml(default: Any) -> str:
    value = list(default) if isinstance(default, tuple) else str(default) if isinstance(default, Path) else default
    return json.dumps(value, ensure_ascii=False) if value is not None else ""


def _reference() -> str:
    """Return the page of the keys that every room has."""
    from chassis.config import Settings, describe

    rows = [
        f"| `{key['env'].replace('ROOM', '<ROOM>', 1) if '_ROOM' in key['env'] else key['env']}` | `{key['key']}` "
        f"| {_cell(key['default'])} | {_meaning(key)} |"
        for key in describe(Settings, "room")
        if key["key"] != "room"
    ]
    return REFERENCE_HEAD + "\n".join(rows) + "\n"


def _cell(default: Any) -> str:
    return f"`{_plain(default)}`" if _plain(default) else "–"


def _main(room: str, form: str = "json") -> None:
    # Known, and recorded in docs/decisions; what is printed here is read by a program.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    if form == "reference":
        sys.stdout.write(_reference())
    else:
        sys.stdout.write(json.dumps(_read(room)) if form == "json" else _template(room, form))


if __name__ == "__main__":
    _main(*sys.argv[1:3])
