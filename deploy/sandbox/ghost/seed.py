"""Give an empty Ghost an owner and an integration for the hub, over its own API. Looks before it makes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from typing import Any

from layout import Sandbox
from serving import Stop, write_private

OWNER = "owner@example.com"
NAME = "hub"


class Api:
    """The Admin API as the owner's browser uses it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON, if it is any.

        Raises:
            Stop: Ghost refuses.
        """
        request = urllib.request.Request(  # noqa: S310 - the address is our own, on loopback
            f"{self._url}/ghost/api/admin/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json", "Origin": self._url, "Accept-Version": "v6.0"},
        )
        try:
            with self._opener.open(request, timeout=60) as reply:
                told = reply.read()
        except urllib.error.HTTPError as error:
            raise Stop(f"{method} {path}: {error.code} {error.read()[:300].decode(errors='replace')}") from None
        return json.loads(told) if told.startswith(b"{") else None


def seed(sandbox: Sandbox) -> None:
    """Owner, integration and its key into seed.json; a second run changes nothing."""
    if sandbox.seed_file.exists():
        return
    api, password = Api(sandbox.url), sandbox.secret("owner")
    if not api.ask("GET", "authentication/setup/")["setup"][0]["status"]:
        owner = {"name": "Owner", "email": OWNER, "password": password, "blogTitle": "Newsletter sandbox"}
        api.ask("POST", "authentication/setup/", {"setup": [owner]})
    api.ask("POST", "session/", {"username": OWNER, "password": password})
    known = api.ask("GET", "integrations/?include=api_keys&limit=all")["integrations"]
    ours = next((one for one in known if one["name"] == NAME), None)
    if ours is None:
        asked = {"integrations": [{"name": NAME}]}
        ours = api.ask("POST", "integrations/?include=api_keys", asked)["integrations"][0]
    key = next(one for one in ours["api_keys"] if one["type"] == "admin")
    secret = key["secret"] if ":" in key["secret"] else f"{key['id']}:{key['secret']}"
    newsletter = api.ask("GET", "newsletters/?limit=1")["newsletters"][0]
    told = {
        "owner": OWNER,
        "integration": ours["id"],
        "newsletter": newsletter["id"],
        "admin_key": secret,
        "webhook_secret": sandbox.secret("webhook"),
    }
    write_private(sandbox.seed_file, json.dumps(told, indent=1))
