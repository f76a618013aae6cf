"""How Acme is asked: the key, JSON, and what its refusals say."""

from __future__ import annotations

from typing import Any

from hub_adapter.failure import AlreadyExists, NotFound
from hub_adapter.port import Context
from hub_adapter.verdict import Reply, refusal


class Rest:
    """One adapter call's conversation with Acme."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._base_url = str(ctx.config["base_url"]).rstrip("/")

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of a success, None if it has no body; `options` as for `HttpSession.request`.

        Raises:
            AlreadyExists: Acme has a record with this key.
            AdapterError: it was refused, or lost; its class says what the hub does next.
        """
        headers = {"Authorization": f"Bearer {self._ctx.secrets['api_key']}", **options.pop("headers", {})}
        reply = self._ctx.http.request(method, f"{self._base_url}{path}", headers=headers, **options)
        if reply.status == 409:
            raise AlreadyExists(_said(reply), http_status=409)
        if not reply.ok:
            raise refusal(reply, self._ctx.clock(), _said(reply))
        return reply.json() if reply.body else None

    def read(self, path: str) -> Any:
        """The JSON of one record, None if there is none."""
        try:
            return self.ask("GET", path)
        except NotFound:
            return None


def _said(reply: Reply) -> str:
    """What Acme says about a refusal, in words a person may see."""
    try:
        told = reply.json()
    except Exception:  # a page of a proxy's, say
        return ""
    return str(told.get("message", ""))[:300] if isinstance(told, dict) else ""
