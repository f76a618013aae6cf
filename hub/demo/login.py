"""The demo's way in: the first administrator's first sign-in, and an API key for the runs after it."""

from __future__ import annotations

import secrets
import subprocess
import sys
from dataclasses import dataclass

from hub.demo.door import Door, Refused
from hub.installation import Installation
from hub.trouble import Trouble

USERNAME = "admin"


@dataclass(frozen=True)
class Login:
    """How the demo comes in.

    Attributes:
        api_key: its own, kept in `$HUB_HOME/demo/api-key` (0600).
        password: the administrator's, when this run has set it; it is shown once.
    """

    api_key: str
    password: str | None


def open_door(hub: Installation) -> Login:
    """Return a working API key: the kept one, the given one (`HUB_API_KEY`), or a new one at the very first run.

    Raises:
        Trouble: an administrator exists, and no key was given.
    """
    file = hub.home / "demo" / "api-key"
    for key in (hub.environ.get("HUB_API_KEY", ""), file.read_text().strip() if file.exists() else ""):
        if key and _works(hub, key):
            return Login(key, None)
    first = _first_password(hub)
    if first is None:
        raise Trouble("an administrator exists already, and the demo has no key of theirs",
                      "make one with POST /api/v1/api-keys and run: HUB_API_KEY=... make demo")
    # The product asks for a change of the first password; the new one is what the demo shows at its end.
    password = secrets.token_urlsafe(18)
    signed_in = Door(hub.url).post("/api/v1/sessions", {"username": USERNAME, "password": first})
    Door(hub.url, signed_in["token"]).post("/api/v1/me/password",
                                           {"current_password": first, "new_password": password})
    token = Door(hub.url).post("/api/v1/sessions", {"username": USERNAME, "password": password})["token"]
    key = Door(hub.url, token).post("/api/v1/api-keys", {"name": "hub demo"})["key"]
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(key, encoding="utf-8")
    return Login(key, password)


def _works(hub: Installation, key: str) -> bool:
    try:
        Door(hub.url, key).get("/api/v1/me")
    except Refused as refused:
        if refused.status == 401:
            return False
        raise
    return True


def _first_password(hub: Installation) -> str | None:
    done = subprocess.run([sys.executable, "-m", "services.identity.first_admin", "--username", USERNAME],
                          check=False, capture_output=True, text=True, env=hub.environment())
    if done.returncode:
        raise Trouble("the first administrator could not be made", done.stderr.strip() or "see the identity log")
    for line in done.stdout.splitlines():
        if line.startswith("password: "):
            return line.removeprefix("password: ")
    return None
