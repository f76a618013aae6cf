"""docs/guides/when-a-record-did-not-arrive.md is true: its commands lead from an order's number to its arrival."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from chassis.database import utcnow
from hub.cli import app
from tests.flows.people import administrator
from tests.flows.test_brought_together import made, ordered
from tests.service.gateway.running import Hub
from tests.support import fake_target
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.processes import eventually

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "guides"
GUIDE = (GUIDES / "when-a-record-did-not-arrive.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = [line.partition("#")[0].split() for line in BLOCK.findall(GUIDE)[0].splitlines()]
REQUESTS = BLOCK.findall(GUIDE)[1].splitlines()
PHONE, STREET = "+8613800138000", "南京路 1 号"


def remedy(told: str) -> str:
    """What the guide says to do where `hub why` tells this."""
    rows = [line.strip("|").split(" | ") for line in GUIDE.splitlines() if line.startswith("| ")]
    return next(row[2].strip() for row in rows if told in row[0])


@pytest.fixture
def target() -> Iterator[FakeTarget]:
    yield from fake_target.running()


class Site:
    """An operator with the guide in hand, at a hub whose orders go to one system."""

    def __init__(self, hub: Hub, target: FakeTarget, adapter: str) -> None:
        self.hub, self.admin, self.target = hub, administrator(hub), target
        self.key = made(self.admin, "/api-keys", {"name": f"why-{uuid4()}"})["key"]
        self.close()  # what other tests have left would be asked about these orders too
        self.connection = made(self.admin, "/connections", {"name": f"System {uuid4()}", "adapter": adapter,
                                                           "config": target.config})["id"]
        self.ask("PUT", f"/connections/{self.connection}/credential", {"secrets": {"key": GOOD_KEY}})
        self.ask("POST", f"/connections/{self.connection}/check")
        self.ask("POST", f"/connections/{self.connection}/resume")
        for entity in ("customer", "order"):
            route = made(self.admin, "/routes", {"connection_id": self.connection, "entity": entity,
                                                "direction": "push"})
            self.ask("POST", f"/routes/{route['id']}/activate")

    def close(self) -> None:
        """Let nothing go anywhere."""
        for route in self.ask("GET", "/routes?limit=200")["items"]:
            if route["state"] == "active":
                self.ask("POST", f"/routes/{route['id']}/deactivate")

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self.admin.ask(method, path, body, Idempotency_Key=str(uuid4()))
        assert answer.ok, f"{method} {path}: {answer.text}"
        told: dict[str, Any] = answer.json() if answer.content else {}
        return told

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run one command of the guide; return its exit code and what it printed."""
        address = self.hub.url.removeprefix("http://")
        environ = {"HUB_HOME": str(self.hub.home), "GATEWAY_LISTEN": address, "HUB_API_KEY": self.key}
        done = CliRunner().invoke(app, list(arguments), env=environ)
        return done.exit_code, done.output

    def shell(self, line: str, **names: str) -> Any:
        """Run one line of the guide with what it calls by name; return the document that was answered."""
        environ = {"PATH": os.environ["PATH"], "HUB": self.hub.url, "HUB_API_KEY": self.key, **names}
        done = subprocess.run(["bash", "-c", line], env=environ, capture_output=True, check=True, timeout=30)
        return json.loads(done.stdout)

    def order(self, *, confirmed: bool = True, **more: Any) -> dict[str, Any]:
        order = ordered(self.hub, self.admin, **more)
        return self.ask("POST", f"/orders/{order['id']}/confirm") if confirmed else order

    def told(self, order: dict[str, Any], words: str) -> dict[str, Any]:
        """Wait until `hub why` says so, in both languages; return the delivery that it tells of."""
        said: list[tuple[int, str]] = []

        def tells() -> bool:
            said.append(self.run("why", order["number"]))
            return words in said[-1][1]

        eventually(tells, 60, every_s=0.2)
        code, text = said[-1]
        assert code == 3
        assert order["number"] in text
        assert re.search("→ [A-Z]", text)
        assert re.search("→ .*[\u4e00-\u9fff]", text)
        document = json.loads(self.run("why", order["id"], "--json")[1])
        assert document["deliveries"] == self.ask("GET", f"/orders/{order['id']}/deliveries")["deliveries"]
        return next(iter(document["deliveries"]["items"]), {})

    def arrives(self, order: dict[str, Any]) -> None:
        eventually(lambda: self.run("why", order["number"])[0] == 0, 60, every_s=0.2)
        assert [row.key for row in self.target.of("order")] == [order["id"]]


@pytest.fixture
def site(all_rooms: Hub, target: FakeTarget, request: pytest.FixtureRequest) -> Iterator[Site]:
    site = Site(all_rooms, target, getattr(request, "param", "fake"))
    yield site
    site.close()


