"""Where an order has gone and why it has not arrived: `GET /orders/{id}/deliveries`, for whoever knows its number."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from hub.client import every
from hub.demo.door import Door, Refused
from hub.installation import API
from hub.terminal import plain
from hub.trouble import Trouble

Words = Mapping[str, str]
"""Language (`en`, `zh-CN`) → sentences."""

NOT_TO_GO: Mapping[str, Words] = {
    "draft": {"en": "Nothing was to be sent: the order is a draft. Confirm it.",
              "zh-CN": "尚无需发送：订单还是草稿。请先确认订单。"},
    "cancelled": {"en": "Nothing was to be sent: the order was cancelled before any system had accepted it.",
                  "zh-CN": "无需发送：订单在任何系统接收之前已取消。"},
}
"""Why there is no delivery at all, by the state of the order."""
NO_ROUTE: Words = {
    "en": "Nothing was accepted for any system: no active route brings orders anywhere. Switch one on (hub routes "
          "activate CONNECTION order), then bring what was confirmed before: hub runs start backfill CONNECTION order",
    "zh-CN": "没有任何系统接收：没有启用的订单路由。请先启用（hub routes activate CONNECTION order），"
             "再发送之前确认的订单：hub runs start backfill CONNECTION order"}
STOPPED: Words = {
    "en": "Nothing was accepted for {name}: the connection is stopped. Resume it (hub connections resume {name}), then "
          "bring what was confirmed meanwhile: hub runs start backfill {name} order",
    "zh-CN": "{name} 没有接收：连接已停止。请先恢复（hub connections resume {name}），"
             "再发送停止期间确认的订单：hub runs start backfill {name} order"}
NOT_THEN: Words = {
    "en": "Nothing was accepted for {name}, which takes orders now: when this one was confirmed, the connection was "
          "stopped or no route brought orders there. Bring it: hub runs start backfill {name} order. Only if it was "
          "confirmed just now, look for its event first (hub parked list, hub doctor).",
    "zh-CN": "{name} 没有接收，但现在可以接收订单：确认该订单时连接已停止，或还没有启用的订单路由。"
             "请发送它：hub runs start backfill {name} order。"
             "只有刚刚确认的订单，才需先查看事件是否尚未被接收（hub parked list、hub doctor）。"}
UNKNOWN: Words = {
    "en": "Nothing was accepted for any system: either no active route brought orders anywhere when it was confirmed, "
          "or the event has not been taken in. Whoever may see routes and connections is told here which.",
    "zh-CN": "没有任何系统接收：确认时没有启用的订单路由，或事件尚未被接收。有权查看路由和连接者在此可看到具体原因。"}
"""Why an order that was confirmed has no delivery, by what brings orders anywhere now."""


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


def never_sent(door: Door, order: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return why there is no delivery of an order at all, and what to do about it; by connection where it differs."""
    if order["status"] in NOT_TO_GO:
        return [dict(NOT_TO_GO[order["status"]])]
    try:
        routes = every(door, f"{API}/routes", {"entity": "order", "state": "active"})
        sending = {one["connection_id"] for one in routes if one["direction"] != "pull"}
        connections = [one for one in every(door, f"{API}/connections", {}) if one["id"] in sending]
    except Refused as refused:
        if refused.status != 403:
            raise
        return [dict(UNKNOWN)]
    return [{language: sentence.format(name=shlex.quote(one["name"])) for language, sentence in
             (STOPPED if one["desired_state"] == "stopped" else NOT_THEN).items()}
            for one in connections] or [dict(NO_ROUTE)]


def show(out: Console, document: Mapping[str, Any], reasons: Iterable[Words] = (), *, calls: bool = False) -> None:
    """Print how an order stands in each system, why, and what to do; with `calls` what was sent and answered.

    `reasons` say why it has gone nowhere, if it has.
    """
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
    for words in reasons:
        say(out, words.values())


def _show_fate(out: Console, fate: Mapping[str, Any], indent: str = "") -> None:
    colour = "green" if _stands(fate) else "red" if fate["state"] == "dead" else "yellow"
    kind = f" ({fate['error_class']})" if fate["error_class"] else ""
    reason = f"  {plain(fate['reason'])}" if fate["reason"] else ""
    out.print(f"{indent}  [{colour}]{fate['state']}{kind}[/]{reason}", soft_wrap=True)
    say(out, fate["next_step"].values(), indent)


def say(out: Console, sentences: Iterable[str], indent: str = "") -> None:
    """Print what comes next, in each language."""
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
