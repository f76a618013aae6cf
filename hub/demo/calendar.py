"""The calendar server of the demo as a colleague's calendar program sees it: over CalDAV, never through the hub."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

import requests

from hub.demo import sandbox
from hub.demo.connection import Wanted
from hub.installation import Installation
from hub.trouble import Trouble

PATIENCE_S = 30.0
COLLEAGUE = "zhangsan"
"""Whose calendar the demo looks into; also the account's name."""


class Calendar:
    """One colleague's calendar (RFC 4791), signed in as that colleague."""

    def __init__(self, url: str, seed: Mapping[str, Any]) -> None:
        self.url = url
        self._seed = seed
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.auth = (COLLEAGUE, seed["colleagues"][COLLEAGUE])

    @classmethod
    def of(cls, hub: Installation) -> Self:
        """Open the sandbox calendar server of this hub.

        Raises:
            Trouble: it has not been prepared.
        """
        return cls(sandbox.url_of(hub, "radicale"), sandbox.kept(hub, "radicale", "seed.json"))

    @property
    def place(self) -> str:
        """The colleague's calendar, as a calendar program is given it."""
        return f"{self.url}{self._seed['home']}{COLLEAGUE}/"

    def wanted(self) -> Wanted:
        """The hub's connection to this server."""
        config = {"base_url": self.url, "home": self._seed["home"], "allow_private": ["127.0.0.0/8"]}
        secrets = {name: self._seed[name] for name in ("username", "password")}
        return Wanted(name="Sandbox calendar", kind="oa", adapter="caldav", config=config, secrets=secrets,
                      routes={"task": "both"})

    def todo(self, task_id: str) -> dict[str, str] | None:
        """Return the properties of the VTODO that the hub made of a task, by name; None while there is none."""
        found = self._read(task_id)
        return None if found is None else properties(found[0])

    def complete(self, task_id: str) -> None:
        """Tick the task off, as a calendar program does. Ticked off already, it stays so.

        Raises:
            Trouble: it is not there.
        """
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = self._read(task_id)
            if found is None:
                break
            text, etag = found
            if properties(text).get("STATUS") == "COMPLETED":
                return
            headers = {"If-Match": etag, "Content-Type": "text/calendar; charset=utf-8"}
            self._ask("PUT", task_id, completed(text, datetime.now(UTC)).encode(), headers)
        raise Trouble(f"the calendar has no task {uid_of(task_id)}", "GET /api/v1/deliveries says what became of it")

    def _read(self, task_id: str) -> tuple[str, str] | None:
        """Return the text, long lines unfolded, and its ETag."""
        answer = self._ask("GET", task_id)
        if answer.status_code == 404:
            return None
        if not answer.ok:
            raise Trouble(f"the calendar server answers {answer.status_code}", "hub status shows whether it runs")
        return answer.content.decode().replace("\r\n ", ""), answer.headers["ETag"]

    def _ask(self, method: str, task_id: str, data: bytes = b"", headers: Mapping[str, str] | None = None,
             ) -> requests.Response:
        place, deadline = f"{self.place}{uid_of(task_id)}.ics", time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._http.request(method, place, data=data or None, headers=headers, timeout=10)
            except requests.RequestException as error:
                if time.monotonic() > deadline:
                    text = f"the calendar server does not answer ({type(error).__name__})"
                    raise Trouble(text, "hub status shows whether it runs") from error
            time.sleep(0.5)


def uid_of(task_id: str) -> str:
    """The UID under which the adapter promises that a task of ours stands there (its README says so)."""
    return f"hub-{hashlib.sha256(task_id.encode()).hexdigest()[:32]}"


def properties(text: str) -> dict[str, str]:
    """Return name → value of the properties of the VTODO in an unfolded iCalendar text, without parameters."""
    todo = text.partition("BEGIN:VTODO")[2].partition("END:VTODO")[0]
    pairs = (line.partition(":") for line in todo.splitlines() if ":" in line)
    return {name.partition(";")[0]: value for name, _, value in pairs}


def completed(text: str, now: datetime) -> str:
    """Return the iCalendar text with its VTODO completed at `now` (RFC 5545, 3.8.1.11, 3.8.2.1)."""
    head, _, rest = text.partition("BEGIN:VTODO")
    todo, _, tail = rest.partition("END:VTODO")
    changed = ("STATUS", "PERCENT-COMPLETE", "COMPLETED", "LAST-MODIFIED")
    kept = [line for line in todo.splitlines() if line and line.partition(":")[0].partition(";")[0] not in changed]
    stamp = f"{now:%Y%m%dT%H%M%SZ}"
    said = ["STATUS:COMPLETED", "PERCENT-COMPLETE:100", f"COMPLETED:{stamp}", f"LAST-MODIFIED:{stamp}"]
    return head + "\r\n".join(["BEGIN:VTODO", *kept, *said, "END:VTODO"]) + tail
