"""People who work with a running hub: made by its administrator, signed in over HTTP as themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import requests

from tests.service.gateway.running import Hub

PASSWORD = "correct horse battery staple"


@dataclass
class Client:
    """Somebody's way in, or nobody's."""

    url: str
    headers: dict[str, str]
    id: str = ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        """Send one request below /api/v1; headers are named with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.request(method, f"{self.url}/api/v1{path}", json=body, headers=self.headers | named,
                                timeout=20)


def nobody(hub: Hub) -> Client:
    """A client without a credential."""
    return Client(hub.url, {})


def administrator(hub: Hub) -> Client:
    """The one that `hub` signed in."""
    return Client(hub.url, {"Authorization": str(hub.http.headers["Authorization"])}, hub.get("/me").json()["id"])


def hire(hub: Hub, username: str, role: str, team_ids: Sequence[str] = ()) -> Client:
    """Add a user with a built-in role, or none, and sign them in with a password of their own."""
    roles = hub.get(f"/roles?name={role}").json()["items"] if role else []
    made = hub.post("/users", {"username": username, "name": username.title(), "team_ids": list(team_ids),
                               "role_ids": [found["id"] for found in roles]})
    assert made.status_code == 201, made.text
    client = Client(hub.url, {}, made.json()["id"])
    first = hub.post(f"/users/{client.id}/reset-password").json()["password"]
    sign_in(client, username, first)
    changed = client.ask("POST", "/me/password", {"current_password": first, "new_password": PASSWORD})
    assert changed.status_code == 204, changed.text
    sign_in(client, username, PASSWORD)
    return client


def sign_in(client: Client, username: str, password: str) -> None:
    """Open a session for the client."""
    client.headers = {}
    answer = client.ask("POST", "/sessions", {"username": username, "password": password})
    assert answer.status_code == 201, answer.text
    client.headers = {"Authorization": f"Bearer {answer.json()['token']}"}
