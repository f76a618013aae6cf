"""A card index over HTTP: the small system that docs/guides/write-an-adapter.md joins to the hub.

    python -m deploy.sandbox.cards --port 8099 --key open-sesame

A card has a `reference` of whoever sends it (unique), a `name`, a `phone` and a `city`; `id` and `version` are its own.
Cards live in memory. Each request needs `Authorization: Bearer <key>`; each refusal is JSON with a `message`.

    GET    /about                  what this is
    GET    /cards?reference=R      the cards with this reference
    GET    /cards?after=N&limit=M  the next cards by id
    GET    /cards/N                one card
    POST   /cards                  a new card; 409 if the reference is taken, 422 without a name
    PUT    /cards/N                change it
    DELETE /cards/N                take it away

The last two take If-Match: 412 unless that is the card's version.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

FIELDS = ("reference", "name", "phone", "city")
LONGEST = 200


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Cards:
    """The index. Everything it answers is a copy."""

    def __init__(self) -> None:
        self._cards: dict[int, dict[str, Any]] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def listed(self, reference: str | None, after: int, limit: int) -> list[dict[str, Any]]:
        with self._lock:
            found = [dict(card) for id, card in sorted(self._cards.items()) if id > after]
        return [card for card in found if reference in (None, card["reference"])][:limit]

    def read(self, id: int) -> dict[str, Any]:
        with self._lock:
            return dict(self._at(id))

    def add(self, given: dict[str, Any]) -> dict[str, Any]:
        wanted = _checked(given)
        with self._lock:
            if any(card["reference"] == wanted["reference"] for card in self._cards.values()):
                raise Refusal(409, f"the reference {wanted['reference']} is taken")
            id = next(self._ids)
            self._cards[id] = {"id": id, "version": 1, **wanted}
            return dict(self._cards[id])

    def change(self, id: int, given: dict[str, Any], expected: str | None) -> dict[str, Any]:
        wanted = _checked(given)
        with self._lock:
            card = self._at(id, expected)
            card |= wanted | {"version": card["version"] + 1}
            return dict(card)

    def remove(self, id: int, expected: str | None) -> None:
        with self._lock:
            self._at(id, expected)
            del self._cards[id]

    def _at(self, id: int, expected: str | None = None) -> dict[str, Any]:
        if id not in self._cards:
            raise Refusal(404, f"there is no card {id}")
        card = self._cards[id]
        if expected not in (None, str(card["version"])):
            raise Refusal(412, f"card {id} is at version {card['version']}")
        return card


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    wanted = {name: given.get(name) for name in FIELDS}
    for name in ("reference", "name"):
        if not wanted[name]:
            raise Refusal(422, f"a card needs a {name}")
    for name, value in wanted.items():
        if value is not None and (not isinstance(value, str) or len(value) > LONGEST):
            raise Refusal(422, f"{name} has to be a text of at most {LONGEST} characters")
    return wanted


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    cards: Cards
    key: str

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, answer = self._answer(body)
        except Refusal as refusal:
            status, answer = refusal.status, {"message": str(refusal)}
        content = b"" if answer is None else json.dumps(answer, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, body: bytes) -> tuple[int, Any]:
        if self.headers.get("Authorization") != f"Bearer {self.key}":
            raise Refusal(401, "the key is not known here")
        url = urlsplit(self.path)
        one = re.fullmatch(r"/cards/(\d+)", url.path)
        match (self.command, url.path):
            case ("GET", "/about"):
                return 200, {"name": "Cards"}
            case ("GET", "/cards"):
                asked = {name: values[0] for name, values in parse_qs(url.query).items()}
                return 200, self.cards.listed(asked.get("reference"), int(asked.get("after", 0)),
                                              int(asked.get("limit", 100)))
            case ("POST", "/cards"):
                return 201, self.cards.add(_object(body))
            case ("GET", _) if one:
                return 200, self.cards.read(int(one[1]))
            case ("PUT", _) if one:
                return 200, self.cards.change(int(one[1]), _object(body), self.headers.get("If-Match"))
            case ("DELETE", _) if one:
                self.cards.remove(int(one[1]), self.headers.get("If-Match"))
                return 204, None
        raise Refusal(404, f"there is no {self.command} {url.path}")

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Refusal(422, "a card is a JSON object")
    return given


def server(port: int, key: str) -> ThreadingHTTPServer:
    """Return a card index that listens on loopback; port 0 takes a free one."""
    handler = type("CardsHandler", (Handler,), {"cards": Cards(), "key": key})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A card index over HTTP.")
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--key", default="open-sesame")
    asked = parser.parse_args()
    with server(asked.port, asked.key) as serving:
        print(f"cards at http://127.0.0.1:{serving.server_port}", flush=True)
        serving.serve_forever()


if __name__ == "__main__":
    main()
