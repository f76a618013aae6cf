"""A system to script: records under a key, faults on demand. `records.RecordsAdapter` speaks to it.

    GET    /records/<entity>/<id>                           a record
    GET    /records/<entity>?key=… | after=…&limit=… | since=…&limit=…   by our id; by id; by time of change
    POST   /records/<entity>      {key, body, …}            a new one; 409 where the key is taken
    PUT    /records/<entity>/<id> {body, expected?, …}      412 where another version stands
    DELETE /records/<entity>/<id>                           412 where `If-Match` names another version
    POST   /token                 {refresh}                 trades what is left of a credential for a fresh key
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hub_adapter.conformance.server import Answer, FaultyServer, Request

GOOD_KEY = "the-right-key"
REFRESH_KEY = "the-key-that-is-traded"
HOOK_SECRET = "the-secret-of-the-hook"
SIGNATURE = "X-Records-Signature"
STAMP = "X-Records-Timestamp"
_PATH = re.compile(r"^/records/(?P<entity>[a-z]+)(?:/(?P<id>\d+))?$")


@dataclass
class Row:
    """A record as the target has it."""

    id: str
    entity: str
    key: str
    body: dict[str, Any]
    version: int = 1
    source_version: int = 0
    changed: int = 0
    account: str = ""
    gone: bool = False


class RecordsTarget(FaultyServer):
    """The server. Everything is open to the test: `rows`, `seen`, `faults`."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.graves: dict[str, Row] = {}
        """What was deleted, for whoever asks what has gone since."""
        self.accepted_key = GOOD_KEY
        self.traded = 0
        """How often a credential was traded for a fresh one."""
        self.unique = True
        """Whether a key that is taken is refused."""
        self.needs: dict[str, str] = {}
        """entity → name of the reference without which it is refused."""
        self._serial = 0
        super().__init__()

    @property
    def config(self) -> dict[str, Any]:
        """A connection's config for this target."""
        return {"base_url": self.url, "allow_private": ["127.0.0.0/8"]}

    @property
    def secrets(self) -> dict[str, str]:
        """A connection's secrets for this target."""
        return {"key": self.accepted_key, "refresh_key": REFRESH_KEY, "hook_secret": HOOK_SECRET}

    # --- what a test asks ---------------------------------------------------------------------------------------------

    def of(self, entity: str) -> list[Row]:
        return [row for row in self.rows.values() if row.entity == entity]

    def put(self, entity: str, key: str, body: dict[str, Any], *, source_version: int = 0) -> Row:
        """Create or change a record from the target's own side."""
        with self._lock:
            row = next((r for r in self.rows.values() if (r.entity, r.key) == (entity, key)), None)
            return self._write(row, entity, key, body, source_version)

    def remove(self, id: str) -> Row | None:
        """Delete a record, from whichever side."""
        with self._lock:
            row = self.rows.pop(id, None)
            if row is not None:
                self._serial += 1
                self.graves[id] = replace(row, gone=True, version=row.version + 1, changed=self._serial)
            return row

    def expire(self) -> None:
        """From now on the key in use is refused; the next one is told to whoever trades for it."""
        self.accepted_key = f"fresh-{uuid.uuid4()}"

    def message(self, id: str, age_s: float = 0) -> tuple[dict[str, str], bytes]:
        """The message, signed so many seconds ago, that tells how a record stands: headers and body."""
        body = json.dumps(vars(self.rows[id]), ensure_ascii=False).encode()
        return self.signed(body, age_s), body

    @staticmethod
    def signed(body: bytes, age_s: float = 0) -> dict[str, str]:
        """The headers that make a message of this body the target's own."""
        stamp = str(int(time.time() - age_s))
        return {STAMP: stamp, SIGNATURE: signature(HOOK_SECRET, stamp, body)}

    # --- what is served -----------------------------------------------------------------------------------------------

    def refused(self, request: Request) -> Answer | None:
        if request.path == "/token" or request.headers.get("Authorization") == f"Bearer {self.accepted_key}":
            return None
        return Answer.of({"message": "unknown key"}, 401)

    def entity_of(self, request: Request) -> str:
        path = urlsplit(request.path).path
        match = _PATH.match(path)
        return match["entity"] if match else path.strip("/")

    def answer(self, request: Request) -> Answer:
        url = urlsplit(request.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        match, entity = _PATH.match(url.path), self.entity_of(request)
        if entity == "ping":
            return Answer.of({})
        if entity == "token":
            return self._trade(request.json())
        id = match["id"] if match else None
        if request.method == "GET":
            return self._get(entity, id, asked)
        if request.method == "POST":
            return self._post(entity, request.json())
        if request.method == "PUT":
            return self._put(id, request.json())
        return self._delete(id, request.headers.get("If-Match"))

    def _get(self, entity: str, id: str | None, asked: Mapping[str, str]) -> Answer:
        if id is not None:
            row = self.rows.get(id)
            known = row is not None and row.entity == entity
            return Answer.of(vars(row)) if known else Answer.of({"message": "no such record"}, 404)
        if "key" in asked:
            return Answer.of([vars(row) for row in self.of(entity) if row.key == asked["key"]])
        limit = int(asked["limit"])
        if "after" in asked:
            later = [row for row in self.of(entity) if int(row.id) > int(asked["after"])]
            return Answer.of([vars(row) for row in sorted(later, key=lambda row: int(row.id))[:limit]])
        graves = [row for row in self.graves.values() if row.entity == entity] if "graves" in asked else []
        rows = [row for row in [*self.of(entity), *graves] if row.changed > int(asked["since"])]
        return Answer.of([vars(row) for row in sorted(rows, key=lambda row: row.changed)[:limit]])

    def _post(self, entity: str, given: Mapping[str, Any]) -> Answer:
        needed = self.needs.get(entity)
        if needed and given.get("references", {}).get(needed) not in self.rows:
            return Answer.of({"message": f"{needed} is missing"}, 424)
        with self._lock:
            taken = any((row.entity, row.key) == (entity, given["key"]) for row in self.rows.values())
            if taken and self.unique:
                return Answer.of({"message": "the key is taken"}, 409)
            row = self._write(None, entity, given["key"], given["body"], given["source_version"])
            row.account = given.get("references", {}).get("account", "")
            return Answer.of(vars(row), 201)

    def _put(self, id: str | None, given: Mapping[str, Any]) -> Answer:
        with self._lock:
            row = self.rows.get(id or "")
            if row is None:
                return Answer.of({"message": "no such record"}, 404)
            if given.get("expected") not in (None, str(row.version)):
                return Answer.of({"message": "another version stands here"}, 412)
            row.account = given.get("references", {}).get("account", row.account)
            return Answer.of(vars(self._write(row, row.entity, row.key, given["body"], given["source_version"])))

    def _delete(self, id: str | None, expected: str | None) -> Answer:
        row = self.rows.get(id or "")
        if row is None:
            return Answer.of({"message": "no such record"}, 404)
        if expected not in (None, str(row.version)):
            return Answer.of({"message": "another version stands here"}, 412)
        self.remove(row.id)
        return Answer.of({})

    def _trade(self, given: Mapping[str, Any]) -> Answer:
        if given.get("refresh") != REFRESH_KEY:
            return Answer.of({"message": "unknown key"}, 401)
        with self._lock:
            self.traded += 1
        return Answer.of({"key": self.accepted_key})

    def _write(self, row: Row | None, entity: str, key: str, body: dict[str, Any], source_version: int) -> Row:
        self._serial += 1
        if row is None:
            row = self.rows[str(self._serial)] = Row(str(self._serial), entity, key, body, 0)
        row.body, row.version, row.changed = dict(body), row.version + 1, self._serial
        row.source_version = source_version
        return row


def signature(secret: str, stamp: str, body: bytes) -> str:
    """The signature of a message sent at `stamp`, in seconds since 1970."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def running() -> Iterator[RecordsTarget]:
    """Yield a fresh target, and close it."""
    target = RecordsTarget()
    try:
        yield target
    finally:
        target.close()
