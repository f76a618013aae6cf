"""Users and roles: who may make whom, and that nobody climbs."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, text

from chassis.context import Subject
from contracts.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound, StaleVersion, Unauthenticated
from contracts.roles import CreateRole
from contracts.schema import load
from contracts.users import CreateUser, ListUsers, UserChanges
from services.identity.domain.roles import BUILT_IN
from services.identity.models import Role, User
from services.identity.operations import roles, users
from services.identity.queries import users as user_queries

ROLE = {name: id for name, (id, _, _) in BUILT_IN.items()}


@pytest.fixture
def admin(identity: Any) -> Subject:
    return identity.subject(identity.user("root", "admin"))


@pytest.fixture
def helpdesk(identity: Any, admin: Subject) -> Subject:
    """Somebody who manages users of the own team, and sells."""
    with identity.db.write() as session:
        depths = {"user": {"*": "tree"}, "customer": {"*": "own"}, "team": {"*": "tree"}, "role": {"read": "all"}}
        role = roles.create(session, load(CreateRole, {"name": "helpdesk", "title": "H", "depths": depths}), admin)
    north = identity.team("north")
    identity.north = north
    identity.below = identity.team("north-1", north)
    identity.south = identity.team("south")
    return identity.subject(identity.user("helen", role.name, team_ids=(north,)))


def test_the_database_begins_with_the_built_in_roles_and_nobody_in_it(identity: Any) -> None:
    with identity.db.read() as session:
        assert set(session.scalars(select(Role.name))) == set(BUILT_IN)
        assert session.scalars(select(User)).all() == []


def test_email_and_phone_are_ciphertext_in_the_table(identity: Any) -> None:
    identity.user("wei", email="wei@example.com", phone="+86 138 0013 8000")
    with identity.db.read() as session:
        row = session.execute(text("SELECT * FROM user_account")).mappings().one()
        assert "wei@example.com" not in str(dict(row))
        assert "138 0013 8000" not in str(dict(row))
        user = session.scalars(select(User)).one()
        assert (user.email, user.phone) == ("wei@example.com", "+86 138 0013 8000")


@pytest.mark.parametrize(("field", "value"), [("username", "wei"), ("email", "WEI@example.com")])
def test_a_name_or_address_that_is_taken_is_refused_by_name(identity: Any, field: str, value: str) -> None:
    identity.user("wei", email="wei@example.com")
    other = {"username": "other"} | {field: value}
    with pytest.raises(AlreadyExists) as refused:
        identity.user(**other)
    assert refused.value.fields == {"field": field}


def test_every_unknown_team_and_role_is_named_at_once(identity: Any, admin: Subject) -> None:
    unknown = {"team_ids": ["0" * 36], "role_ids": [ROLE["service"], "1" * 36]}
    wei = identity.user("wei")
    with pytest.raises(Invalid) as added, identity.db.write() as session:
        users.create(session, load(CreateUser, {"username": "li", "name": "Li"} | unknown), admin)
    with pytest.raises(Invalid) as changed, identity.db.write() as session:
        users.change(session, wei, load(UserChanges, unknown), admin)
    for refused in (added, changed):
        assert [fault["pointer"] for fault in refused.value.fields["errors"]] == ["/team_ids/0", "/role_ids/1"]


def test_teams_and_roles_are_replaced_and_the_order_is_kept(identity: Any, admin: Subject) -> None:
    one, two = identity.team("one"), identity.team("two")
    wei = identity.user("wei", "sales", team_ids=(one, two))
    with identity.db.write() as session:
        changes = {"team_ids": [two, one, two], "role_ids": [ROLE["service"], ROLE["manager"]]}
        users.change(session, wei, load(UserChanges, changes), admin, 2)
    subject = identity.subject(wei)
    assert subject.teams == (two, one)
    assert subject.depth("ticket", "read") == "tree"


def test_a_change_to_an_older_version_is_refused_and_changes_nothing(identity: Any, admin: Subject) -> None:
    wei = identity.user("wei")
    with pytest.raises(StaleVersion), identity.db.write() as session:
        users.change(session, wei, {"name": "Other"}, admin, 7)
    with identity.db.read() as session:
        assert session.get_one(User, wei).name == "Wei"


def test_nobody_gives_a_role_that_exceeds_their_own_rights(identity: Any, helpdesk: Subject) -> None:
    for role in ("admin", "manager", "auditor"):
        with pytest.raises(Forbidden) as refused:
            identity.user("climber", role, team_ids=(identity.north,), by=helpdesk)
        assert refused.value.fields["beyond"]


def test_nobody_makes_a_role_that_exceeds_their_own_rights(identity: Any, helpdesk: Subject) -> None:
    wide = {"name": "wide", "title": "W", "depths": {"customer": {"read": "all"}}}
    with pytest.raises(Forbidden), identity.db.write() as session:
        roles.create(session, load(CreateRole, wide), helpdesk)


def test_nobody_acts_upon_somebody_who_may_do_more(identity: Any, helpdesk: Subject) -> None:
    boss = identity.user("boss", "admin", team_ids=(identity.north,))
    for act in (
        lambda s: users.change(s, boss, {"name": "x"}, helpdesk),
        lambda s: users.disable(s, boss, helpdesk),
    ):
        with pytest.raises(Forbidden), identity.db.write() as session:
            act(session)


def test_users_outside_the_own_tree_do_not_exist(identity: Any, helpdesk: Subject) -> None:
    near, far = identity.user("near", team_ids=(identity.below,)), identity.user("far", team_ids=(identity.south,))
    with identity.db.read() as session:
        assert user_queries.get(session, near, helpdesk).username == "near"
        with pytest.raises(NotFound):
            user_queries.get(session, far, helpdesk)
        page = user_queries.listed(session, load(ListUsers, {}), helpdesk, identity.codec)
        assert {user.username for user in page.items} == {"helen", "near"}
    with pytest.raises(NotFound), identity.db.write() as session:
        users.disable(session, far, helpdesk)


def test_nobody_puts_a_user_into_or_takes_one_out_of_a_team_out_of_reach(identity: Any, helpdesk: Subject) -> None:
    with pytest.raises(Forbidden):
        identity.user("new", team_ids=(identity.south,), by=helpdesk)
    with pytest.raises(Forbidden):
        identity.user("new", by=helpdesk)
    both = identity.user("both", team_ids=(identity.north, identity.south))
    with pytest.raises(Forbidden), identity.db.write() as session:
        users.change(session, both, {"team_ids": [identity.north]}, helpdesk)
    assert identity.user("new", team_ids=(identity.below,), by=helpdesk)


def test_a_disabled_user_is_out_at_once_in_every_way(identity: Any, admin: Subject) -> None:
    wei = identity.user("wei", "integrator")
    token = identity.sign_in("wei")["token"]
    key = identity.api_key(wei)["key"]
    assert identity.introspect(token).id == identity.introspect(key).id == wei
    with identity.db.write() as session:
        users.disable(session, wei, admin)
    for credential in (token, key):
        with pytest.raises(Unauthenticated):
            identity.introspect(credential)
    with pytest.raises(Unauthenticated):
        identity.sign_in("wei")
    assert identity.events()[-2:] == [("access.changed", wei), ("user.disabled", wei)]


def test_an_enabled_user_signs_in_anew_and_old_credentials_stay_dead(identity: Any, admin: Subject) -> None:
    wei = identity.user("wei", "sales")
    token = identity.sign_in("wei")["token"]
    for act in (users.disable, users.enable):
        with identity.db.write() as session:
            act(session, wei, admin)
    with pytest.raises(Unauthenticated):
        identity.introspect(token)
    assert identity.introspect(identity.sign_in("wei")["token"]).id == wei


def test_the_last_administrator_cannot_go(identity: Any, admin: Subject) -> None:
    other = identity.user("other", "admin")
    with identity.db.write() as session:
        users.disable(session, other, admin)
    with pytest.raises(Conflict), identity.db.write() as session:
        users.change(session, admin.id, {"role_ids": []}, admin)
    with pytest.raises(Conflict), identity.db.write() as session:
        users.disable(session, admin.id, Subject.service("somebody"))
    with pytest.raises(Conflict), identity.db.write() as session:
        users.disable(session, admin.id, admin)
    assert identity.subject(admin.id).depth("anything", "at_all") == "all"


def test_a_changed_role_changes_what_its_holders_may_do(identity: Any, admin: Subject) -> None:
    identity.user("wei", "sales")
    token = identity.sign_in("wei")["token"]
    before = identity.introspect(token)
    with identity.db.write() as session:
        roles.change(session, ROLE["sales"], {"depths": {"customer": {"read": "team"}}}, admin, 1)
    after = identity.introspect(token)
    assert (before.depth("customer", "read"), after.depth("customer", "read")) == ("own", "team")
    assert after.depth("order", "read") == "none"
    assert after.roles_version > before.roles_version


def test_a_role_that_names_what_there_is_not_is_refused_and_an_old_one_can_still_be_renamed(
        identity: Any, admin: Subject) -> None:
    asked = {"name": "clerk", "title": "Clerk", "depths": {"ordr": {"read": "all"}}}
    with pytest.raises(Invalid) as refused, identity.db.write() as session:
        roles.create(session, asked, admin)
    assert [one["pointer"] for one in refused.value.fields["errors"]] == ["/depths/ordr"]
    with identity.db.write() as session:
        session.get_one(Role, ROLE["sales"]).depths = asked["depths"]
    with identity.db.write() as session:
        assert roles.change(session, ROLE["sales"], {"title": "Old"}, admin, 1).depths == asked["depths"]
    with pytest.raises(Invalid) as refused, identity.db.write() as session:
        roles.change(session, ROLE["sales"], {"depths": {"order": {"fly": "all"}}}, admin, 2)
    assert [one["pointer"] for one in refused.value.fields["errors"]] == ["/changes/depths/order/fly"]
    assert identity.events()[-1] == ("access.changed", "everyone")


def test_built_in_and_held_roles_are_not_deleted_and_admin_is_fixed(identity: Any, admin: Subject) -> None:
    with identity.db.write() as session:
        held = roles.create(session, {"name": "held", "title": "H", "depths": {}}, admin).id
        free = roles.create(session, {"name": "free", "title": "F", "depths": {}}, admin).id
    identity.user("wei", "held")
    for act in (
        lambda s: roles.remove(s, ROLE["sales"], admin, 1),
        lambda s: roles.remove(s, held, admin, 1),
        lambda s: roles.change(s, ROLE["admin"], {"depths": {}}, admin, 1),
    ):
        with pytest.raises(Conflict), identity.db.write() as session:
            act(session)
    with identity.db.write() as session:
        roles.remove(session, free, admin, 1)
    with pytest.raises(AlreadyExists), identity.db.write() as session:
        roles.create(session, {"name": "held", "title": "H", "depths": {}}, admin)


def test_a_list_is_paged_newest_first_and_filtered(identity: Any, admin: Subject) -> None:
    team = identity.team("north")
    made = [identity.user(f"user{n}", team_ids=(team,), email=f"u{n}@example.com") for n in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        with identity.db.read() as session:
            page = user_queries.listed(
                session, load(ListUsers, {"limit": 2, "cursor": cursor, "team_id": team}), admin, identity.codec
            )
        seen += [user.id for user in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == made[::-1]
    for asked in ({"email": "U3@example.com"}, {"username": "User3"}):
        with identity.db.read() as session:
            page = user_queries.listed(session, load(ListUsers, asked), admin, identity.codec)
        assert [user.id for user in page.items] == [made[3]]


def test_everybody_reads_themselves_with_the_rights_of_this_call(identity: Any) -> None:
    wei = identity.user("wei", "sales", email="wei@example.com")
    subject = identity.introspect(identity.sign_in("wei")["token"])
    with identity.db.read() as session:
        me = user_queries.me(session, subject)
        with pytest.raises(Forbidden):
            user_queries.me(session, Subject.service("gateway"))
    assert (me["id"], me["email"], me["roles"]) == (wei, "wei@example.com", ("sales",))
    assert me["depths"]["customer"] == {"*": "own"}
