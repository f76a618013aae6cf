"""One of the demo's connections: set up as a person would, asked at once instead of at its next poll."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from hub.demo.door import Door, wait_for
from hub.demo.showing import Tell
from hub.trouble import Trouble

T = TypeVar("T")
API = "/api/v1"
MADE_HERE = {"without_matching": True, "reason": "the demo makes this system itself: nothing in it is a record of ours"}
PULL_AGAIN_S = 3.0
"""A pull that began before the change was made does not see it: it is asked for again after so long."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a connection is to be.

    Attributes:
        name, kind, adapter, config: as `POST /connections` takes them.
        secrets: with which it signs in.
        routes: entity → direction.
    """

    name: str
    kind: str
    adapter: str
    config: Mapping[str, Any]
    secrets: Mapping[str, str]
    routes: Mapping[str, str]


class Connection:
    """A connection of the hub, by its id."""

    def __init__(self, door: Door, id: str) -> None:
        self.id = id
        self.place = f"{API}/connections/{id}"
        self._door = door

    @classmethod
    def ensure(cls, door: Door, wanted: Wanted, tell: Tell) -> Self:
        """Return the connection of this name, made, checked and active, with its routes.

        Raises:
            Trouble: the hub cannot work with the target.
        """
        connections = door.get(f"{API}/connections", limit=200)["items"]
        found = next((one for one in connections if one["name"] == wanted.name), None)
        if found is None:
            body = {"name": wanted.name, "kind": wanted.kind, "adapter": wanted.adapter, "config": wanted.config}
            found = door.post(f"{API}/connections", body)
        connection = cls(door, found["id"])
        if found["config"].get("base_url") != wanted.config["base_url"]:
            # The sandbox was given another port since.
            door.patch(connection.place, found["version"], {"config": wanted.config})
        message = connection._check(wanted)
        connection.wake()
        connection._open_routes(wanted.routes)
        ways = ", ".join(f"{entity} {direction}" for entity, direction in wanted.routes.items())
        tell(f"connection {wanted.name} ({ways}): {message} {found['guarantee'].replace('_', ' ').capitalize()}.")
        return connection

    def read(self) -> dict[str, Any]:
        """The connection as it stands."""
        return self._door.get(self.place)

    def wake(self) -> bool:
        """Do what an operator does who knows that the target is back; tell whether there was anything to do."""
        found = self.read()
        asleep: bool = found["desired_state"] != "active" or found["health"] == "open"
        if asleep:
            self._door.post(f"{self.place}/resume")
        return asleep

    def pulled(self, what: str, look: Callable[[], T | None]) -> T:
        """Ask the target for its changes until `look` finds what came of them.

        Raises:
            Trouble: it did not come in time.
        """
        next_pull = 0.0

        def pulling() -> T | None:
            nonlocal next_pull
            if time.monotonic() >= next_pull:
                self._door.post(f"{self.place}/pull")
                next_pull = time.monotonic() + PULL_AGAIN_S
            return look()

        return wait_for(what, pulling)

    def ledger(self) -> dict[str, Any]:
        """How much was accepted, and what became of it."""
        return self._door.get(f"{self.place}/ledger")

    def settled_ledger(self) -> dict[str, Any]:
        """Return the ledger once nothing is open."""

        def closed() -> dict[str, Any] | None:
            ledger = self.ledger()
            return ledger if ledger["open"] == 0 else None

        return wait_for("the end of every delivery", closed)

    def _check(self, wanted: Wanted) -> str:
        checked: dict[str, Any] = {"ok": False}
        if self.read()["has_credential"]:
            checked = self._door.post(f"{self.place}/check")
        if not checked["ok"]:
            # The first run, or somebody has tried another secret: ours stands in the sandbox's seed.json.
            self._door.put(f"{self.place}/credential", {"secrets": wanted.secrets})
            checked = self._door.post(f"{self.place}/check")
        if not checked["ok"]:
            wrong = "; ".join(f"{p['field']}: {p['message']}" for p in checked["problems"]) or checked["message"]
            raise Trouble(f"the hub cannot work with {wanted.name} ({wrong})", "mend that connection")
        return str(checked["message"])

    def _open_routes(self, routes: Mapping[str, str]) -> None:
        standing = self._door.get(f"{API}/routes", connection_id=self.id, limit=200)["items"]
        for entity, direction in routes.items():
            found = next((one for one in standing if one["entity"] == entity), None)
            if found is None:
                body = {"connection_id": self.id, "entity": entity, "direction": direction}
                found = self._door.post(f"{API}/routes", body)
            if found["state"] != "active":
                self._door.post(f"{API}/routes/{found['id']}/activate", MADE_HERE)