def test_three_commands_lead_from_the_number_of_a_refused_order_to_its_arrival(site: Site) -> None:
    site.target.fail(method="POST", entity="order", status=422, message="no product SKU-9")
    order = site.order()
    delivery = site.told(order, "dead (invalid)  the target answered 422: no product SKU-9")
    names = {"SO-2026-000012": order["number"], "DELIVERY": delivery["id"]}
    why, retry, again = [[names.get(word, word) for word in command[1:]] for command in COMMANDS]
    assert "no product SKU-9" in site.run(*why, "--calls")[1].partition("  call ")[2]
    assert "hub retry DELIVERY" in remedy("dead (invalid)")
    assert site.run(*retry)[0] == 0
    site.arrives(order)
    assert site.run(*again)[0] == 0
    assert site.run(*retry)[0] == 0, "sent again once, however often it is asked"
    assert len(site.ask("GET", f"/orders/{order['id']}/deliveries")["deliveries"]["items"]) == 2


def test_three_requests_do_the_same_over_http_and_show_nobodys_number_and_no_secret(site: Site) -> None:
    site.target.fail(method="POST", entity="order", status=422, message=f"{PHONE} is unknown; key {GOOD_KEY}")
    order = site.order(ship_to={"recipient": "Li Na", "phone": PHONE, "street": STREET, "city": "上海"})
    site.told(order, "is unknown")
    number, deliveries, retry = REQUESTS
    [found] = site.shell(number, NUMBER=order["number"])["items"]
    [fate] = site.shell(deliveries, ORDER=found["id"])["deliveries"]["items"]
    [call] = fate["tries"]
    for sent in ('"phone": "+86138****8000"', '"street": "***"', '"city": "上海"'):
        assert sent in call["request_preview"]
    assert "+86138****8000 is unknown; key [redacted]" in call["response_preview"]
    shown = json.dumps(fate, ensure_ascii=False)
    assert [one for one in (PHONE[3:], STREET, GOOD_KEY) if one in shown] == []
    assert site.shell(retry, DELIVERY=fate["id"])["local_id"] == order["id"]
    site.arrives(order)


def test_an_order_whose_customer_was_refused_shows_both_and_both_are_sent_again(site: Site) -> None:
    refusal = site.target.fail(method="POST", entity="customer", times=10**6, status=422, message="no tax number")
    order = site.order()
    delivery = site.told(order, "dead (dependency_missing)")
    assert "no tax number" in delivery["needs"]["reason"]
    assert "`hub retry` its delivery; then `hub retry` the order's" in remedy("dead (dependency_missing)")
    refusal.times = 0
    assert site.run("retry", delivery["needs"]["id"])[0] == 0
    assert site.run("retry", delivery["id"])[0] == 0
    site.arrives(order)


@pytest.mark.parametrize("site", ["fake_blind"], indirect=True)
def test_an_order_of_which_nobody_knows_is_looked_for_by_a_person_and_sent_again(site: Site) -> None:
    site.target.fail(method="POST", entity="order", drop="before")
    order = site.order()
    delivery = site.told(order, "dead (unresolvable)")
    assert "look there" in remedy("dead (unresolvable)")
    assert site.target.of("order") == []
    assert site.run("retry", delivery["id"])[0] == 0
    site.arrives(order)


@pytest.mark.parametrize("site", ["fake_blind"], indirect=True)
def test_an_order_that_a_person_has_found_there_is_not_made_twice(site: Site) -> None:
    site.target.fail(method="POST", entity="order", drop="after")
    order = site.order()
    delivery = site.told(order, "dead (unresolvable)")
    [row] = site.target.of("order")
    bind, retry = re.findall("`hub (.*?)`", remedy("dead (unresolvable)"))
    names = {"DELIVERY": delivery["id"], "EXTERNAL_ID": row.id, "TEXT": "its number is on it"}
    for command in (bind, retry):
        assert site.run(*(names.get(word, word) for word in command.split()))[0] == 0
    site.arrives(order)


def test_an_order_in_doubt_asks_nobody_for_anything(site: Site) -> None:
    def fall_silent(_line: object) -> None:
        site.target.fail(method="GET", entity="order", times=10**6, status=500)

    site.target.fail(method="POST", entity="order", instead=fall_silent)
    assert "asked whether" in site.told(site.order(), "in_doubt")["next_step"]["en"]
    assert remedy("in_doubt") == "nothing"


def test_an_order_at_a_paused_connection_goes_on_when_that_is_resumed(site: Site) -> None:
    site.ask("POST", f"/connections/{site.connection}/pause", {"reason": "the ERP is moved"})
    order = site.order()
    assert "paused by a person" in site.told(order, "pending")["next_step"]["en"]
    [command] = re.findall("`hub (.*?)`", remedy("and the connection is paused"))
    assert site.run(*command.replace("CONNECTION", site.connection).split())[0] == 0
    site.arrives(order)


