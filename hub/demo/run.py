"""Runs the demo and shows what it saw."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from hub.bring_up import BringUp
from hub.demo import erp
from hub.demo.door import Door, Refused
from hub.demo.login import Login, open_door
from hub.demo.story import Outcome, Story
from hub.installation import Installation
from hub.trouble import Trouble


def run(hub: Installation, out: Console, *, quiet: bool) -> dict[str, Any]:
    """Bring hub and ERP up, tell the story, show the table; return it all as one document.

    Raises:
        Trouble: a step cannot be done; the next run goes on from there.
    """
    began = time.monotonic()

    def tell(done: str, took_s: float | None = None) -> None:
        if not quiet:
            out.print(f"  [green]✓[/] {done}" + (f" [dim]{took_s:.1f} s[/]" if took_s is not None else ""))

    erp.prepare(hub)
    tell("sandbox ERP installed", time.monotonic() - began)
    BringUp(hub, tell, ("tryton",)).run()
    login = open_door(hub)
    target = erp.Erp.of(hub)
    try:
        outcome = Story(Door(hub.url, login.api_key), target, tell).run()
    except Refused as refused:
        raise Trouble(f"the hub refused a step of the demo ({refused})", "hub doctor looks for the reason") from refused
    if not quiet:
        _show(out, hub, target, outcome, login, time.monotonic() - began)
    return {"ok": True, "url": hub.url, "docs": f"{hub.url}/docs", "erp": target.url, **asdict(outcome)}


def _show(out: Console, hub: Installation, target: erp.Erp, outcome: Outcome, login: Login, took_s: float) -> None:
    sale = outcome.sale
    if sale is None:
        raise Trouble("the ERP holds no sale", "GET /api/v1/deliveries says what became of it")
    table = Table(title="One order")
    for heading in ("", "in the hub", "read back from the ERP", "seconds"):
        table.add_column(heading, overflow="fold")  # ids stay whole, so that they can be copied
    order, customer = outcome.order, outcome.customer
    table.add_row("order → sale", f"{order['number']}\n{order['id']}", f"{sale.number} (id {sale.id}), {sale.state}",
                  f"{outcome.arrived_s:.2f}")
    table.add_row("lines", "\n".join(f"{line['quantity']} x {line['sku']} at {line['unit_price']}"
                                     for line in order["lines"]), "\n".join(sale.lines), "")
    table.add_row("total", f"{order['total']} {order['currency']}", f"{sale.total} {order['currency']}", "")
    table.add_row("customer → party", f"{customer['name']}\n{customer['id']}",
                  f"{outcome.party['name']}\n{outcome.party['code']} (id {outcome.party['id']})", "")
    table.add_row("renamed", str(outcome.renamed["name"]), str(outcome.renamed["name"]), f"{outcome.renamed_s:.2f}")
    table.add_row("confirmed again", f"same key: {'same answer' if outcome.replayed else 'NOT the same answer'}\n"
                                     f"no key: {outcome.refused or 'accepted'}", f"{outcome.sales} sale", "")
    ledger = outcome.ledger
    table.add_row("ledger", f"accepted {ledger['accepted']} = delivered {ledger['delivered']} + skipped "
                  f"{ledger['skipped']} + superseded {ledger['superseded']} + dead {ledger['dead']}",
                  "adds up" if ledger["balanced"] else "DOES NOT ADD UP", "")
    out.print()
    out.print(table)
    out.print(f"\nDone in {took_s:.0f} s; it stays running. [bold]make down[/] stops it.")
    for name, place in (("gateway", f"{hub.url}/api/v1"), ("API docs", f"{hub.url}/docs"),
                        ("ERP", f"{target.url}  (Tryton's API; its own client is not part of the sandbox)")):
        out.print(f"  {name:9} {place}", soft_wrap=True)
    if login.password is not None:
        out.print(f"  login     admin / {login.password}  [dim](shown this once)[/]")
    else:
        out.print("  login     admin, with the password that the first run showed. To get a new one:")
        out.print("            .venv/bin/python -m services.identity.first_admin --reset admin", soft_wrap=True)
