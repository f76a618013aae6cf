"""Use cases on customers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chassis import outbox
from chassis.access import covers
from chassis.context import Subject
from chassis.masking import refuse_hidden
from contracts import customers as contract
from contracts.errors import Invalid, NotFound, Refusals
from contracts.schema import Packed, attributes
from services.customers.domain import lifecycle, reach
from services.customers.models import Customer
from services.customers.operations import changes as history
from services.customers.operations import consents
from services.customers.queries import customers


def create(session: Session, asked: dict[str, Any], by: Subject, region: str) -> Packed:
    """Create a customer that belongs to its creator, and announce it; what is announced is what is answered.

    Raises:
        Invalid: phone or email cannot be one, or the team is out of the creator's reach.
    """
    refusals, values = Refusals(), dict(asked)
    team = values.pop("team_id", None) or (by.teams[0] if by.teams else None)
    with refusals.noted():
        values = consents.spoken(_normalised(values, region), {})
    with refusals.noted():
        _check_placement(by, owner=by.id, team=team)
    refusals.settle()
    customer = Customer(**values, name_key=values["name"].casefold(), created_by=by.id, owner_id=by.id, team_id=team)
    session.add(customer)
    session.flush()
    made = Packed.of(contract.Customer, customer)
    outbox.record(session, contract.CUSTOMER_CREATED, subject=customer.id, version=customer.version, data=made, by=by)
    consents.announce(session, customer, {}, by)
    return made


def change(session: Session, asked: dict[str, Any], by: Subject, region: str) -> Customer:
    """Change a customer, keep the history of each field, and announce it; a change of nothing announces nothing.

    Raises:
        NotFound: there is no such customer within reach.
        StaleVersion: it has changed since the caller read it.
        Invalid: a value cannot be taken or is masked for the subject, or nobody could reach the customer any more.
        InvalidTransition: the lifecycle does not lead there.
    """
    customer = for_write(session, asked["id"], by)
    history.check_version(customer, asked["expected_version"])
    refuse_hidden(by, contract.Customer, asked["changes"], owner=customer.owner_id, team=customer.team_id)
    before = customer.consent
    changes = consents.spoken(_normalised(asked["changes"], region), before)
    reason = changes.pop("lifecycle_reason", "")
    if "lifecycle" in changes:
        changes["lifecycle"] = lifecycle.move(customer.lifecycle, changes["lifecycle"], reason)
    if not any(changes.get(way, getattr(customer, way)) for way in contract.REACHED_BY):
        raise Invalid.of("", "unreachable", "Keep at least one of phone, email and wechat_id.")
    placed = {name: changes.get(name, getattr(customer, name)) for name in ("owner_id", "team_id")}
    if placed != {"owner_id": customer.owner_id, "team_id": customer.team_id}:
        _check_placement(by, owner=placed["owner_id"], team=placed["team_id"])
    changed = history.apply(session, customer, changes, by)
    if changed:
        customer.name_key = customer.name.casefold()
        session.flush()
        outbox.record(session, contract.CUSTOMER_UPDATED, subject=customer.id, version=customer.version,
                      data=attributes(contract.Customer, customer) | {"changed": changed}, by=by)
        consents.announce(session, customer, before, by)
    return customer


def for_write(session: Session, customer_id: str, by: Subject) -> Customer:
    """Return the customer, locked, if the subject may change it.

    Raises:
        NotFound: there is none, or it is out of reach.
    """
    query = select(Customer).where(Customer.id == customer_id, customers.visible(by, "change")).with_for_update()
    found = session.scalar(query)
    if found is None:
        raise NotFound("There is no such customer", entity="customer", id=customer_id)
    return found


def _check_placement(by: Subject, *, owner: str | None, team: str | None) -> None:
    """Refuse to put a customer where the subject may not: with somebody else, in a strange team, or in none.

    A customer without a team is out of every manager's sight, so taking the team away needs more than owning it.

    Raises:
        Invalid: names the field.
    """
    depth = by.depth(contract.TRANSFER.entity, contract.TRANSFER.action)
    if depth == "all":
        return
    if owner != by.id and not covers(by, contract.TRANSFER, owner=owner, team=team):
        raise Invalid.of("/owner_id", "out_of_reach", "You may not give customers to this person.")
    if team is None and depth in ("none", "own") and by.teams:
        raise Invalid.of("/team_id", "out_of_reach", "Keep it in one of your teams.")
    if team is not None and team not in {*by.teams, *by.tree}:
        raise Invalid.of("/team_id", "out_of_reach", "Is not one of your teams.")


def _normalised(asked: dict[str, Any], region: str) -> dict[str, Any]:
    values = reach.normalised(asked, region)
    return {name: value if value != "" or name not in contract.REACHED_BY else None for name, value in values.items()}
