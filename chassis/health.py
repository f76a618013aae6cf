"""Liveness and readiness of a process, on a port of their own.

`/livez` says that the process answers; it does not ask the broker, since a restart would not bring that back.
`/readyz` asks every check and says what is missing; its notes are for a person, and keep nobody from serving.
`/metrics` is for Prometheus: what the process has counted, and the gauges of `registry`, read when they are asked for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import eventlet
import eventlet.wsgi
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

Check = Callable[[], str | None]
"""Returns None when all is well, else one sentence that says what is missing."""


class Health:
    """The checks of one process."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._problems: dict[str, str] = {}
        self._notes: dict[str, Check] = {}
        self._server: Any = None
        self.address: tuple[str, int] = ("", 0)
        self.registry = CollectorRegistry()

    def add(self, name: str, check: Check) -> None:
        """Ask `check` whenever somebody asks for readiness."""
        self._checks[name] = check

    def report(self, name: str, problem: str | None) -> None:
        """Set or clear a problem that a part has found by itself."""
        if problem is None:
            self._problems.pop(name, None)
        else:
            self._problems[name] = problem

    def note(self, name: str, check: Check) -> None:
        """Tell what `check` finds beside the readiness: a person should look, and the process serves all the same."""
        self._notes[name] = check

    def notes(self) -> dict[str, str]:
        """Return what a person should look at, by name of the part."""
        return _found(self._notes)

    def missing(self) -> dict[str, str]:
        """Return what keeps this process from serving, by name of the part."""
        return self._problems | _found(self._checks)

    def serve(self, address: str) -> None:
        """Answer on `host:port` in the background."""
        host, _, port = address.rpartition(":")
        listener = eventlet.listen((host, int(port)))
        self.address = listener.getsockname()[:2]
        self._server = eventlet.spawn(eventlet.wsgi.server, listener, self._answer, log=logging.getLogger(__name__),
                                      log_output=False)

    def metrics(self) -> bytes:
        """Return everything that is counted, in Prometheus' text format."""
        return generate_latest(REGISTRY) + generate_latest(self.registry)

    def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.kill()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        path = environ["PATH_INFO"]
        body: dict[str, Any]
        if path == "/metrics":
            start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
            return [self.metrics()]
        if path == "/livez":
            status, body = "200 OK", {"status": "alive"}
        elif path == "/readyz":
            missing = self.missing()
            status = "503 Service Unavailable" if missing else "200 OK"
            body = {"status": "ready"} if not missing else {"status": "not ready", "missing": missing}
            if notes := self.notes():
                body["notes"] = notes
        else:
            status, body = "404 Not Found", {"status": "no such page; ask /livez, /readyz or /metrics"}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]


def _found(checks: dict[str, Check]) -> dict[str, str]:
    found = {}
    for name, check in checks.items():
        try:
            problem = check()
        except Exception as error:
            problem = f"the check itself failed: {type(error).__name__}"
        if problem is not None:
            found[name] = problem
    return found
