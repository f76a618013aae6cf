"""Runs as somebody runs them: started over HTTP or with `hub runs`, looked through, approved, and at their end."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from hub import runs
from hub.cli import app
from services.integrations.models import Record
from tests.flows.people import Client, administrator, hire
from tests.service.gateway.running import Hub
from tests.support import fake_target
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.processes import eventually


class Site:
    """A hub whose administrator has joined a system that nobody has told of any customer."""

    def __init__(self, hub: Hub, target: FakeTarget, adapter: str) -> None:
        self.hub, self.target, self.admin = hub, target, administrator(hub)
        self.name = f"runs {uuid.uuid4().hex[:8]}"
        self.customer = self.made("/customers", {"name": self.name, "wechat_id": self.name})["id"]
        eventually(self._is_known)
        self.connection = self.made("/connections", {"name": self.name, "adapter": adapter,
                                                     "config": target.config})["id"]
        self.admin.ask("PUT", f"/connections/{self.connection}/credential", {"secrets": {"key": GOOD_KEY}})
        assert self.admin.ask("POST", f"/connections/{self.connection}/check").json()["ok"]
        self.route = self.made("/routes", {"connection_id": self.connection, "entity": "customer",
                                           "direction": "push"})["id"]
        assert self.admin.ask("POST", f"/routes/{self.route}/activate").status_code == 200

    def _is_known(self) -> bool:
        """Tell whether the integrations service has heard of the customer."""
        engine = sa.create_engine(f"sqlite:///{self.hub.home}/db/integrations.sqlite", poolclass=sa.NullPool)
        with Session(engine) as session:
            return session.get(Record, ("customer", self.customer)) is not None

    def made(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.admin.ask("POST", path, body, Idempotency_Key=str(uuid.uuid4()))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def changed(self, path: str, body: dict[str, Any]) -> None:
        version = self.admin.ask("GET", path).json()["version"]
        assert self.admin.ask("PATCH", path, body, If_Match=f'"{version}"').status_code == 200

    def deliveries(self, state: str) -> list[str]:
        """Whose deliveries to this system are in a state."""
        path = f"/deliveries?connection_id={self.connection}&state={state}"
        return sorted(one["local_id"] for one in self.admin.ask("GET", path).json()["items"])

    def verb(self, *arguments: str) -> Any:
        """Run `hub runs` as this administrator; return its exit code and its document."""
        environ = {"HUB_HOME": str(self.hub.home), "GATEWAY_LISTEN": self.hub.url.removeprefix("http://"),
                   "HUB_API_KEY": self.admin.headers["Authorization"].removeprefix("Bearer ")}
        done = CliRunner().invoke(app, ["runs", *arguments, "--json"], env=environ)
        return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def site(all_rooms: Hub, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site whose target is spoken to by the fake adapter, or by the one that the test asks for."""
    monkeypatch.setattr(runs, "LOOK_EVERY_S", 0.1)
    for target in fake_target.running():
        made = Site(all_rooms, target, getattr(request, "param", "fake"))
        yield made
        assert made.admin.ask("POST", f"/routes/{made.route}/deactivate").status_code == 200
        assert made.admin.ask("POST", f"/connections/{made.connection}/pause").status_code == 200


def test_a_backfill_started_over_http_brings_what_was_there_before_the_connection(site: Site) -> None:
    path = f"/connections/{site.connection}/runs"
    refused = site.admin.ask("POST", path, {"kind": "backfill", "entity": "customer"}, Accept_Language="zh-CN",
                             Idempotency_Key="backfill")
    assert (refused.status_code, refused.json()["details"]["needs"]) == (409, "without_matching")
    assert "without_matching" in refused.json()["detail"]

    code, dry = site.verb("start", "dry_run", site.name, "customer", "--filter",
                          f'local_ids=["{site.customer}"]', "--watch")
    assert (code, dry["counts"]) == (0, {"create": 1, "seen": 1})
    assert site.target.calls("POST") == []
    code, found = site.verb("findings", dry["id"])
    assert code == 0, found
    assert [(one["kind"], one["local_id"]) for one in found["findings"]] == [("create", site.customer)]

    asked = {"kind": "backfill", "entity": "customer", "reason": "the system is empty",
             "options": {"without_matching": True}}
    assert site.admin.ask("POST", path, asked).json()["code"] == "idempotency_key_required"
    started = site.admin.ask("POST", path, asked, Idempotency_Key=str(uuid.uuid4()))
    assert (started.status_code, started.headers["Location"]) == (201, f"/api/v1/runs/{started.json()['id']}")
    code, ended = site.verb("watch", started.json()["id"])
    assert (code, ended["state"], ended["percent"]) == (0, "completed", 100.0)
    eventually(lambda: [row.key for row in site.target.of("customer")].count(site.customer) == 1)
    code, told = site.verb("cancel", ended["id"])
    assert (code, told["ok"]) == (1, False)
    assert [run["id"] for run in site.verb("list", "--connection", site.name)[1]["runs"]] == [ended["id"], dry["id"]]


