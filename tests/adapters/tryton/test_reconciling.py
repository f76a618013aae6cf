"""A reconciliation against the real ERP: what people there did to our parties is found and mended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hub_adapter.port import Context
from services.integrations.adapters.tryton.adapter import TrytonAdapter
from services.integrations.models import Conflict
from tests.support.erp import Erp
from tests.support.reconciled import KNOWN, reconciled
from tests.support.records import a_customer, as_write


def test_five_planted_faults_in_the_erp_are_found_and_mended_and_the_second_run_is_quiet(
    erp: Erp, adapter: TrytonAdapter, ctx: Callable[..., Context], tmp_path: Path
) -> None:
    with reconciled(tmp_path, "tryton", "customer", erp.config(), {"rest_key": erp.rest_key}) as side:
        customers = {(one := a_customer(name=f"对账 {n} {tmp_path.name}"))["id"]: one for n in range(KNOWN)}
        for one in customers.values():
            side.tell("created", one)
        side.settled()
        deleted, edited, doubled, stale = list(customers)[:4]
        party = {id: int(side.hub.binding(id).external_id or 0) for id in (deleted, edited, doubled, stale)}
        erp.ask(f"party.party/{party[deleted]}", method="DELETE")
        erp.ask(f"party.party/{party[edited]}", {"name": "改过了"}, method="PUT")
        [copy] = erp.ask("party.party/copy", {"parties": [party[doubled]]})
        erp.ask(f"party.party/{party[stale]}", method="DELETE")
        anew = adapter.write(ctx(), "customer", as_write(customers[stale])).external_id
        never_sent = side.tell("snapshot", a_customer(name=f"从未发送 {tmp_path.name}"))

        stopped, run = side.run(), side.run(vanished_most=1)

        assert (stopped.state, side.found(stopped)) == ("failed", {})
        assert f"1 of {KNOWN} records have vanished" in (stopped.error or "")
        assert run.state == "awaiting_approval", run.error
        found = side.found(run)
        assert {id: one.kind for id, one in found.items()} == {
            deleted: "missing_remote", edited: "mismatch", doubled: "duplicate_remote", never_sent: "missing_remote",
            stale: "stale_binding"}
        assert (found[edited].fields, found[doubled].external_id, found[stale].candidates) == (
            ["name"], str(copy), [anew])
        side.mend(run)

        codes = Counter(row["code"] for row in erp.rows("party.party", [["code", "in", side.ids]], "code"))
        assert codes == Counter(side.ids)
        assert erp.rows("party.party", [["id", "=", party[edited]]], "name")[0]["name"] == customers[edited]["name"]
        assert erp.rows("party.party", [["id", "=", copy]], "active")[0]["active"]  # nothing is deleted there
        assert [row.external_id for row in side.hub.rows(Conflict)] == [str(copy)]
        side.require_quiet()
