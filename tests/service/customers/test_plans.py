"""Every filter of the lists of customers and contacts is answered by an index, in every order that a list offers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from chassis.context import Subject
from chassis.crypto import DataKeys, Keyring, MasterKey
from chassis.database import Database, new_id, utcnow
from chassis.sealed import KEYRING
from contracts import customers as contract
from contracts.errors import Invalid
from contracts.schema import PageRequest, load
from services.customers.models import Contact, Customer
from services.customers.queries import contacts, customers
from tests.support.plans import Plainly, plan_of, searched_by, shared_database, sorts

MANY = 3000
OWNERS, TEAMS = [new_id() for _ in range(100)], [new_id() for _ in range(300)]
OWNER = OWNERS[1]
IDS = [new_id() for _ in range(MANY)]
DUE = (utcnow() + dt.timedelta(days=9)).isoformat()
SORTS = [f"{way}{by}" for by in ("created_at", "updated_at", "name") for way in ("", "-")]
FOLLOW_UPS = ["next_follow_up_at", "-next_follow_up_at"]
ORDERED: dict[str, tuple[Any, str]] = {"lifecycle": ("ended", "lifecycle")}
"""Filter of customers → a value, and the column that its search goes by; read in the order of the list."""
FEW: dict[str, tuple[Any, str]] = {
    "owner_id": (OWNER, "owner_id"), "phone": ("+8613800138000", "phone_index"),
    "email": ("a@example.com", "email_index")}
"""The same, where what is found is one person's, and may be sorted."""


