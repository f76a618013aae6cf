"""The hub's own API, for the verbs that ask it."""

from __future__ import annotations

from hub.demo.door import Door
from hub.installation import Installation
from hub.trouble import Trouble


def signed_in(hub: Installation) -> Door:
    """Return the gateway, for whoever `HUB_API_KEY` belongs to; without it for the demo's administrator.

    Raises:
        Trouble: there is no key.
    """
    kept = hub.home / "demo" / "api-key"
    key = hub.environ.get("HUB_API_KEY") or (kept.read_text(encoding="utf-8").strip() if kept.exists() else "")
    if not key:
        raise Trouble("this verb asks the gateway, and there is no key to ask with",
                      "make one with POST /api/v1/api-keys and set HUB_API_KEY")
    return Door(hub.url, key, patience_s=10.0)
