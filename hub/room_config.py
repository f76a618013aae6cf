"""The settings of one room, checked as its own process would: `python -m hub.room_config ROOM` prints JSON.

A program of its own, because a room's settings class stands in the room's code, which the CLI does not import, and the
launcher replaces the blocking calls of the process that imports it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from hub.installation import ROOT, Installation

HIDDEN = "(hidden)"


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


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_read(sys.argv[1])))
