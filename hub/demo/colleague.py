"""A colleague who works in the ERP: signed in as a person, never as the hub's user."""

from __future__ import annotations

import base64
import time
from typing import Any, Self

import requests

from hub.demo import sandbox
from hub.demo.erp import PATIENCE_S, Erp
from hub.installation import Installation
from hub.trouble import Trouble

USERNAME = "admin"
NEXT_BUTTON = {"draft": "wait", "waiting": "assign_try", "assigned": "pick", "picked": "pack", "packed": "do"}
"""What the warehouse presses at a shipment, by its state, until the goods have left."""


class Colleague:
    """Calls Tryton over JSON-RPC (`/<database>/rpc/`), as its own client does."""

    def __init__(self, erp: Erp, password: str) -> None:
        self._erp = erp
        self._password = password
        self._http = requests.Session()
        self._http.trust_env = False

    @classmethod
    def of(cls, hub: Installation) -> Self:
        """The colleague of this hub's sandbox ERP.

        Raises:
            Trouble: it has not been prepared.
        """
        return cls(Erp.of(hub), sandbox.kept(hub, "tryton", "secrets.json")["admin"])

    def ship(self, sale_id: int) -> None:
        """Pick, pack and send all that a sale has to ship; what was done before is not done again."""
        deadline = time.monotonic() + PATIENCE_S
        while todo := [one for one in self._erp.shipments(sale_id) if one["state"] in NEXT_BUTTON]:
            if time.monotonic() > deadline:
                raise Trouble(f"the ERP does not ship sale {sale_id}", "look at its shipments in the ERP")
            self._call(f"model.stock.shipment.out.{NEXT_BUTTON[todo[0]['state']]}", [todo[0]["id"]])

    def unsubscribe(self, email: str) -> None:
        """Take an address off the mailing list; off already, it stays so."""
        deadline = time.monotonic() + PATIENCE_S
        while on := [row["id"] for row in self._erp.subscriptions(email) if row["active"]]:
            if time.monotonic() > deadline:
                raise Trouble(f"the ERP keeps {email} on its list", "look at the mailing list in the ERP")
            self._call("model.marketing.email.write", on, {"active": False})

    def _call(self, method: str, *params: Any) -> None:
        """Call one method. An answer that was lost is no failure: the caller looks at what stands there."""
        try:
            self._http.headers["Authorization"] = f"Session {self._session()}"
            context = {"company": self._erp.seed["company"], "active_test": False}
            self._asked(method, *params, context)
        except requests.RequestException:
            time.sleep(0.5)

    def _session(self) -> str:
        self._http.headers.pop("Authorization", None)
        user, token, *_ = self._asked("common.db.login", USERNAME, {"password": self._password})
        return base64.b64encode(f"{USERNAME}:{user}:{token}".encode()).decode()

    def _asked(self, method: str, *params: Any) -> Any:
        question = {"id": 1, "method": method, "params": params}
        answer = self._http.post(f"{self._erp.url}/{self._erp.seed['database']}/rpc/", json=question, timeout=20)
        answer.raise_for_status()
        told = answer.json()
        if "error" in told:
            raise Trouble(f"the ERP refuses {method} ({str(told['error'])[:200]})", "look at the record in the ERP")
        return told["result"]