@pytest.mark.parametrize("site", ["fake_listed"], indirect=True)
def test_a_matching_is_looked_through_and_approved_with_its_count_before_anything_is_bound(site: Site) -> None:
    theirs = site.target.put("customer", "K-1", {"name": site.name})
    code, run = site.verb("start", "match", site.name, "customer", "--watch")
    assert (code, run["state"], run["counts"]["doubtful"]) == (0, "awaiting_approval", 1)
    _code, found = site.verb("findings", run["id"], "--kind", "doubtful")
    [finding] = found["findings"]
    assert (finding["local_id"], finding["candidates"]) == (site.customer, [theirs.id])
    assert site.verb("decide", run["id"], finding["id"], "link")[0] == 0
    _code, asking = site.verb("watch", run["id"])
    assert asking["to_confirm"] == run["to_confirm"] + 1

    code, refused = site.verb("approve", run["id"], "--count", str(run["to_confirm"]))
    assert (code, refused["ok"]) == (1, False)
    assert site.verb("approve", run["id"], "--count", str(asking["to_confirm"]))[0] == 0
    code, ended = site.verb("watch", run["id"])
    assert (code, ended["state"], ended["counts"]["linked"]) == (0, "completed", 1)

    name = f"{site.name} moved"
    site.changed(f"/customers/{site.customer}", {"name": name})
    eventually(lambda: site.target.rows[theirs.id].body["name"] == name)
    assert site.customer not in [row.key for row in site.target.of("customer")], "it was made a second time"


def test_a_replay_tells_how_far_it_is_while_its_connection_pauses_and_is_called_off_asking_or_sending(
    site: Site
) -> None:
    connection = f"/connections/{site.connection}"
    site.target.fail(method="POST", status=422, times=3)
    dead = sorted(site.made("/customers", {"name": site.name, "wechat_id": f"{site.name} {n}"})["id"] for n in "abc")
    eventually(lambda: site.deliveries("dead") == dead)
    site.changed(connection, {"rate_per_s": 0.4})  # a replay takes a quarter of it: one in ten seconds

    code, asking = site.verb("start", "replay", site.name, "customer", "--filter", "error_class=invalid", "--watch")
    assert (code, asking["state"], asking["to_confirm"]) == (0, "awaiting_approval", 3)
    assert site.verb("cancel", asking["id"])[1]["state"] == "cancelled"
    assert site.deliveries("dead") == dead

    body = {"kind": "replay", "entity": "customer", "filter": {"error_class": "invalid"}}
    run = f"/runs/{site.made(f'{connection}/runs', body)['id']}"
    eventually(lambda: site.admin.ask("GET", run).json()["state"] == "awaiting_approval")
    approved = site.admin.ask("POST", f"{run}/approve", {"count": 3}, Idempotency_Key=str(uuid.uuid4()))
    assert approved.status_code == 200
    eventually(lambda: "seen" in site.admin.ask("GET", run).json()["counts"])
    assert site.admin.ask("POST", f"{connection}/pause").status_code == 200
    going = site.admin.ask("GET", run).json()
    assert (going["state"], 0 < going["percent"] < 100, going["seconds_left"] >= 10) == ("running", True, True)
    called_off = site.admin.ask("POST", f"{run}/cancel", Idempotency_Key=str(uuid.uuid4())).json()
    assert (called_off["state"], called_off["seconds_left"]) == ("cancelled", None)
    assert site.admin.ask("POST", f"{connection}/resume").status_code == 200
    sent = called_off["counts"]["seen"]
    eventually(lambda: site.deliveries("delivered") == dead[:sent])

    site.changed(connection, {"rate_per_s": 1000})
    _code, rest = site.verb("start", "replay", site.name, "customer", "--watch")
    assert site.verb("approve", rest["id"], "--count", str(3 - sent))[0] == 0
    assert site.verb("watch", rest["id"])[1]["counts"]["accepted"] == 3 - sent
    eventually(lambda: site.deliveries("delivered") == dead)


@pytest.mark.parametrize("site", ["fake_listed"], indirect=True)
def test_a_reconciliation_mends_what_a_person_confirms_and_finds_nothing_the_next_time(site: Site) -> None:
    start = ("start", "backfill", site.name, "customer", "--option", "without_matching=true", "--reason", "new there")
    assert site.verb(*start, "--watch")[1]["state"] == "completed"
    eventually(lambda: site.admin.ask("GET", f"/connections/{site.connection}/ledger").json()["open"] == 0)
    [there] = [row for row in site.target.of("customer") if row.key == site.customer]
    site.target.put("customer", site.customer, {**there.body, "name": "theirs"})

    code, asking = site.verb("start", "reconcile", site.name, "customer", "--watch")
    assert (code, asking["state"], asking["to_confirm"]) == (0, "awaiting_approval", 1)
    [finding] = site.verb("findings", asking["id"])[1]["findings"]
    assert (finding["kind"], finding["local_id"], finding["fields"]) == ("mismatch", site.customer, ["name"])
    assert (finding["detail"]["ours"], finding["detail"]["theirs"]) == ({"name": site.name}, {"name": "theirs"})
    assert site.verb("approve", asking["id"], "--count", "1")[0] == 0
    assert site.verb("watch", asking["id"])[1]["counts"]["repair"] == 1
    eventually(lambda: site.target.rows[there.id].body["name"] == site.name)

    eventually(lambda: site.admin.ask("GET", f"/connections/{site.connection}/ledger").json()["open"] == 0)
    code, quiet = site.verb("start", "reconcile", site.name, "customer", "--watch")
    assert (code, quiet["state"], quiet["counts"].get("mismatch", 0)) == (0, "completed", 0)


def test_whoever_may_not_operate_runs_neither_starts_nor_sees_them(site: Site) -> None:
    stranger: Client = hire(site.hub, f"runs-{uuid.uuid4().hex[:8]}", "sales")
    asked = {"kind": "dry_run", "entity": "customer"}
    path = f"/connections/{site.connection}/runs"
    assert stranger.ask("POST", path, asked, Idempotency_Key="mine").status_code == 403
    assert stranger.ask("GET", "/runs").status_code == 403
