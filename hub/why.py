"""Where an order has gone and why it has not arrived: `GET /orders/{id}/deliveries`, for whoever knows its number."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from hub.demo.door import Door
from hub.installation import API
from hub.terminal import plain
from hub.trouble import Trouble

NEVER_SENT: Mapping[str, Mapping[str, str]] = {
    "draft": {"en": "Nothing was to be sent: the order is a draft. Confirm it.",
              "zh-CN": "尚无需发送：订单还是草稿。请先确认订单。"},
    "other": {"en": "Nothing was accepted for any system: either no active route brings orders anywhere "
                    "(GET /api/v1/routes), or the event has not been taken in (hub parked list, hub doctor).",
              "zh-CN": "没有任何系统接收：可能没有启用订单的路由（GET /api/v1/routes），"
                       "或者事件尚未被接收（hub parked list、hub doctor）。"},
}
"""What to do where there is no delivery at all, by the state of the order."""


def find(door: Door, order: str) -> str:
    """Return the id of the order with this number or id.

    Raises:
        Trouble: there is none within reach of whoever asks.
    """
    try:
        return str(uuid.UUID(order))
    except ValueError:
        found = door.get(f"{API}/orders", number=order)["items"]
    if not found:
        raise Trouble(f"there is no order {order!r}, or it is out of your reach", "look for it in GET /api/v1/orders")
    return str(found[0]["id"])


def latest(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the newest delivery to each connection.

    Raises:
        Trouble: the integrations service could not be asked.
    """
    section = document["deliveries"]
    if section is None:
        raise Trouble("; ".join(part["message"] for part in document["missing"]), "hub status shows what is missing")
    return list({one["connection_id"]: one for one in reversed(section["items"])}.values())


def has_arrived(document: Mapping[str, Any]) -> bool:
    """Tell whether the order stands, as it is now, in every system that it was to reach; one that went nowhere not."""
    found = latest(document)
    return bool(found) and all(_stands(one) for one in found)


def _stands(fate: Mapping[str, Any]) -> bool:
    """What was skipped for a reason, left out by go-live matching say, is not there."""
    return fate["state"] == "delivered" or (fate["state"] == "skipped" and fate["error_class"] is None)


def show(out: Console, document: Mapping[str, Any], *, calls: bool = False) -> None:
    """Print how an order stands in each system, why, and what to do; with `calls` what was sent and answered."""
    order, found = document["order"], latest(document)
    out.print(f"[bold]{order['number']}[/]  {order['status']}  {order['total']} {order['currency']}")
    for one in found:
        out.print(f"\n[bold]{plain(one['connection'])}[/]  connection {one['connection_id']}  delivery {one['id']}",
                  soft_wrap=True)
        _show_fate(out, one)
        for attempt in one["tries"] if calls else ():
            show_call(out, attempt)
        if one["needs"] is not None:
            needed = one["needs"]
            out.print(f"  it needs {needed['entity']} {needed['local_id']}  delivery {needed['id']}", soft_wrap=True)
            _show_fate(out, needed, "  ")
    if not found:
        _say(out, NEVER_SENT.get(order["status"], NEVER_SENT["other"]).values())


def _show_fate(out: Console, fate: Mapping[str, Any], indent: str = "") -> None:
    colour = "green" if _stands(fate) else "red" if fate["state"] == "dead" else "yellow"
    kind = f" ({fate['error_class']})" if fate["error_class"] else ""
    reason = f"  {plain(fate['reason'])}" if fate["reason"] else ""
    out.print(f"{indent}  [{colour}]{fate['state']}{kind}[/]{reason}", soft_wrap=True)
    _say(out, fate["next_step"].values(), indent)


def _say(out: Console, sentences: Iterable[str], indent: str = "") -> None:
    for sentence in sentences:
        out.print(f"{indent}  → {plain(sentence)}", soft_wrap=True)


def show_call(out: Console, attempt: Mapping[str, Any], *, previews: bool = True) -> None:
    """Print one call for a delivery, and with `previews` what was sent and answered."""
    status = f" HTTP {attempt['http_status']}" if attempt["http_status"] else ""
    out.print(f"  call {attempt['n']}, {attempt['started_at']}: {attempt['action']}, "
              f"{attempt['outcome'] or 'under way'}{status}", soft_wrap=True)
    for preview in (attempt["request_preview"], attempt["response_preview"]):
        if preview and previews:
            out.print(f"[dim]{plain(preview)}[/]", soft_wrap=True)
