"""The ERP of the demo as its own users see it: read over its own API, never through the hub."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import requests

from hub.demo import sandbox
from hub.demo.connection import Wanted
from hub.installation import Installation
from hub.trouble import Trouble

PATIENCE_S = 30.0
"""How long a restart of the ERP may take before its reader gives up."""


@dataclass(frozen=True)
class Sale:
    """A sale as it stands in the ERP."""

    id: int
    number: str
    state: str
    web_id: str
    party: int
    total: str
    lines: tuple[str, ...]


class Erp:
    """Reads Tryton over REST (`/<database>/rest/model/<name>`)."""

    def __init__(self, url: str, seed: Mapping[str, Any]) -> None:
        self.url = url
        self.seed = seed
        self._root = f"{url}/{seed['database']}/rest/model"
        self._http = requests.Session()
        self._http.trust_env = False
        context = {"company": seed["company"], "language": "en", "active_test": False}
        self._http.headers.update({"Authorization": f"Bearer {seed['rest_key']}",
                                   "X-Tryton-Context": _encoded(context)})

    @classmethod
    def of(cls, hub: Installation) -> Self:
        """Open the sandbox ERP of this hub.

        Raises:
            Trouble: it has not been prepared.
        """
        return cls(sandbox.url_of(hub, "tryton"), sandbox.kept(hub, "tryton", "seed.json"))

    def wanted(self) -> Wanted:
        """The hub's connection to this ERP for customers, orders and products."""
        kept = ("database", "company", "web_shop", "warehouse", "payment_term", "uom", "currencies", "taxes")
        return Wanted(name="Sandbox ERP", kind="erp", adapter="tryton", config=self._config(*kept),
                      secrets=self._secrets, routes={"product": "pull", "customer": "push", "order": "both"})

    def wanted_mailing_list(self) -> Wanted:
        """The hub's connection to this ERP's mailing list."""
        return Wanted(name="Sandbox mailing list", kind="marketing", adapter="tryton_marketing",
                      config=self._config("database", "mailing_list"), secrets=self._secrets,
                      routes={"contact": "both"})

    def _config(self, *names: str) -> dict[str, Any]:
        # The sandbox listens on loopback, which the hub's outbound guard refuses unless a connection allows it.
        kept = {name: self.seed[name] for name in names}
        return kept | {"base_url": self.url, "allow_private": ["127.0.0.0/8"]}

    @property
    def _secrets(self) -> dict[str, str]:
        return {"rest_key": self.seed["rest_key"]}

    def sales(self, web_id: str) -> list[Sale]:
        """Return every sale that carries `web_id`."""
        found = self._read("sale.sale", [["web_id", "=", web_id]],
                           ["number", "state", "web_id", "party", "total_amount", "lines"])
        return [self._sale(row) for row in found]

    def party(self, id: int) -> dict[str, Any]:
        """Return a party's code and name."""
        return self._read("party.party", [["id", "=", id]], ["code", "name"])[0]

    def party_by_code(self, code: str) -> dict[str, Any] | None:
        """Return the party with this code, or None."""
        found = self.parties(code)
        return found[0] if found else None

    def parties(self, code: str) -> list[dict[str, Any]]:
        """Return every party with this code."""
        return self._read("party.party", [["code", "=", code]], ["code", "name"])

    def shipments(self, sale_id: int) -> list[dict[str, Any]]:
        """Return a sale's shipments with number and state, in the order they were made."""
        sale = self._read("sale.sale", [["id", "=", sale_id]], ["shipments"])[0]
        found = self._read("stock.shipment.out", [["id", "in", sale["shipments"]]], ["number", "state"])
        return sorted(found, key=lambda row: int(row["id"]))

    def subscriptions(self, email: str) -> list[dict[str, Any]]:
        """Return every row of the mailing list with this address, with whether it is on the list (`active`)."""
        return self._read("marketing.email", [["email", "=", email], ["list_", "=", self.seed["mailing_list"]]],
                          ["email", "active"])

    def _sale(self, row: Mapping[str, Any]) -> Sale:
        lines = self._read("sale.line", [["sale", "=", row["id"]]], ["product.code", "quantity", "unit_price"])
        told = tuple(f"{line['quantity']:g} x {line['product']['code']} at {_amount(line['unit_price'])}"
                     for line in lines)
        return Sale(row["id"], row["number"] or "", row["state"], row["web_id"], row["party"],
                    _amount(row["total_amount"]), told)

    def _read(self, model: str, domain: list[Any], fields: list[str]) -> list[dict[str, Any]]:
        asked = [("d", _encoded(domain)), ("s", "50"), *(("f", name) for name in fields)]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self._http.get(f"{self._root}/{model}", timeout=10, params=asked)
                answer.raise_for_status()
                rows: list[dict[str, Any]] = answer.json()
                return rows
            except requests.RequestException as error:
                if time.monotonic() > deadline:
                    text = f"the ERP does not answer ({type(error).__name__})"
                    raise Trouble(text, "hub status shows whether it runs") from error
            time.sleep(0.5)


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _amount(value: Any) -> str:
    return str(value["decimal"]) if isinstance(value, Mapping) else str(value)
