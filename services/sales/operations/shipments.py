"""Following what the ERP makes of orders: once each, in whatever order and however often it is told."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from chassis import outbox, telemetry
from chassis.database import utcnow
from chassis.projection import keep_newest
from contracts import sales as contract
from contracts.schema import load
from services.sales.domain import orders as states
from services.sales.domain import shipments as rules
from services.sales.domain import stock
from services.sales.models import Order, OrderSource, Shipment, ShipmentLine
from services.sales.operations import reservations
from services.sales.operations.reservations import Left
from services.sales.operations.stocks import US

log = telemetry.logger(__name__)


def follow(session: Session, change: dict[str, Any], version: int) -> None:
    """Take over what a target says of an order (`external.changed`), unless something newer of its record is known.

    - What has left is final: its stock is no longer promised, only still counted until the ERP counts anew.
    - All of it shipped, the order is fulfilled, and that is announced, once.
    - What the rules here do not allow is announced as `external.refused`; shipments are noted all the same.

    Args:
        session: the transaction of the event.
        change: as `contracts.inbound.ExternalChange` describes it.
        version: of the record after the change.

    Raises:
        Invalid: the record is no order as `contracts.sales.ExternalOrder` describes it; the event is parked.
    """
    told = None if change["deleted"] else load(contract.ExternalOrder, change["record"])
    order_id = change["keys"].get("id") or (told["id"] if told else None)
    record = {"connection_id": change["connection_id"], "external_id": change["external_id"]}
    if not keep_newest(session, OrderSource, record, version, {"order_id": order_id}):
        return
    order = _locked(session, order_id)
    if order is None:
        _refuse(session, change, version, None, rules.unknown(told))
        return
    if told is not None:
        _note(session, order, change["connection_id"], told)
        _fulfil(session, order, change["connection_id"], told)
    _refuse(session, change, version, order.id, rules.refused(order.status, told))


def _locked(session: Session, order_id: str | None) -> Order | None:
    if order_id is None:
        return None
    return session.scalar(
        select(Order).where(Order.id == order_id).with_for_update(of=Order, key_share=True)
        .options(selectinload(Order.lines), selectinload(Order.shipments)))


def _note(session: Session, order: Order, connection_id: str, told: Mapping[str, Any]) -> None:
    """Keep the shipments as they were told; let go of what has left since."""
    known = {one.external_id: one for one in order.shipments if one.connection_id == connection_id}
    changed, left = False, list[Left]()
    for shipment in map(_counted, told["shipments"]):
        kept = known.pop(shipment["external_id"], None)
        if kept is None:
            kept = Shipment(connection_id=connection_id, external_id=shipment["external_id"])
            order.shipments.append(kept)
        if kept.done_at is None and _put(kept, shipment):
            changed = True
            left += _left(order, shipment)
    for vanished in known.values():
        if vanished.done_at is None:
            order.shipments.remove(vanished)
            changed = True
    if changed:
        order.version += 1
        order.updated_at = utcnow()
    if left and order.status == states.CONFIRMED:
        reservations.let_go(session, order.id, left, connection_id)


def _counted(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a shipment with quantities as we keep them; a line of nothing is how Tryton leaves one out."""
    lines = [line | {"quantity": stock.counted(line["quantity"])} for line in told["lines"]]
    return {**told, "lines": [line for line in lines if line["quantity"] > 0]}


def _put(kept: Shipment, told: Mapping[str, Any]) -> bool:
    """Bring a shipment to what was told; return whether that is news."""
    lines = [(line["sku"], line["quantity"]) for line in told["lines"]]
    before = kept.number, kept.state, kept.done_at, [(line.sku, line.quantity) for line in kept.lines]
    done_at = _done_at(told)
    if before == (told["number"], told["state"], done_at, lines):
        return False
    kept.number, kept.state, kept.done_at = told["number"], told["state"], done_at
    if before[3] != lines:
        kept.lines = [ShipmentLine(line=n, sku=sku, quantity=quantity) for n, (sku, quantity) in enumerate(lines, 1)]
    return True


def _done_at(told: Mapping[str, Any]) -> dt.datetime | None:
    if told["state"] != rules.DONE:
        return None
    return told["done_at"] or utcnow()


def _left(order: Order, told: Mapping[str, Any]) -> Sequence[Left]:
    """Return what has left with a shipment, of the products that the order is about; colleagues may add others."""
    left_at = _done_at(told)
    if left_at is None:
        return []
    products = {line.sku: line.product_id for line in order.lines}
    return [Left(product_id=products[line["sku"]], quantity=line["quantity"], at=left_at)
            for line in told["lines"] if line["sku"] in products]


def _fulfil(session: Session, order: Order, connection_id: str, told: Mapping[str, Any]) -> None:
    if order.status != states.CONFIRMED or not rules.is_all_shipped(told):
        return
    order.status = states.move(order.status, states.FULFILLED)
    order.version += 1
    order.fulfilled_at = order.updated_at = utcnow()
    reservations.release(session, order.id)
    session.flush()
    log.info("order_fulfilled", order_id=order.id, connection_id=connection_id)
    outbox.record(session, contract.ORDER_FULFILLED, subject=order.id, version=order.version, data=order, by=US,
                  origin=connection_id)


def _refuse(session: Session, change: Mapping[str, Any], version: int, order_id: str | None,
            refused: rules.Refused | None) -> None:
    if refused is None:
        return
    told = {name: change[name] for name in ("connection_id", "entity", "external_id", "remote_version")}
    outbox.record(session, contract.EXTERNAL_REFUSED, subject=change["external_id"], version=version, by=US,
                  origin=change["connection_id"],
                  data=told | {"local_id": order_id, "fields": list(refused.fields), "code": refused.code,
                               "reason": refused.reason})
