"""A real Ghost for tests: the sandbox's, with its program kept between runs.

The first run on a machine installs it, two to five minutes; later ones make their tables in ten seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from joserfc import jwt
from joserfc.jwk import OctKey

from tests.support.processes import ROOT, free_port

ROOM = ROOT / "deploy" / "sandbox" / "ghost"


@dataclass(frozen=True)
class Newsletter:
    """A running Ghost."""

    port: int
    seed: dict[str, Any]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def secrets(self) -> dict[str, str]:
        return {name: self.seed[name] for name in ("admin_key", "webhook_secret")}

    def config(self, **changed: Any) -> dict[str, Any]:
        """The settings of a hub connection to it."""
        kept = {"base_url": self.url, "newsletter": self.seed["newsletter"], "allow_private": ["127.0.0.0/8"]}
        return kept | changed

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What an editor does or looks up, past the adapter."""
        key_id, _, secret = self.seed["admin_key"].partition(":")
        now = int(time.time())
        claims = {"iat": now, "exp": now + 60, "aud": "/admin/"}
        token = jwt.encode({"alg": "HS256", "kid": key_id}, claims, OctKey.import_key(bytes.fromhex(secret)))
        headers = {"Authorization": f"Ghost {token}", "Accept-Version": "v6.0"}
        reply = requests.request(method, f"{self.url}/ghost/api/admin/{path}", json=body, headers=headers, timeout=30)
        assert reply.ok, f"{method} {path}: {reply.status_code} {reply.text[:300]}"
        return reply.json() if reply.content else None

    def member(self, external_id: str) -> dict[str, Any]:
        """A member as an editor sees it."""
        found: dict[str, Any] = self.ask("GET", f"members/{external_id}/")["members"][0]
        return found

    def unsubscribe(self, external_id: str) -> None:
        """A reader follows the link at the foot of a newsletter, with one click (RFC 8058)."""
        link = self.member(external_id)["unsubscribe_url"]
        assert requests.post(link, data={"List-Unsubscribe": "One-Click"}, timeout=30).ok

    def message(self, external_id: str, age_s: float = 0) -> tuple[dict[str, str], bytes]:
        """The message that it would send of a member as it stands now, signed so many seconds ago: headers, body."""
        body = json.dumps({"member": {"current": self.member(external_id), "previous": {}}}).encode()
        sent_at = str(int((time.time() - age_s) * 1000))
        signed = hmac.new(self.seed["webhook_secret"].encode(), body + sent_at.encode(), hashlib.sha256).hexdigest()
        return {"X-Ghost-Signature": f"sha256={signed}, t={sent_at}"}, body

    def call_back(self, url: str) -> None:
        """Have every change of a member told to `url`."""
        for event in ("member.added", "member.edited", "member.deleted"):
            hook = {"event": event, "target_url": url, "name": event, "secret": self.seed["webhook_secret"]}
            self.ask("POST", "webhooks/", {"webhooks": [hook | {"integration_id": self.seed["integration"]}]})


@contextlib.contextmanager
def running_newsletter(folder: Path) -> Iterator[Newsletter]:
    """A fresh Ghost on a free port, with its state in `folder`; stopped at the end."""
    state, port = folder / "ghost", free_port()
    _sandbox("start", state, f"--port={port}")
    try:
        yield Newsletter(port, json.loads((state / "seed.json").read_text()))
    finally:
        _sandbox("stop", state)


def kept_program() -> Path:
    """Where the program is kept between runs; another one when its versions change."""
    if named := os.environ.get("HUB_GHOST_APP"):
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crm-hub"
    content = b"\0".join((ROOM / name).read_bytes() for name in ("requirements.txt", "program.py"))
    return cache / f"ghost-{hashlib.sha256(content).hexdigest()[:16]}"


def _sandbox(verb: str, state: Path, *options: str) -> None:
    command = [sys.executable, str(ROOM / "sandbox.py"), verb, f"--state={state}", f"--app={kept_program()}", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"sandbox.py {verb}: {done.stdout}{done.stderr}"
