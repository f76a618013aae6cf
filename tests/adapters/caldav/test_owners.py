"""Field ownership against the real task server: what both sides change, and a person decides."""

from __future__ import annotations

from pathlib import Path

from chassis.database import new_id
from services.integrations.adapters.caldav.mapping import uid_of
from services.integrations.models import Conflict
from services.integrations.operations import accounts
from tests.service.integrations.conftest import ADMIN
from tests.service.integrations.test_conflicts import decide
from tests.service.integrations.test_owners import settle
from tests.service.integrations.test_two_ways import poll, told
from tests.support.radicale import TaskServer
from tests.support.reconciled import reconciled
from tests.support.records import a_task


def test_a_title_changed_here_and_there_is_left_alone_until_somebody_decides_and_other_fields_go_on(
    home: TaskServer, account: str, tmp_path: Path
) -> None:
    ann = new_id()
    with reconciled(tmp_path, "caldav", "task", home.config(), home.secrets, "both") as side:
        with side.hub.db.write() as session:
            accounts.put(session, {"id": side.connection_id, "user_id": ann, "account": account}, by=ADMIN)
        settle(side.hub, side.connection_id, owners={"title": "manual"})
        task = a_task(assignee_id=ann, title="回访")
        uid = uid_of(side.tell("created", task))
        side.settled()

        home.change(account, uid, ("SUMMARY:回访", "SUMMARY:他们的"))
        side.tell("updated", task | {"version": 2, "title": "我们的", "progress": 50})
        side.settled()

        [conflict] = side.hub.rows(Conflict)
        assert (conflict.code, conflict.fields, conflict.local_id) == ("changed_on_both_sides", ["title"], task["id"])
        assert "SUMMARY:他们的\n" in home.text(account, uid)
        assert "PERCENT-COMPLETE:50\n" in home.text(account, uid)
        home.change(account, uid, (":他们的", ":还是他们的"), ("PERCENT-COMPLETE:50", "PERCENT-COMPLETE:80"))
        poll(side.hub, side.connection_id)
        assert [(one["changed"], one["record"]["progress"]) for one in told(side.hub)] == [(["progress"], 80)]

        decide(side.hub, "keep_local")
        side.settled()
        assert "SUMMARY:我们的\n" in home.text(account, uid)
