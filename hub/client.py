"""The hub's own API, for the verbs that ask it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hub.demo.door import Door, Refused
from hub.installation import API, Installation
from hub.trouble import Trouble

PATIENCE_S = 10.0
"""A person waits: no longer than this is a gateway asked again that does not answer."""

NEXT_STEPS = {
    401: "set HUB_API_KEY to a key that is good",
    403: "ask with the key of somebody who may",
    404: "look its id up again; what the key may not see is not found either",
    409: "do first what it names, then ask again",
    412: "it has changed meanwhile: look at it again, then decide anew",
    429: "wait a little, then ask again",
}
"""Status of a refusal → what to do; a 5xx is the hub's, any other the request's."""


@contextmanager
def asking(hub: Installation) -> Iterator[Door]:
    """Lend the gateway, for whoever `HUB_API_KEY` belongs to; without it for the demo's administrator.

    Raises:
        Trouble: there is no key or no possible one, the gateway does not answer, or it refuses.
    """
    kept = hub.home / "demo" / "api-key"
    key = hub.environ.get("HUB_API_KEY") or (kept.read_text(encoding="utf-8").strip() if kept.exists() else "")
    if not key:
        raise Trouble("this verb asks the gateway, and there is no key to ask with",
                      "make one with POST /api/v1/api-keys and set HUB_API_KEY")
    try:
        yield Door(hub.url, key, patience_s=PATIENCE_S)
    except Refused as refused:
        other = "hub status shows what is missing" if refused.status >= 500 else "correct what it names"
        raise Trouble(f"the hub refused ({refused})", NEXT_STEPS.get(refused.status, other),
                      refused.named) from refused


def every(door: Door, path: str, asked: dict[str, Any], most: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the items of a list, page by page, up to `most`; what is asked as None is not asked."""
    asked = only_given(**asked)
    cursor, given = None, 0
    while most is None or given < most:
        limit = 200 if most is None else min(most - given, 200)
        page = door.get(path, **asked, limit=limit, **({"cursor": cursor} if cursor else {}))
        yield from page["items"]
        given, cursor = given + len(page["items"]), page["next"]
        if cursor is None:
            return


def connection_id(door: Door, connection: str) -> str:
    """Return the id of the connection with this name or id.

    Raises:
        Trouble: there is none within reach of whoever asks.
    """
    named = (one for one in every(door, f"{API}/connections", {}) if one["name"] == connection)
    missing = Trouble(f"there is no connection {connection!r}", "hub connections list shows them")
    return _id_of(connection, named, missing)


def user_id(door: Door, user: str) -> str:
    """Return the id of the user with this user name or id.

    Raises:
        Trouble: there is none within reach of whoever asks.
    """
    named = every(door, f"{API}/users", {"username": user})
    return _id_of(user, named, Trouble(f"there is no user {user!r}", "look the user name up in GET /api/v1/users"))


def order_id(door: Door, order: str) -> str:
    """Return the id of the order with this number or id.

    Raises:
        Trouble: there is none within reach of whoever asks.
    """
    named = every(door, f"{API}/orders", {"number": order})
    return _id_of(order, named, Trouble(f"there is no order {order!r}, or it is out of your reach",
                                        "look for it in GET /api/v1/orders"))


def _id_of(given: str, named: Iterator[dict[str, Any]], missing: Trouble) -> str:
    """Return what was given if it is an id, else that of the first that is `named` so, which is asked for only then."""
    try:
        return str(uuid.UUID(given))
    except ValueError:
        found = next(named, None)
    if found is None:
        raise missing
    return str(found["id"])


def change(door: Door, path: str, changes: dict[str, Any], version: int | None) -> dict[str, Any]:
    """Change what stands at a path, if it is at this version still; without one, as it is now.

    Raises:
        Trouble: there is nothing to change.
    """
    if not changes:
        raise Trouble("there is nothing to change", "name an option, --help shows them")
    return door.patch(path, door.get(path)["version"] if version is None else version, changes)


def only_given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
