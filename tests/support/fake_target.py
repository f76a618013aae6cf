"""A target that tests script: records under a unique key, faults on demand, and the adapter that speaks to it."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hub_adapter.client import NETWORK_PROPERTIES
from hub_adapter.port import (
    AdapterBase,
    AdapterSpec,
    AlreadyExists,
    Capability,
    Change,
    CheckResult,
    Context,
    DependencyMissing,
    ErrorClass,
    Limits,
    Page,
    Problem,
    Remote,
    Write,
    Written,
    failure_of,
)
from hub_adapter.verdict import Reply, refusal

GOOD_KEY = "the-right-key"
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


@dataclass
class Fault:
    """What happens to the next `times` requests that match.

    Args:
        method: GET, POST or PUT; empty for any.
        entity: empty for any.
        status: answered instead of doing anything.
        headers: of that answer.
        drop: "before" cuts the line with nothing done, "after" once the change is committed.
        instead: says something else than the answer, once the change is committed; then the line is cut.
        delay_s: before anything is done.
        message: of the answer's body.
    """

    method: str = ""
    entity: str = ""
    times: int = 1
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: str = ""
    instead: Callable[[BufferedIOBase], None] | None = None
    delay_s: float = 0.0
    message: str = "scripted"

    def matches(self, method: str, entity: str) -> bool:
        return self.times > 0 and self.method in ("", method) and self.entity in ("", entity)


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    key: str | None
    at: float


class FakeTarget:
    """The server. Everything is open to the test: `rows`, `seen`, `faults`."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.graves: dict[str, Row] = {}
        """What was deleted, for whoever asks what has gone since."""
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.accepted_key = GOOD_KEY
        self.needs: dict[str, str] = {}
        """entity → name of the reference without which it is refused."""
        self._lock = threading.Lock()
        self._serial = 0
        handler = type("Handler", (_Handler,), {"target": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def config(self) -> dict[str, Any]:
        """A connection's config for this target."""
        return {"base_url": self.url, "allow_private": ["127.0.0.0/8"]}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # --- what a test asks -----------------------------------------------------------------------------------------

    def fail(self, **fault: Any) -> Fault:
        """Script a fault and return it."""
        scripted = Fault(**fault)
        self.faults.append(scripted)
        return scripted

    def of(self, entity: str) -> list[Row]:
        return [row for row in self.rows.values() if row.entity == entity]

    def calls(self, *methods: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.method in methods]

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

    # --- what the handler asks ------------------------------------------------------------------------------------

    def fault(self, method: str, entity: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.matches(method, entity):
                    fault.times -= 1
                    return fault
        return None

    def create(self, entity: str, given: Mapping[str, Any]) -> Row | None:
        with self._lock:
            if any((row.entity, row.key) == (entity, given["key"]) for row in self.rows.values()):
                return None
            row = self._write(None, entity, given["key"], given["body"], given["source_version"])
            row.account = given.get("references", {}).get("account", "")
            return row

    def change(self, row: Row, given: Mapping[str, Any]) -> Row | None:
        """Change a row, unless it is no longer at the version that was expected."""
        with self._lock:
            if given.get("expected") not in (None, str(row.version)):
                return None
            row.account = given.get("references", {}).get("account", row.account)
            return self._write(row, row.entity, row.key, given["body"], given["source_version"])

    def _write(self, row: Row | None, entity: str, key: str, body: dict[str, Any], source_version: int) -> Row:
        self._serial += 1
        if row is None:
            row = self.rows[str(self._serial)] = Row(str(self._serial), entity, key, body, 0)
        row.body, row.version, row.changed = dict(body), row.version + 1, self._serial
        row.source_version = source_version
        return row


class _Handler(BaseHTTPRequestHandler):
    target: FakeTarget
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve("GET", self._get)

    def do_POST(self) -> None:
        self._serve("POST", self._post)

    def do_PUT(self) -> None:
        self._serve("PUT", self._put)

    def do_DELETE(self) -> None:
        self._serve("DELETE", self._delete)

    def _serve(self, method: str, answer: Callable[[str, str | None, dict[str, Any]], tuple[int, Any]]) -> None:
        length = int(self.headers.get("Content-Length", 0))
        given = json.loads(self.rfile.read(length)) if length else {}
        target, url = self.target, urlsplit(self.path)
        target.seen.append(Seen(method, self.path, self.headers.get("Idempotency-Key"), time.monotonic()))
        if self.headers.get("Authorization") != f"Bearer {target.accepted_key}":
            return self._answer(401, {"message": "unknown key"})
        match = _PATH.match(url.path)
        entity, id = (match["entity"], match["id"]) if match else (url.path.strip("/"), None)
        fault = target.fault(method, entity)
        if fault is not None:
            time.sleep(fault.delay_s)
            if fault.status is not None:
                return self._answer(fault.status, {"message": fault.message}, fault.headers)
            if fault.drop == "before":
                return self._cut()
        status, body = answer(entity, id, given)
        if fault is not None and fault.instead is not None:
            with contextlib.suppress(OSError):
                fault.instead(self.wfile)
        if fault is not None and (fault.instead is not None or fault.drop == "after"):
            return self._cut()
        return self._answer(status, body)

    def _get(self, entity: str, id: str | None, _given: dict[str, Any]) -> tuple[int, Any]:
        target = self.target
        if entity == "ping":
            return 200, {}
        if id is not None:
            row = target.rows.get(id)
            known = row is not None and row.entity == entity
            return (200, vars(row)) if known else (404, {"message": "no such record"})
        asked = parse_qs(urlsplit(self.path).query)
        if "key" in asked:
            return 200, [vars(row) for row in target.of(entity) if row.key == asked["key"][0]]
        limit = int(asked["limit"][0])
        if "after" in asked:
            ids = sorted((row for row in target.of(entity) if int(row.id) > int(asked["after"][0])),
                         key=lambda row: int(row.id))
            return 200, [vars(row) for row in ids[:limit]]
        since = int(asked["since"][0])
        graves = [row for row in target.graves.values() if row.entity == entity] if "graves" in asked else []
        rows = [row for row in [*target.of(entity), *graves] if row.changed > since]
        newer = sorted(rows, key=lambda row: row.changed)
        return 200, [vars(row) for row in newer[:limit]]

    def _post(self, entity: str, _id: str | None, given: dict[str, Any]) -> tuple[int, Any]:
        needed = self.target.needs.get(entity)
        if needed and given.get("references", {}).get(needed) not in self.target.rows:
            return 424, {"message": f"{needed} is missing"}
        row = self.target.create(entity, given)
        return (201, vars(row)) if row is not None else (409, {"message": "the key is taken"})

    def _put(self, entity: str, id: str | None, given: dict[str, Any]) -> tuple[int, Any]:
        row = self.target.rows.get(id or "")
        if row is None:
            return 404, {"message": "no such record"}
        changed = self.target.change(row, given)
        return (200, vars(changed)) if changed is not None else (412, {"message": "another version stands here"})

    def _delete(self, _entity: str, id: str | None, _given: dict[str, Any]) -> tuple[int, Any]:
        gone = self.target.remove(id or "")
        return (200, {}) if gone is not None else (404, {"message": "no such record"})

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)),
                            **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


# --- the adapter --------------------------------------------------------------------------------------------------


class FakeAdapter(AdapterBase):
    """Speaks to a `FakeTarget`. It looks before it creates, as the port asks."""

    spec = AdapterSpec(
        name="fake", version="1.0.0", title="Fake target",
        config_schema={
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "additionalProperties": False,
            "required": ["base_url"],
            "properties": {"base_url": {"type": "string", "pattern": "^https?://", "description": "Where it is."},
                           "warehouse": {"type": "integer", "minimum": 1, "description": "A number."},
                           **NETWORK_PROPERTIES},
        },
        secret_fields=("key",), address=("base_url",), entities=("customer", "order", "product"), pulled=("product",),
        capabilities=frozenset({Capability.FIND_BY_LOCAL_KEY, Capability.IDEMPOTENCY_KEY, Capability.INCREMENTAL}),
        limits=Limits(rate_per_s=10_000, burst=10_000, max_in_flight=16, page_size=50),
    )

    def check(self, ctx: Context) -> CheckResult:
        try:
            self._ask(ctx, "GET", "/ping")
        except Exception as error:
            failure = failure_of(error)
            return CheckResult(problems=(Problem("key", failure.message),), error_class=ErrorClass(failure.error_class))
        return CheckResult()

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        reply = self._send(ctx, "GET", f"/records/{entity}/{external_id}")
        return None if reply.status == 404 else _remote(_told(reply, ctx))

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> list[Remote]:
        return [_remote(row) for row in self._ask(ctx, "GET", f"/records/{entity}", params={"key": keys["id"]})]

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        given = {"key": cmd.local_id, "body": dict(cmd.body), "source_version": cmd.source_version,
                 "references": dict(cmd.references)}
        known = cmd.external_id
        if known is None and (found := self.find(ctx, entity, {"id": cmd.local_id})):
            known = found[0].external_id
        if known is not None:
            row = self._ask(ctx, "PUT", f"/records/{entity}/{known}", json=given, key=cmd.idempotency_key)
        else:
            row = self._ask(ctx, "POST", f"/records/{entity}", json=given, key=cmd.idempotency_key)
        return Written(external_id=row["id"], remote_version=str(row["version"]))

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        since = int(checkpoint or 0)
        rows = self._ask(ctx, "GET", f"/records/{entity}", params={"since": since, "limit": limit})
        items = [Change(entity=entity, external_id=row["id"], op="upsert", body=row["body"],
                        version=str(row["version"])) for row in rows]
        last = max([since, *(row["changed"] for row in rows)])
        return Page(items=items, next_cursor=str(last), complete=len(rows) < limit)

    def delete(self, ctx: Context, entity: str, external_id: str, *, idempotency_key: str,
               expected_version: str | None = None) -> Written:
        self._ask(ctx, "DELETE", f"/records/{entity}/{external_id}", key=idempotency_key)
        return Written(external_id=external_id)

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        page = self.changes(ctx, entity, cursor, limit)
        return Page(items=[Remote(external_id=c.external_id, body=c.body, version=c.version) for c in page.items],
                    next_cursor=None if page.complete else page.next_cursor, complete=page.complete)

    def _ask(self, ctx: Context, method: str, path: str, **options: Any) -> Any:
        return _told(self._send(ctx, method, path, **options), ctx)

    def _send(self, ctx: Context, method: str, path: str, *, key: str | None = None, **options: Any) -> Reply:
        headers = {"Authorization": f"Bearer {ctx.secrets['key']}"} | ({"Idempotency-Key": key} if key else {})
        return ctx.http.request(method, f"{ctx.config['base_url']}{path}", headers=headers, **options)


class AskOnlyAdapter(FakeAdapter):
    """The same target, but it honours no key: only a look-up can end a doubt."""

    spec = AdapterSpec(**(vars(FakeAdapter.spec) | {
        "name": "fake_ask_only", "capabilities": frozenset({Capability.FIND_BY_LOCAL_KEY, Capability.INCREMENTAL})}))


class BlindAdapter(FakeAdapter):
    """The same target, but it can neither be asked nor told twice."""

    spec = AdapterSpec(**(vars(FakeAdapter.spec) | {
        "name": "fake_blind", "capabilities": frozenset({Capability.INCREMENTAL})}))


class ListedAdapter(FakeAdapter):
    """The same target, which also lists every record, by its id, four at once, with what it is known by."""

    spec = AdapterSpec(**(vars(FakeAdapter.spec) | {
        "name": "fake_listed", "limits": replace(FakeAdapter.spec.limits, page_size=4),
        "capabilities": FakeAdapter.spec.capabilities | {Capability.LIST_COMPLETE}}))

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        rows = self._ask(ctx, "GET", f"/records/{entity}", params={"after": cursor or 0, "limit": limit})
        complete = len(rows) < limit
        return Page(items=[_remote(row) for row in rows], next_cursor=None if complete else rows[-1]["id"],
                    complete=complete)


class TellingAdapter(FakeAdapter):
    """The same target; it says what it takes, and looks taxes up in a table of its settings."""

    spec = AdapterSpec(**(vars(FakeAdapter.spec) | {
        "name": "fake_telling",
        "config_schema": {**FakeAdapter.spec.config_schema, "properties": {
            **FakeAdapter.spec.config_schema["properties"], "taxes": {"type": "object", "description": "Tax codes."}}},
        "fields": {
            "customer": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "phone": {"type": ["string", "null"]}, "term": {"type": "integer"},
                "group": {"type": ["string", "null"]}, "address": {"type": ["object", "null"]}}},
            "order": {"type": "object", "properties": {"lines": {"type": "array", "items": {
                "type": "object", "properties": {"tax_code": {"type": "string", "codeTable": "taxes"}}}}}}}}))


def _told(reply: Reply, ctx: Context) -> Any:
    if reply.ok:
        return reply.json()
    message = reply.json().get("message", "")
    if reply.status == 409:
        raise AlreadyExists(message, http_status=409)
    if reply.status == 424:
        raise DependencyMissing(message, http_status=424, dependency="customer")
    raise refusal(reply, ctx.clock(), message)


def _remote(row: Mapping[str, Any]) -> Remote:
    return Remote(external_id=row["id"], body=row["body"], version=str(row["version"]))


ADAPTERS = {"fake": FakeAdapter, "fake_ask_only": AskOnlyAdapter, "fake_blind": BlindAdapter,
            "fake_listed": ListedAdapter,
            "fake_telling": TellingAdapter}


def running() -> Iterator[FakeTarget]:
    """Yield a fresh target, and close it."""
    target = FakeTarget()
    try:
        yield target
    finally:
        target.close()


__all__ = ["ADAPTERS", "GOOD_KEY", "FakeTarget", "running"]
