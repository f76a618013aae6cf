"""A gateway that answers what it was told to, for the verbs that ask one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from hub.cli import app
from tests.support.scripted_http import ScriptedServer, Seen, answer

ERP = "019aa001-0000-7000-8000-000000000001"
CHECK = {"ok": True, "message": "ready", "problems": [], "checked_at": "2026-11-22T08:00:00.000000Z"}
CONNECTION = {
    "id": ERP, "name": "erp", "adapter": "tryton", "desired_state": "active", "health": "ok",
    "guarantee": "effectively_once", "pause_reason": None, "paused_by": None, "pause_advice": None,
    "throttled_until": None, "breaker_opened_at": None, "breaker_open_until": None, "last_success_at": None,
    "check": CHECK,
}  # fmt: skip


class Gateway:
    """Answers what it was told to, by method and path, and keeps what was asked."""

    def __init__(self, server: ScriptedServer, home: Path) -> None:
        self.server, self.answers, self.refusals = server, dict[str, Any](), dict[str, int]()
        server.script = self._script
        self._environ = {"HUB_HOME": str(home), "GATEWAY_LISTEN": server.url.removeprefix("http://"),
                         "HUB_API_KEY": "a-key"}  # fmt: skip
        self.on("GET /connections", {"items": [CONNECTION], "next": None})

    def on(self, asked: str, said: Mapping[str, Any]) -> None:
        self.answers[asked] = said

    def refuse(self, asked: str, status: int, problem: Mapping[str, Any]) -> None:
        self.answers[asked], self.refusals[asked] = problem, status

    def _script(self, seen: Seen) -> Any:
        path = seen.path.removeprefix("/api/v1").partition("?")[0]
        asked = f"{seen.method} {path}"
        return answer(self.refusals.get(asked, 200), json.dumps(self.answers[asked]).encode())

    def hub(self, *verb: str, given: str | None = None) -> Result:
        return CliRunner().invoke(app, verb, env=self._environ, input=given)