def test_an_order_confirmed_while_its_connection_was_stopped_is_brought_as_the_answer_says(site: Site) -> None:
    assert site.run("connections", "stop", site.connection)[0] == 0
    order = site.order()
    site.told(order, "the connection is stopped")
    for command in re.findall("`hub (connections resume .*?|runs start .*?)`", remedy("nothing was accepted")):
        assert site.run(*command.replace("CONNECTION", site.connection).split())[0] == 0
    eventually(lambda: site.run("why", order["number"])[0] == 0, 60, every_s=0.2)
    assert [row.key for row in site.target.of("order")].count(order["id"]) == 1


def test_a_terminal_tells_what_waits_what_was_called_off_and_what_the_system_does_not_let_go(site: Site) -> None:
    def says(*command: str, code: int = 0) -> str:
        told = site.run(*command)
        assert told[0] == code, told[1]
        return told[1]

    site.ask("POST", f"/connections/{site.connection}/pause")
    order = site.order()
    id = site.told(order, "pending")["id"]
    waiting = ("deliveries", "list", "--connection", site.connection, "--state", "pending", "--entity", "order")
    assert says(*waiting).splitlines()[1].split()[:5] == [id, "order", order["id"], "upsert", "pending"]
    assert says("deliveries", "cancel", id) == f"upsert order {order['id']}  cancelled\n"
    assert says("deliveries", "show", id).splitlines()[0].endswith("  cancelled")
    assert id not in says(*waiting)

    def accounts(accepted: int, delivered: int, dead: int, left: int) -> bool:
        return says("connections", "ledger", site.connection).splitlines() == [
            f"accepted {accepted} = {delivered} delivered + 0 skipped + 0 superseded + {dead} dead + 1 cancelled + "
            f"{left} open", "adds up 账目相符"]

    eventually(lambda: accounts(accepted=2, delivered=0, dead=0, left=1))
    site.ask("POST", f"/connections/{site.connection}/resume")

    order = site.order()
    site.arrives(order)
    conflicts = ("conflicts", "list", "--connection", site.connection)
    assert says(*conflicts) == ""
    site.target.fail(method="DELETE", entity="order", status=422, message="its goods are picked")
    site.ask("POST", f"/orders/{order['id']}/cancel", {"reason": "changed"})
    eventually(lambda: site.run(*conflicts)[0] == 3)
    opened, reason = says(*conflicts, code=3).splitlines()
    assert opened.split()[:3] == ["delete_refused", "order", order["id"]]
    assert reason.strip() == "the target answered 422: its goods are picked"
    eventually(lambda: accounts(accepted=5, delivered=3, dead=1, left=0))


def test_a_terminal_asks_a_system_for_what_is_new_there(site: Site) -> None:
    def comes_in(sku: str) -> None:
        eventually(lambda: len(site.ask("GET", f"/products?sku={sku}")["items"]) == 1)

    sku = stocked(site.target)
    route = made(site.admin, "/routes", {"connection_id": site.connection, "entity": "product", "direction": "pull"})
    site.ask("POST", f"/routes/{route['id']}/activate")
    comes_in(sku)
    sku = stocked(site.target)
    assert site.run("connections", "pull", site.connection) == (0, "asked for 已请求: product\n")
    comes_in(sku)


def stocked(target: FakeTarget) -> str:
    """Put a product there; return its SKU."""
    sku = f"S-{uuid4().hex[:8]}"
    target.put("product", sku, {"sku": sku, "name": "A", "currency": "CNY", "as_of": utcnow().isoformat()})
    return sku


def test_a_draft_says_that_it_was_never_to_go_anywhere(site: Site) -> None:
    order = site.order(confirmed=False)
    assert site.told(order, "Confirm it") == {}
    assert remedy("nothing was accepted").startswith("confirm it")


def test_a_number_that_nobody_knows_and_a_delivery_that_is_not_dead_get_a_clear_answer(site: Site) -> None:
    assert "there is no order" in site.run("why", "SO-1999-000001")[1]
    assert site.run("retry", "no id")[0] == 1


def test_the_chinese_page_has_the_same_commands() -> None:
    chinese = (GUIDES / "when-a-record-did-not-arrive.zh-CN.md").read_text(encoding="utf-8")
    assert [re.sub("#.*", "", block) for block in BLOCK.findall(chinese)] == [
        re.sub("#.*", "", block) for block in BLOCK.findall(GUIDE)]
    assert chinese.count("\n| ") == GUIDE.count("\n| ")
