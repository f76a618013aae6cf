"""A phone number, an email address and a credential go every way through a hub on PostgreSQL, in clear nowhere.

The flow on SQLite is in test_one_order.py. Here the refused, the dead, the parked and the failed are on the way as
well, and PostgreSQL logs the statements that fail, as it does unless told otherwise.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests
from eventlet import GreenPool

from tests.service.gateway.running import Hub
from tests.support import fake_target
from tests.support.broker import Management, Vhost
from tests.support.fake_target import GOOD_KEY, FakeTarget
from tests.support.in_clear import files_below, found_in, spellings
from tests.support.plugged import plug_in
from tests.support.postgres import Postgres, private_cluster
from tests.support.processes import Processes, eventually
from tests.support.rooms import SERVICES

PHONE, EMAIL = "+8613794613258", "Ping.Lantz@planted.example"
SIGNS = spellings(PHONE, EMAIL, GOOD_KEY)
REACHABLE = {"phone": PHONE, "email": EMAIL}
PARKED = "evt.integrations.customer_created.customers.customer.created.v1.dead"


@dataclass
class Site:
    """A hub on PostgreSQL, everything it writes to, and the system it sends to."""

    hub: Hub
    postgres: Postgres
    broker: Management
    vhost: Vhost
    target: FakeTarget
    place: str = ""
    """Where the connection to that system is told of."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """Databases with their journal and log, broker, keys and the log of every process."""
        return self.postgres.directory, Path(self.broker.node.directory), self.hub.home

    def open(self, room: str) -> Any:
        """Open a room's database past the hub."""
        return psycopg2.connect(host="127.0.0.1", port=self.postgres.port, user=self.postgres.superuser, dbname=room)

    def found(self) -> dict[str, set[str]]:
        """Search every file."""
        self.postgres.execute("CHECKPOINT")
        files = list(files_below(*self.folders))
        assert {"server.log", "pg_wal", "base"} <= {part for file in files for part in file.parts}
        return found_in(files, SIGNS)

    @contextlib.contextmanager
    def locked(self, room: str, *tables: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
        """Hold tables, so that the hub's statements on them fail and PostgreSQL logs them."""
        with contextlib.closing(self.open(room)) as connection, connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"LOCK TABLE {table} IN {mode} MODE")
            yield
            connection.rollback()


