"""The ERP of the demo as its own users see it: read over its own API, never through the hub."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import requests

from hub.installation import ROOT, Installation
from hub.trouble import Trouble

PATIENCE_S = 30.0
"""How long a restart of the ERP may take before its reader gives up."""
SANDBOX = ROOT / "deploy" / "sandbox" / "tryton" / "sandbox.py"


def prepare(hub: Installation) -> None:
    """Install the sandbox ERP and its data, once; its own progress goes to the terminal.

    Raises:
        Trouble: it cannot be installed.
    """
    done = subprocess.run([sys.executable, str(SANDBOX), "prepare"], check=False, stdout=sys.stderr,
                          env={**os.environ, "HUB_HOME": str(hub.home)})
    if done.returncode:
        raise Trouble("the sandbox ERP could not be prepared", "the line above says why; then run hub demo again")


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
        file = hub.home / "sandbox" / "tryton" / "seed.json"
        try:
            seed = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            text = f"the sandbox ERP has no readable {file.name}"
            raise Trouble(text, "run hub demo again: it prepares it") from error
        port = next(iter(hub.ports(hub.programs["tryton"])))
        return cls(f"http://127.0.0.1:{port}", seed)

    def connection(self) -> dict[str, Any]:
        """What a hub connection to this ERP is configured with; the key is given apart."""
        seed = self.seed
        config = {name: seed[name] for name in ("database", "company", "web_shop", "warehouse", "payment_term", "uom",
                                                "currencies", "taxes")}
        # The sandbox listens on loopback, which the hub's outbound guard refuses unless a connection allows it.
        return config | {"base_url": self.url, "allow_private": ["127.0.0.0/8"]}

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
