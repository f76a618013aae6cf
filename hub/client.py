"""The hub's own API, for the verbs that ask it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hub.demo.door import Door, Refused
from hub.installation import Installation
from hub.trouble import Trouble

PATIENCE_S = 10.0
"""A person waits: no longer than this is a gateway asked again that does not answer."""


@contextmanager
def asking(hub: Installation) -> Iterator[Door]:
    """Lend the gateway, for whoever `HUB_API_KEY` belongs to; without it for the demo's administrator.

    Raises:
        Trouble: there is no key, the gateway does not answer, or it refuses.
    """
    kept = hub.home / "demo" / "api-key"
    key = hub.environ.get("HUB_API_KEY") or (kept.read_text(encoding="utf-8").strip() if kept.exists() else "")
    if not key:
        raise Trouble("this verb asks the gateway, and there is no key to ask with",
                      "make one with POST /api/v1/api-keys and set HUB_API_KEY")
    try:
        yield Door(hub.url, key, patience_s=PATIENCE_S)
    except Refused as refused:
        remedy = {401: "set HUB_API_KEY to a key that is good", 403: "ask with the key of somebody who may"}
        raise Trouble(f"the hub refused ({refused})", remedy.get(refused.status, "correct what it names")) from refused
