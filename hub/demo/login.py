"""The demo's way in: the first administrator's first sign-in, and an API key for the runs after it."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from chassis.private import write_over
from hub import first_admin
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


def open_door(hub: Installation, first_password: str | None = None) -> Login:
    """Return a working API key: the kept one, the given one (`HUB_API_KEY`), or a new one at the very first run.

    Args:
        hub: a running hub.
        first_password: of the first administrator, if the caller has just made it.

    Raises:
        Trouble: an administrator exists, and no key was given.
    """
    file = hub.home / "demo" / "api-key"
    for key in (hub.environ.get("HUB_API_KEY", ""), file.read_text().strip() if file.exists() else ""):
        if key and _works(hub, key):
            return Login(key, None)
    passwords = _passwords(hub, first_password)
    token = _sign_in(hub, passwords["first"], passwords["own"])
    key = Door(hub.url, token).post("/api/v1/api-keys", {"name": "hub demo"})["key"]
    write_over(file, key.encode())
    _under_way(hub).unlink()
    return Login(key, passwords["own"])


def _passwords(hub: Installation, first_password: str | None) -> dict[str, str]:
    """Return the first password and the one that will replace it; both are kept until there is a key.

    A run that is cut off in between could not come in again otherwise.
    """
    file = _under_way(hub)
    if not file.exists():
        first = first_password or first_admin.make(hub, USERNAME)
        if first is None:
            raise Trouble("an administrator exists already, and the demo has no key of theirs",
                          "make one with POST /api/v1/api-keys and run: HUB_API_KEY=... make demo")
        # The product asks for a change of the first password; the new one is what the demo shows at its end.
        write_over(file, json.dumps({"first": first, "own": secrets.token_urlsafe(18)}).encode())
    passwords: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return passwords


def _sign_in(hub: Installation, first: str, own: str) -> str:
    def token(password: str) -> str:
        opened = Door(hub.url).post("/api/v1/sessions", {"username": USERNAME, "password": password})
        return str(opened["token"])

    try:
        return token(own)
    except Refused as refused:
        if refused.status != 401:
            raise
    Door(hub.url, token(first)).post("/api/v1/me/password", {"current_password": first, "new_password": own})
    return token(own)


def _works(hub: Installation, key: str) -> bool:
    try:
        Door(hub.url, key).get("/api/v1/me")
    except Refused as refused:
        if refused.status == 401:
            return False
        raise
    return True


def _under_way(hub: Installation) -> Path:
    return hub.home / "demo" / "first-login.json"
