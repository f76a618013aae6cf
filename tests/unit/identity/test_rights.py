"""Arithmetic of rights, checked against the plain meaning: look up every place and compare."""

from __future__ import annotations

import importlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.depth import DEPTHS, Depths, depth_of, narrowest, widest
from services.identity.domain.rights import excess, intersection, merged
from services.identity.domain.roles import BUILT_IN, unknown
from tests.support.rooms import SERVICES

WORDS = ("customer", "order", "*")
grants = st.dictionaries(
    st.sampled_from(WORDS), st.dictionaries(st.sampled_from(("read", "change", "*")), st.sampled_from(DEPTHS))
)
# Names that no grant mentions stand for everything that wildcards must reach.
PLACES = tuple(itertools.product(("customer", "order", "unheard_of"), ("read", "change", "unheard_of")))


@given(grants, grants)
def test_together_two_roles_give_the_wider_everywhere(one: Depths, other: Depths) -> None:
    both = merged((one, other))
    for place in PLACES:
        assert depth_of(both, *place) == widest((depth_of(one, *place), depth_of(other, *place)))


@given(grants, grants)
def test_a_scoped_key_gives_the_narrower_everywhere(one: Depths, other: Depths) -> None:
    both = intersection(one, other)
    for place in PLACES:
        assert depth_of(both, *place) == narrowest(depth_of(one, *place), depth_of(other, *place))


@given(grants, grants)
def test_excess_is_empty_exactly_when_nothing_is_wider_anywhere(inner: Depths, outer: Depths) -> None:
    wider = any(
        DEPTHS.index(depth_of(inner, *place)) > DEPTHS.index(depth_of(outer, *place)) for place in PLACES
    )
    assert bool(excess(inner, outer)) == wider


@given(grants, grants)
def test_what_is_left_of_a_key_never_exceeds_its_owner(owner: Depths, scopes: Depths) -> None:
    assert excess(intersection(owner, scopes), owner) == []


def test_excess_names_the_places() -> None:
    assert excess({"order": {"read": "all", "change": "own"}}, {"order": {"*": "team"}}) == ["order.read"]


def test_no_role_at_all_gives_nothing() -> None:
    assert merged(()) == {}
    assert depth_of({}, "customer", "read") == "none"


@pytest.mark.parametrize(
    ("role", "entity", "action", "depth"),
    [
        ("admin", "anything", "at_all", "all"),
        ("manager", "customer", "read", "tree"),
        ("manager", "user", "change", "none"),
        ("sales", "customer", "read", "own"),
        ("sales", "order", "confirm", "own"),
        ("sales", "connection", "read", "none"),
        ("sales", "api_key", "create", "none"),
        ("service", "customer", "read", "all"),
        ("service", "customer", "change", "none"),
        ("integrator", "connection", "operate", "all"),
        ("integrator", "customer", "read", "none"),
        ("auditor", "customer", "read", "all"),
        ("auditor", "customer", "change", "none"),
    ],
)
def test_the_built_in_roles_mean_what_their_titles_say(role: str, entity: str, action: str, depth: str) -> None:
    assert depth_of(BUILT_IN[role][2], entity, action) == depth


def test_the_built_in_roles_use_known_depths_and_ids_of_their_own() -> None:
    assert {d for _, _, rights in BUILT_IN.values() for actions in rights.values() for d in actions.values()} <= set(
        DEPTHS
    )
    assert len({id for id, _, _ in BUILT_IN.values()}) == len(BUILT_IN)


def test_a_manager_may_hand_on_the_role_sales() -> None:
    assert excess(BUILT_IN["sales"][2], BUILT_IN["manager"][2]) == []


@pytest.mark.parametrize("contract", [room for room in SERVICES if room != "identity"])
def test_every_right_that_an_operation_asks_for_is_held_by_a_role_beside_admin(contract: str) -> None:
    operations = importlib.import_module(f"contracts.{contract}").OPERATIONS
    others = [rights for name, (_, _, rights) in BUILT_IN.items() if name not in ("admin", "auditor")]
    for permission in {operation.permission for operation in operations if operation.permission is not None}:
        depths = {depth_of(rights, permission.entity, permission.action) for rights in others}
        assert depths != {"none"}, permission


def test_a_slip_of_the_pen_in_rights_is_found_and_what_could_stand_there_is_named() -> None:
    found = dict(unknown({"ordr": {"read": "all"}, "order": {"fly": "all", "confirm": "own"}, "*": {"soar": "all"}}))
    assert found.keys() == {("ordr",), ("order", "fly"), ("*", "soar")}
    assert "order" in found["ordr",]
    assert "confirm" in found["order", "fly"]


@pytest.mark.parametrize("role", BUILT_IN)
def test_a_copy_of_a_built_in_role_names_nothing_unknown(role: str) -> None:
    assert list(unknown(BUILT_IN[role][2])) == []


@pytest.mark.parametrize("right", ["customer.transfer", "contact.unmask", "task.assign", "mapping.operate"])
def test_rights_that_stand_in_no_operation_alone_are_known(right: str) -> None:
    entity, action = right.split(".")
    assert list(unknown({entity: {action: "own"}})) == []