@pytest.fixture(scope="module")
def site(broker: Management, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub whose every way the planted values have gone."""
    broker.start()
    vhost, home = broker.create_vhost(), tmp_path_factory.mktemp("hub")
    processes = Processes(home)
    with private_cluster() as postgres, contextlib.contextmanager(fake_target.running)() as target:
        for room in SERVICES:
            postgres.execute(f"CREATE DATABASE {room}")
        settings = {f"DB_URI_{room.upper()}": postgres.uri(room) for room in SERVICES}
        settings |= {"PYTHONPATH": plug_in(tmp_path_factory.mktemp("plugged")), "DELIVERY_LIMIT_INTEGRATIONS": "2",
                     "EVENT_PAUSE_S_INTEGRATIONS": "0.05"}
        hub = Hub(home, vhost.amqp_uri, processes, settings=settings)
        made = Site(hub, postgres, broker, vhost, target)
        try:
            hub.start(*SERVICES)
            travel(made)
            yield made
        finally:
            processes.stop_all()
            broker.delete_vhost(vhost.name)


def travel(site: Site) -> None:
    """Send the planted values every way there is."""
    connect(site)
    first = made(site, "Planted")
    site.hub.post("/contacts", {"customer_id": first["id"], "name": "P", **REACHABLE}).raise_for_status()
    changed = {"phone": None, "email": f"2{EMAIL}"}
    site.hub.patch(f"/customers/{first['id']}", changed, headers={"If-Match": '"1"'}).raise_for_status()
    ask_for(site)
    be_refused(site)
    die_at_the_target(site)
    be_parked(site)
    fail_in_the_database(site, first["id"])


def connect(site: Site) -> None:
    body = {"name": "Fake", "adapter": "fake", "config": site.target.config}
    connection = site.hub.post("/connections", body).json()
    site.place = place = f"/connections/{connection['id']}"
    put_credential(site).raise_for_status()
    assert site.hub.post(f"{place}/check").json()["ok"]
    if site.hub.get(place).json()["desired_state"] != "active":
        site.hub.post(f"{place}/resume").raise_for_status()
    for entity in ("customer", "order"):
        route = site.hub.post("/routes", {"connection_id": connection["id"], "entity": entity, "direction": "push"})
        site.hub.post(f"/routes/{route.json()['id']}/activate").raise_for_status()


def put_credential(site: Site) -> requests.Response:
    return site.hub.http.put(f"{site.hub.url}/api/v1{site.place}/credential", json={"secrets": {"key": GOOD_KEY}},
                             timeout=20)


def made(site: Site, name: str) -> dict[str, Any]:
    """Make a customer, twice with one key, so that the kept answer is given out as well."""
    for _ in range(2):
        answer = site.hub.post("/customers", {"name": name, **REACHABLE}, headers={"Idempotency-Key": f"k-{name}"})
        assert answer.status_code == 201, answer.text
    assert answer.headers["Idempotency-Replayed"] == "true"
    customer: dict[str, Any] = answer.json()
    return customer


def ask_for(site: Site) -> None:
    """Search by the values, and sign in with them as user name and as password."""
    for asked in ({"phone": PHONE}, {"email": EMAIL.lower()}, {"phone": PHONE[3:], "limit": 1}):
        site.hub.get("/customers", params=asked).raise_for_status()
    assert len(site.hub.get("/contacts", params={"email": EMAIL}).json()["items"]) == 1
    for username in (PHONE, EMAIL, PHONE[3:]):
        assert site.hub.post("/sessions", {"username": username, "password": PHONE}).status_code in (401, 429)
    user = site.hub.post("/users", {"username": "planted", "name": "P", "role_ids": [], **REACHABLE})
    assert user.status_code == 201, user.text
    twice = site.hub.post("/users", {"username": "again", "name": "P", "role_ids": [], "email": EMAIL.lower()})
    assert twice.status_code == 409, twice.text


def be_refused(site: Site) -> None:
    """Ask for what is refused: at the door, by the contract, by the service, by the version."""
    refused = [
        site.hub.post("/customers", {"name": "x", "phone": f"{PHONE}{PHONE}", "email": EMAIL}),
        site.hub.post("/customers", {"name": "x", "email": f"{EMAIL}@{PHONE}"}),
        site.hub.post("/customers", {"name": "x", "kind": PHONE, "phone": {"is": PHONE}, EMAIL: PHONE}),
        site.hub.post("/customers", {"name": "x", **REACHABLE}, headers={"Idempotency-Key": "k-Planted"}),
        site.hub.http.post(f"{site.hub.url}/api/v1/customers", data=f'{{"phone": "{PHONE}", {EMAIL}'.encode(),
                           headers={"Content-Type": "application/json"}, timeout=20),
        site.hub.get("/customers", params={"phone": f"no {PHONE}", EMAIL: "1"}),
        site.hub.get(f"/customers/{PHONE}"), site.hub.get(f"/{EMAIL}/{PHONE}"),
        site.hub.get("/me", headers={"Authorization": f"Bearer {EMAIL}"}),
        site.hub.post("/sessions", {"username": f"{EMAIL}\0", "password": PHONE}),
    ]
    assert all(400 <= answer.status_code < 500 for answer in refused), [answer.status_code for answer in refused]


def die_at_the_target(site: Site) -> None:
    """Let the target refuse a customer, and repeat in its words what it was given."""
    said = f'phone "{PHONE}" ({PHONE[1:]}, {PHONE[3:]}) of {EMAIL} <{EMAIL.lower()}> is taken; key {GOOD_KEY}'
    site.target.fail(method="POST", status=422, message=said)
    refused = made(site, "Refused")

    def dead() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = site.hub.get("/deliveries", params={"state": "dead"}).json()["items"]
        return [each for each in items if each["local_id"] == refused["id"]]

    eventually(lambda: bool(dead()), 20)
    assert "is taken" in dead()[0]["last_error"]
    site.hub.get(f"/deliveries/{dead()[0]['id']}/attempts").raise_for_status()


def be_parked(site: Site) -> None:
    """Publish an event of ours that opens and then is not what it should be, and one that does not open."""
    with contextlib.closing(site.open("customers")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT body FROM outbox WHERE routing_key = 'customer.created' ORDER BY id LIMIT 1")
        (body,) = cursor.fetchone()
    for number, harm in enumerate(({"kind": "nobody"}, {"version": "many"}, {"phone": "v1.forged"}), 1):
        event = json.loads(body)
        event |= {"id": event["id"][:-1] + str(number), "data": event["data"] | harm}
        site.broker.publish(site.vhost.name, "customers.events", "customer.created", json.dumps(event),
                            content_type="application/cloudevents+json", content_encoding="utf-8", delivery_mode=2)
    eventually(lambda: site.broker.depth(site.vhost.name, PARKED) >= 2, 20)


def fail_in_the_database(site: Site, known: str) -> None:
    """Let the statements that carry the values run into a lock: PostgreSQL logs each with what is in it."""
    hub, unlucky = site.hub, GreenPool()
    with site.locked("customers", "customer"), site.locked("integrations", "credential", mode="SHARE"):
        asked = [unlucky.spawn(hub.post, "/customers", {"name": "x", **REACHABLE}),
                 unlucky.spawn(hub.get, "/customers", params={"phone": PHONE}),
                 unlucky.spawn(hub.get, "/customers", params={"email": EMAIL}),
                 unlucky.spawn(put_credential, site)]
        assert [one.wait().status_code for one in asked] == [503] * len(asked)
    with site.locked("identity", "user_account"):
        for username in (PHONE, EMAIL):
            assert hub.post("/sessions", {"username": username, "password": PHONE}).status_code == 503
    with site.locked("integrations", "record", mode="SHARE"), site.locked("customers", "contact", mode="SHARE"):
        after = made(site, "Locked")
        contact = {"customer_id": known, "name": "P", **REACHABLE}
        assert hub.post("/contacts", contact).status_code == 503
        eventually(lambda: "INSERT INTO record" in site.postgres.log(), 20)
    eventually(lambda: after["id"] in {row.key for row in site.target.of("customer")}, 20)


def test_what_was_planted_went_the_whole_way(site: Site) -> None:
    arrived = {row.body["name"]: row.body for row in site.target.of("customer")}
    assert arrived["Planted"]["email"].endswith(EMAIL.lower())
    assert (arrived["Locked"]["phone"], arrived["Locked"]["email"]) == (PHONE, EMAIL.lower())
    told = site.postgres.log()
    for statement in ("INSERT INTO customer", "INSERT INTO contact", "INSERT INTO record", "FROM user_account",
                      "customer.phone_index =", "customer.email_index =", "INSERT INTO user_account",
                      "UPDATE credential"):
        assert statement in told.partition("STATEMENT")[2], statement


def test_what_was_planted_is_found_in_clear_in_no_file_of_the_hub(site: Site) -> None:
    assert site.found() == {}


def test_what_was_planted_is_found_in_clear_in_no_row(site: Site) -> None:
    """Beside the files, because PostgreSQL compresses long values."""
    kept = []
    for room in SERVICES:
        with contextlib.closing(site.open(room)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
            for (table,) in cursor.fetchall():
                cursor.execute(f'SELECT t::text FROM "{table}" t')
                kept += [(room, table, text) for (text,) in cursor.fetchall()]
    assert {"customer", "idempotency", "outbox", "delivery", "attempt", "record"} <= {table for _, table, _ in kept}
    shown = [(room, table, name) for room, table, text in kept for name, sign in SIGNS.items() if sign in text.encode()]
    assert shown == []


def test_a_credential_is_told_to_nobody_who_asks_for_its_connection(site: Site) -> None:
    answers = [put_credential(site), *(site.hub.get(path) for path in (site.place, "/connections", "/deliveries"))]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert [answer.url for answer in answers if GOOD_KEY in answer.text] == []
    assert site.hub.get(f"{site.place}/credential").status_code == 405


def plant_row(site: Site, text: str, *, deleted: bool = False) -> None:
    with contextlib.closing(site.open("sales")) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS planted (text bytea)")
        cursor.execute("INSERT INTO planted VALUES (%s)", (text.encode(),))
    if deleted:
        with contextlib.closing(site.open("sales")) as connection, connection, connection.cursor() as cursor:
            cursor.execute("DELETE FROM planted")


def plant_statement(site: Site) -> None:
    with pytest.raises(psycopg2.errors.UndefinedTable):
        site.postgres.execute("SELECT * FROM nobody WHERE phone = %s AND key = %s", (PHONE, GOOD_KEY))


def plant_message(site: Site) -> None:
    site.broker.publish(site.vhost.name, "customers.events", "customer.created", f"{EMAIL} {GOOD_KEY}",
                        delivery_mode=2)


PLANTS: dict[str, Callable[[Site], object]] = {
    "row": lambda site: plant_row(site, PHONE),
    "row of a key": lambda site: plant_row(site, GOOD_KEY),
    "row in base64": lambda site: plant_row(site, base64.b64encode(EMAIL.encode()).decode()),
    "row in UTF-16": lambda site: plant_row(site, EMAIL.encode("utf-16-le").decode("latin-1")),
    "row that was deleted": lambda site: plant_row(site, PHONE.replace("+86", "").encode().hex(), deleted=True),
    "statement that failed": plant_statement,
    "message": plant_message,
    "log of a process": lambda site: (site.hub.home / "planted.log").write_text(f"137-9461-3258 {GOOD_KEY}"),
}


def test_the_search_finds_what_lies_there_in_clear(site: Site) -> None:
    """Each kind at a time of its own would search for minutes: all are planted, and each must be named."""
    for plant in PLANTS.values():
        plant(site)
    found = {(place(Path(file)), name) for file, names in site.found().items() for name in names}
    wanted = {("base", "13794613258 utf-8"), ("base", "Ping.Lantz base64+0"), ("base", "Ping.Lantz utf-16"),
              ("pg_wal", "13794613258 hex"), ("server.log", "13794613258 utf-8"), ("broker", "Ping.Lantz utf-8"),
              ("planted.log", "137-9461-3258 utf-8")}
    wanted |= {(part, f"{GOOD_KEY} utf-8") for part in ("base", "pg_wal", "server.log", "broker", "planted.log")}
    assert wanted <= found


def place(file: Path) -> str:
    """Tell which part of the hub a file belongs to."""
    return next((part for part in ("base", "pg_wal", "server.log", "planted.log") if part in file.parts), "broker")
