"""The queues that the rooms consume: `python -m hub.listeners ROOM...` prints them as JSON.

A program of its own for the same reason as `hub.room_config`: what a room hears stands in its code.
"""

from __future__ import annotations

import json
import subprocess
import sys

from hub.installation import ROOT, Installation
from hub.trouble import Trouble


def queues(hub: Installation) -> list[str]:
    """Return the names of the queues that the rooms of this hub consume.

    Raises:
        Trouble: the code of a room does not load.
    """
    command = [sys.executable, "-m", "hub.listeners", *hub.rooms]
    answer = subprocess.run(
        command, cwd=ROOT, env=hub.environment(), capture_output=True, text=True, timeout=120, check=False
    )
    if answer.returncode:
        words = (answer.stderr.strip().splitlines() or ["no answer"])[-1]
        raise Trouble(f"the code of the rooms does not load ({words})", "run hub config check")
    names: list[str] = json.loads(answer.stdout)
    return names


def _main(*rooms: str) -> None:
    from chassis.entrypoints import queues_of
    from chassis.launcher import room_module

    sys.stdout.write(json.dumps(sorted(name for room in rooms for name in queues_of(room_module(room).SERVICE))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
