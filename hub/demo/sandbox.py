"""The sandboxes of the demo: installed once, each beside the hub that it belongs to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from hub.installation import ROOT, Installation
from hub.trouble import Trouble

SANDBOXES = ("tryton", "radicale")


def prepare(hub: Installation) -> None:
    """Install the sandboxes and their data, once; their own progress goes to the terminal.

    Raises:
        Trouble: one of them cannot be installed.
    """
    for name in SANDBOXES:
        program = ROOT / "deploy" / "sandbox" / name / "sandbox.py"
        done = subprocess.run([sys.executable, str(program), "prepare"], check=False, stdout=sys.stderr,
                              env={**os.environ, "HUB_HOME": str(hub.home)})
        if done.returncode:
            text = f"the sandbox {name} could not be prepared"
            raise Trouble(text, "the line above says why; then run hub demo again")


def url_of(hub: Installation, name: str) -> str:
    """Where a sandbox serves."""
    return f"http://127.0.0.1:{next(iter(hub.ports(hub.programs[name])))}"


def kept(hub: Installation, name: str, file: str) -> dict[str, Any]:
    """Read what a sandbox keeps for those who work with it.

    Raises:
        Trouble: it has not been prepared.
    """
    path = hub.home / "sandbox" / name / file
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Trouble(f"the sandbox {name} has no readable {file}", "run hub demo again: it prepares it") from error
    return found
