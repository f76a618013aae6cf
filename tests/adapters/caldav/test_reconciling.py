"""A reconciliation against the real task server: what people did to our tasks there is found and mended."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from chassis.database import new_id
from services.integrations.adapters.caldav.mapping import uid_of
from services.integrations.models import Binding, Conflict
from services.integrations.operations import accounts
from tests.service.integrations.conftest import ADMIN
from tests.support.radicale import TaskServer
from tests.support.reconciled import KNOWN, reconciled
from tests.support.records import a_task


def test_five_planted_faults_in_calendars_are_found_and_mended_and_the_second_run_is_quiet(
    home: TaskServer, account: str, tmp_path: Path
) -> None:
    ann, other = new_id(), f"{account}-2"
    with reconciled(tmp_path, "caldav", "task", home.config(), home.secrets) as side:
        with side.hub.db.write() as session:
            accounts.put(session, {"id": side.connection_id, "user_id": ann, "account": account}, by=ADMIN)
        ids = [side.tell("created", a_task(assignee_id=ann, title=f"对账 {n}")) for n in range(KNOWN)]
        side.settled()
        deleted, edited, doubled, stale = ids[:4]
        assert home.ask("DELETE", f"{account}/{uid_of(deleted)}.ics").ok
        home.change(account, uid_of(edited), ("SUMMARY:对账 1", "SUMMARY:改过了"))
        home.make_calendar(other)
        home.put(other, uid_of(doubled), home.text(account, uid_of(doubled)))
        with side.hub.db.write() as session:
            session.execute(sa.update(Binding).where(Binding.local_id == stale).values(external_id="as it once was"))
        never_sent = side.tell("snapshot", a_task(assignee_id=ann, title="从未发送"))

        stopped, run = side.run(), side.run(vanished_most=1)

        assert (stopped.state, side.found(stopped)) == ("failed", {})
        assert f"1 of {KNOWN} records have vanished" in (stopped.error or "")
        assert run.state == "awaiting_approval", run.error
        found = side.found(run)
        assert {id: one.kind for id, one in found.items()} == {
            deleted: "missing_remote", edited: "mismatch", doubled: "duplicate_remote", never_sent: "missing_remote",
            stale: "stale_binding"}
        assert (found[edited].fields, found[stale].candidates) == (["title"], [uid_of(stale)])
        side.mend(run)

        assert home.names(account) == {uid_of(id) for id in side.ids}
        assert "SUMMARY:对账 1\n" in home.text(account, uid_of(edited))
        assert home.names(other) == {uid_of(doubled)}  # nothing is deleted there
        assert [row.local_id for row in side.hub.rows(Conflict)] == [doubled]
        side.require_quiet()
