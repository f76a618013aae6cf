"""The first administrator, made once for a new hub; the password is shown once and kept nowhere."""

from __future__ import annotations

import subprocess
import sys

from hub.installation import ROOT, Installation
from hub.trouble import Trouble

ROOM = "identity"


def make(hub: Installation, username: str = "admin") -> str | None:
    """Return the password of a new administrator, None when there is one already or identity is not on this machine.

    Raises:
        Trouble: the identity database or the keys cannot be used.
    """
    done = hub.home / "run" / "first-admin"
    if ROOM not in hub.rooms or done.exists():
        return None
    command = [sys.executable, "-m", "services.identity.first_admin", "--username", username]
    made = subprocess.run(
        command, cwd=ROOT, env=hub.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    if made.returncode:
        words = (made.stderr.strip().splitlines() or ["no answer"])[-1]
        raise Trouble(f"the first administrator could not be made ({words})", "run hub doctor, then hub up")
    lines = dict(line.partition(": ")[::2] for line in made.stdout.splitlines())
    done.write_text("An administrator exists. This file only spares hub up the question.\n", encoding="utf-8")
    return lines.get("password")
