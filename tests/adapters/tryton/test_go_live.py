"""Going live beside an ERP that has had customers for years: the first sync makes exactly those that it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.database import new_id, utcnow
from services.integrations.engine import checks, leaseholders
from services.integrations.models import Binding, Connection, Finding
from services.integrations.operations import connections, credentials, findings, runs
from tests.service.integrations.conftest import ADMIN, Hub
from tests.support.erp import Erp
from tests.support.processes import eventually

PATIENCE_S = 240.0


@dataclass(frozen=True)
class Town:
    """Customers of ours, some of whom colleagues have written into the ERP long ago, each in their own way.

    Of every 40, 25 are there: 2 of them twice, 2 under a misspelt name and nothing else, 3 misspelt beside their phone.
    """

    customers: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, many: int) -> Town:
        mark = new_id()[-6:]
        return cls(tuple({"id": new_id(), "version": 1, "name": f"{_word(n)} {mark} Trading Co",
                          "phone": f"+86139{int(mark, 16) % 10_000:04}{n:04}", "email": f"buyer{n}@example.com",
                          "address": {"street": f"{n} Nanjing Rd", "city": "上海", "postal_code": "200000"}}
                         for n in range(many)))

    def there(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Yield how each that is there was written: what a person is to be told of it, the customer, and the party."""
        for n, customer in enumerate(self.customers):
            mobile = {"type": "mobile", "value": _spaced(customer["phone"])}
            match n % 40:
                case 0 | 1:
                    for name in (customer["name"], f"{customer['name']} (old)"):
                        yield "twice", customer, _party(name, mobile)
                case 2 | 3:
                    yield "misspelt", customer, _party(_misspelt(customer["name"]))
                case 4 | 5 | 6:
                    yield "known", customer, _party(_misspelt(customer["name"]), mobile)
                case m if m < 25:
                    yield "known", customer, _party(customer["name"].upper(), mobile,
                                                    {"type": "email", "value": customer["email"]})

    def missing(self) -> set[str]:
        return {customer["id"] for n, customer in enumerate(self.customers) if n % 40 >= 25}


def _word(n: int) -> str:
    return "".join(chr(ord("a") + n // 26**place % 26) * 2 for place in range(3)).title()


def _misspelt(name: str) -> str:
    return name.replace("Trading", "Tradnig")


def _spaced(phone: str) -> str:
    return f"{phone[:3]} {phone[3:6]}-{phone[6:10]} {phone[10:]}"


def _party(name: str, *contacts: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "contact_mechanisms": [["create", list(contacts)]] if contacts else []}


def connect(hub: Hub, erp: Erp) -> str:
    """A connection to the ERP, its route still a draft; as fast as the ERP bears for one client alone."""
    with hub.db.write() as session:
        made = connections.create(session, {"name": "erp", "adapter": "tryton", "config": erp.config()}, by=ADMIN)
        credentials.put(session, hub.keyring, {"id": made.id, "secrets": {"rest_key": erp.rest_key}}, by=ADMIN)
        session.execute(sa.update(Connection).where(Connection.id == made.id).values(rate_per_s=500, burst=500))
    checks.check(hub.db, hub.keyring, made.id, 20, by=ADMIN)
    return made.id


def matched(hub: Hub, connection_id: str, town: Town) -> None:
    """Match, read the preview as a person does, decide what is doubtful, and confirm."""
    run_id = hub.start_run(connection_id, "match")
    eventually(lambda: hub.the_run(run_id).state == "awaiting_approval", PATIENCE_S)
    told = {row.local_id: row for row in hub.rows(Finding, Finding.run_id == run_id)}
    expected = {customer["id"]: how for how, customer, _ in town.there()}
    assert Counter((expected.get(id, "missing"), finding.kind) for id, finding in told.items()).keys() == {
        ("known", "certain"), ("twice", "doubtful"), ("misspelt", "doubtful"), ("missing", "new")}
    with hub.db.write() as session:
        for id, how in expected.items():
            if how != "known":
                assert len(told[id].candidates) == (2 if how == "twice" else 1)
                findings.decide(session, {
                    "id": run_id, "finding_id": told[id].id, "expected_version": told[id].version, "decision": "link",
                    "external_id": told[id].candidates[0]}, by=ADMIN)
        runs.approve(session, {"id": run_id, "count": len(town.customers)}, utcnow(), by=ADMIN)
    eventually(lambda: hub.the_run(run_id).state == "completed", PATIENCE_S)


@pytest.mark.parametrize("many", [
    pytest.param(40, id="40"), pytest.param(800, id="800", marks=[pytest.mark.faults, pytest.mark.timeout(600)])])
def test_the_first_sync_makes_exactly_the_parties_that_are_missing(
    erp: Erp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(leaseholders, "LOOK_EVERY_S", 0.05)
    town, before = Town.of(many), len(parties(erp))
    rows = [party for _how, _customer, party in town.there()]
    for n in range(0, len(rows), 50):
        erp.ask("party.party/create", {"vlist": rows[n:n + 50]})
    hub = Hub(tmp_path, f"sqlite:///{tmp_path / 'integrations.sqlite'}", sweep_every_s=0.5)
    try:
        with hub.db.write() as session:
            hub.tell_rows(session, [(customer["id"], customer) for customer in town.customers])
        connection_id = connect(hub, erp)
        hub.run()
        hub.start(hub.engine.runner)
        matched(hub, connection_id, town)
        assert len(parties(erp)) == before + len(rows), "finding out what is there has made something"

        hub.route(connection_id, "customer")
        run_id = hub.start_run(connection_id, "backfill")
        eventually(lambda: hub.the_run(run_id).state == "completed", PATIENCE_S)
        eventually(lambda: hub.ledger(connection_id).open == 0, PATIENCE_S)

        ledger = hub.ledger(connection_id)
        assert (ledger.delivered, ledger.dead, ledger.balanced) == (many, 0, True)
        bound = {row.local_id: int(row.external_id) for row in hub.rows(Binding)}
    finally:
        hub.close()
    there = parties(erp)
    assert len(there) == before + len(rows) + len(town.missing())
    assert {row["code"] for row in there} & {customer["id"] for customer in town.customers} == town.missing()
    assert len(set(bound.values())) == many
    names = {row["id"]: row["name"] for row in there}
    assert [c["name"] for c in town.customers if names[bound[c["id"]]] != c["name"]] == []
    contacts = erp.rows("party.contact_mechanism", [["party", "in", sorted(bound.values())]], "party", "type", "value")
    assert Counter((row["party"], row["type"]) for row in contacts).most_common(1)[0][1] == 1, "a contact was doubled"


def parties(erp: Erp) -> list[dict[str, Any]]:
    return erp.rows("party.party", [], "code", "name")
