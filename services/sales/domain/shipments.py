"""What follows for an order from what the ERP has made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.errors import InvalidTransition
from services.sales.domain.orders import CANCELLED, CONFIRMED, DRAFT, FULFILLED

DONE, CALLED_OFF, SENT = "done", "cancelled", "sent"
"""States of a shipment or an order there, and of an order's shipments together, that mean something here."""


@dataclass(frozen=True)
class Refused:
    """What of the ERP's news the rules here do not allow: `code` for programs, `reason` a sentence for people."""

    code: str
    reason: str
    fields: tuple[str, ...]


def is_all_shipped(told: Mapping[str, Any]) -> bool:
    """Tell whether nothing is left to ship: each shipment is done, or is not needed any more.

    An order without shipments (of services) is through when the ERP says that nothing more will happen to it.
    """
    states = {shipment["state"] for shipment in told["shipments"]}
    if not states:
        return bool(told["state"] == DONE)
    return told["shipment_state"] == SENT and DONE in states and states <= {DONE, CALLED_OFF}


def refused(status: str, told: Mapping[str, Any] | None) -> Refused | None:
    """Return why the ERP's news is not what may become of an order, if it is not.

    Args:
        status: of the order here.
        told: `contracts.sales.ExternalOrder`; None if the record is gone there.
    """
    name = f"The sale {told['number'] or ''}".strip() if told else "The sale"
    gone = [one["number"] or one["external_id"] for one in told["shipments"] if one["state"] == DONE] if told else []
    if status == CANCELLED and gone:
        return Refused("shipped_after_cancelling", f"{name} has been shipped ({', '.join(gone)}), but the order was "
                       "cancelled here: get the goods back with a return in the ERP, or make a new order for them",
                       ("shipments",))
    if status in (CONFIRMED, FULFILLED) and not gone and _is_called_off(told):
        return Refused("cancelled_there", f"{name} was {'cancelled' if told else 'deleted'} in the ERP, but the order "
                       f"is {status} here: cancel it here as well, or make a new one; a sale that was cancelled cannot "
                       "be brought back", ("state",))
    if status == DRAFT and told and told["state"] != CALLED_OFF:
        return Refused("not_confirmed", f"{name} is {told['state']} in the ERP, but the order is a draft here",
                       ("state",))
    return None


def unknown(told: Mapping[str, Any] | None) -> Refused | None:
    """Return why news of a sale cannot be taken in that is no order of the hub; one that is gone is nobody's loss."""
    if told is None or told["state"] == CALLED_OFF:
        return None
    return Refused("unknown_order", f"The sale {told['number'] or ''} in the hub's web shop is no order of the hub: it "
                   "was entered in the ERP by hand. Move it to another shop there, or leave it and dismiss this", ())


def _is_called_off(told: Mapping[str, Any] | None) -> bool:
    if told is None or told["state"] == CALLED_OFF:
        return True
    return bool(told["state"] == DONE and told["shipments"])


def require_nothing_gone(status: str, states: Iterable[str]) -> None:
    """Refuse to cancel an order whose goods have begun to leave.

    Raises:
        InvalidTransition: a shipment is done; in the ERP, the rest can still be called off, and what has left returned.
    """
    if status == CONFIRMED and DONE in states:
        raise InvalidTransition("Goods of this order have left: call the rest off in the ERP, and enter a return there "
                                "for what has left", status=status, allowed=[FULFILLED])