def reach(depth: str) -> Subject:
    return Subject(id=OWNER, kind="user", name="rep", teams=(TEAMS[2],), depths={"*": {"*": depth}})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Some thousand customers with a contact each; one in a hundred has ended."""
    folder = tmp_path_factory.mktemp("plans")
    for database in shared_database(request, folder, "customers", _fill):
        master = MasterKey.create(folder / "master.key")
        keyring = Keyring(master, DataKeys(database.engine.url.render_as_string(hide_password=False)))
        keyring.prepare(["customer.phone", "customer.email", "contact.email"])
        database.info[KEYRING] = keyring
        yield database


def _fill(session: Any) -> None:
    now = utcnow()
    common = {"version": 1, "created_by": OWNER, "created_at": now, "updated_at": now}
    session.execute(sa.insert(Customer), [
        {"id": id, "name": f"n{n}", "name_key": f"n{n}", "owner_id": OWNERS[n % 100], "team_id": TEAMS[n % 300],
         "lifecycle": "ended" if n % 100 == 3 else "prospect",
         "next_follow_up_at": now + dt.timedelta(days=n) if n % 2 else None,
         "phone_index": f"p{n}", "email_index": f"e{n}", **common}
        for n, id in enumerate(IDS)])
    session.execute(sa.insert(Contact), [
        {"id": new_id(), "customer_id": id, "name": "c", "primary": True, "email_index": f"e{id}",
          **common} for id in IDS])


def plan(db: Database, depth: str = "all", *, may_sort: bool = False, **asked: Any) -> str:
    request = load(contract.CustomerList, asked)
    with db.read() as session:
        return plan_of(session, lambda: customers.listed(session, request, reach(depth), Plainly(), "CN"),
                       may_sort=may_sort)


def contacts_plan(db: Database, depth: str, **asked: Any) -> str:
    request = load(contract.ContactList, asked)
    with db.read() as session:
        return plan_of(session, lambda: contacts.listed(session, request, reach(depth), Plainly()), may_sort=True)


def test_every_filter_of_both_lists_is_looked_at_here() -> None:
    def filters(request: type[PageRequest]) -> set[str]:
        return set(request().fields) - set(PageRequest().fields) - {"sort"}

    assert filters(contract.CustomerList) == {*ORDERED, *FEW, "q", "follow_up_before"}, \
        "give the new filter an index, and a line here"
    assert filters(contract.ContactList) == {"customer_id", "email"}
    choices: Any = contract.CustomerList().fields["sort"].validators[0]
    assert sorted(choices.choices) == sorted([*SORTS, *FOLLOW_UPS])


@pytest.mark.parametrize("sort", SORTS)
def test_every_order_is_read_from_an_index(db: Database, sort: str) -> None:
    shown = plan(db, sort=sort)
    assert not sorts(shown), shown
    assert "Seq Scan" not in shown


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("name", [*ORDERED, *FEW])
def test_each_filter_is_searched_by_its_own_index(db: Database, name: str, sort: str) -> None:
    value, column = (ORDERED | FEW)[name]
    shown = plan(db, sort=sort, may_sort=name in FEW, **{name: value})
    assert any(column in by for by in searched_by(shown, "customer")), shown
    assert name in FEW or not sorts(shown), shown


@pytest.mark.parametrize("sort", ["name", "-name", None])
def test_a_search_by_the_start_of_a_name_reads_those_names_in_their_order(db: Database, sort: str | None) -> None:
    shown = plan(db, q="n29", **({"sort": sort} if sort else {}))
    assert any("name_key" in by for by in searched_by(shown, "customer")), shown
    assert not sorts(shown), shown


def test_a_search_by_the_start_of_a_name_is_not_sorted_by_anything_else(db: Database) -> None:
    with pytest.raises(Invalid):
        plan(db, q="n29", sort="-created_at")


@pytest.mark.parametrize("sort", [*FOLLOW_UPS, None])
@pytest.mark.parametrize(("depth", "owned"), [("all", {"owner_id": OWNER}), ("own", {"owner_id": OWNER}), ("all", {})])
def test_follow_ups_that_are_due_are_read_in_their_order(db: Database, depth: str, owned: dict[str, Any],
                                                         sort: str | None) -> None:
    asked: dict[str, Any] = {"follow_up_before": DUE, **owned} | ({"sort": sort} if sort else {})
    shown = plan(db, depth, **asked)
    assert any("next_follow_up_at" in by for by in searched_by(shown, "customer")), shown
    assert not sorts(shown), shown


@pytest.mark.parametrize("asked", [{"follow_up_before": DUE, "sort": "name"}, {"sort": "next_follow_up_at"},
                                   {"follow_up_before": DUE, "sort": "next_follow_up_at", "q": "n"}])
def test_the_order_of_follow_ups_is_for_those_who_have_one(db: Database, asked: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        plan(db, **asked)


def test_a_search_by_name_goes_on_where_its_page_ended(db: Database) -> None:
    found: list[str] = []
    asked: dict[str, Any] = {"q": "n29", "limit": 50}
    with db.read() as session:
        while True:
            page = customers.listed(session, load(contract.CustomerList, asked), reach("all"), Plainly(), "CN")
            found += [one.name for one in page.items]
            if page.next is None:
                break
            asked["cursor"] = page.next
    assert found == sorted(f"n{n}" for n in range(MANY) if str(n).startswith("29"))


def test_ones_own_customers_are_read_from_their_index_in_the_order_of_the_list(db: Database) -> None:
    shown = plan(db, "own")
    assert any("owner_id" in by for by in searched_by(shown, "customer")), shown
    assert not sorts(shown), shown


@pytest.mark.parametrize("depth", ["own", "team"])
def test_contacts_are_found_from_the_customers_in_reach_and_not_from_all_contacts(db: Database, depth: str) -> None:
    shown = contacts_plan(db, depth)
    assert any("customer_id" in by for by in searched_by(shown, "contact")), shown
    assert "SCAN contact" not in shown
    assert "SCAN customer\n" not in f"{shown}\n"


@pytest.mark.parametrize("asked", [{}, {"customer_id": IDS[7]}, {"email": "a@example.com"}])
def test_contacts_are_read_in_order_by_whoever_sees_all(db: Database, asked: dict[str, Any]) -> None:
    shown = contacts_plan(db, "all", **asked)
    assert not sorts(shown) or "email" in asked, shown
    wanted = {"customer_id": "customer_id", "email": "email_index"}
    assert all(any(wanted[name] in by for by in searched_by(shown, "contact")) for name in asked), shown
