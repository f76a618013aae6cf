"""The adapter against the real ERP of deploy/sandbox/tryton, and the people who work in that or unsubscribe there."""

from __future__ import annotations

import base64
import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
import requests

from hub_adapter.conformance.system import Sample, System
from hub_adapter.port import Context, Write
from services.integrations.adapters.tryton_marketing.adapter import ENTITIES, TrytonMarketingAdapter
from tests.adapters.conftest import Lend
from tests.support.erp import Erp, kept_environment, running_erp

Open = Callable[..., Context]
BESIDE = """
import sys
from trytond.pool import Pool
from trytond.transaction import Transaction
Pool.start()
pool = Pool("erp")
pool.init()
with Transaction().start("erp", 0):
    Email = pool.get("marketing.email")
"""
"""The ERP's own code, as its web pages run it: beside the server, as no user in particular."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "adapters/tryton_marketing" in item.path.as_posix():
            item.add_marker(pytest.mark.tryton)


@pytest.fixture(scope="session")
def erp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erp]:
    with running_erp(tmp_path_factory.mktemp("erp")) as running:
        yield running


@dataclass(frozen=True)
class People:
    """What people do with the list, past the hub: a colleague signed in to the ERP, and a reader of the newsletter."""

    erp: Erp

    @cached_property
    def _session(self) -> str:
        password = json.loads((self.erp.state / "secrets.json").read_text())["admin"]
        user, session, *_ = self._called("", "common.db.login", "admin", {"password": password})
        return base64.b64encode(f"admin:{user}:{session}".encode()).decode()

    def _called(self, session: str, method: str, *params: Any) -> Any:
        headers = {"Authorization": f"Session {session}"} if session else {}
        reply = requests.post(
            f"{self.erp.url}/{self.erp.seed['database']}/rpc/",
            json={"id": 1, "method": method, "params": params},
            headers=headers,
            timeout=20,
        )
        told = reply.json()
        assert "error" not in told, told
        return told["result"]

    def switch(self, external_id: str, active: bool) -> None:
        """A colleague takes somebody off the list, or puts them back."""
        call = ("model.marketing.email.write", [int(external_id)], {"active": active}, {"active_test": False})
        self._called(self._session, *call)

    def subscribe(self, email: str) -> str:
        """A colleague types in an address."""
        values = {"email": email, "list_": self.erp.seed["mailing_list"]}
        (made,) = self._called(self._session, "model.marketing.email.create", [values], {})
        return str(made)

    def sign_up(self, email: str) -> str:
        """A reader leaves an address on a web page and has not confirmed it: what `request_subscribe` makes."""
        self._beside(f"Email(email=sys.argv[1], list_={self.erp.seed['mailing_list']}, active=False).save()", email)
        (row,) = self.rows(email=email)
        return str(row["id"])

    def unsubscribe(self, external_id: str) -> None:
        """A reader follows the link at the foot of a newsletter."""
        (row,) = self.rows(id=int(external_id))
        self._beside("assert Email.unsubscribe([sys.argv[1]])", row["email_token"])

    def _beside(self, statement: str, argument: str) -> None:
        command = [kept_environment() / "bin" / "python", "-c", f"{BESIDE}    {statement}", argument]
        environ = {"TRYTOND_CONFIG": str(self.erp.state / "trytond.conf"), "PYTHONUTF8": "1"}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def rows(self, **clauses: Any) -> list[dict[str, Any]]:
        """Rows of the list, those off it too."""
        domain = [[name, "=", value] for name, value in clauses.items()]
        return self.erp.rows("marketing.email", domain, "email", "active", "email_token")


@pytest.fixture
def people(erp: Erp) -> People:
    return People(erp)


@pytest.fixture
def system(erp: Erp, people: People) -> System:
    """The list as the conformance kit is told of it."""
    kept = ("base_url", "database", "allow_private")
    return System(
        config={name: erp.config()[name] for name in kept} | {"mailing_list": erp.seed["mailing_list"]},
        secrets={"rest_key": erp.rest_key},
        samples={entity: Sample(make=new_person) for entity in ENTITIES},
        count=lambda entity, cmd: len(people.rows(email=cmd.body["email"])),
        nowhere="999999999",
    )


def new_person() -> Write:
    """Somebody with consent and an address that is on no list yet."""
    id = str(uuid.uuid4())
    consent = {"email": {"state": "granted", "at": "2020-01-01T00:00:00.000Z"}}
    body = {"id": id, "email": f"{id}@example.com", "consent": consent}
    return Write(local_id=id, body=body, idempotency_key=f"k-{id}", source_version=1)


@pytest.fixture
def adapter() -> TrytonMarketingAdapter:
    return TrytonMarketingAdapter()


@pytest.fixture
def ctx(erp: Erp, lend: Lend) -> Open:
    """Opens a context as the engine does: `ctx()`, `ctx(dry_run=True)`, `ctx(base_url=…, rest_key=…)`."""

    def opened(*, dry_run: bool = False, rest_key: str | None = None, **changed: Any) -> Context:
        kept = ("base_url", "database", "allow_private")
        config = {name: erp.config()[name] for name in kept} | {"mailing_list": erp.seed["mailing_list"]} | changed
        return lend(config, {"rest_key": rest_key or erp.rest_key}, dry_run=dry_run, read_timeout_s=8)

    return opened


@pytest.fixture
def email() -> str:
    """An address that is on no list yet."""
    return f"{uuid.uuid4().hex}@example.com"
