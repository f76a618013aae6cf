"""Runs the demo and shows what it saw."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from hub.bring_up import BringUp
from hub.demo import sandbox
from hub.demo.calendar import Calendar
from hub.demo.colleague import Colleague
from hub.demo.door import Door, Refused
from hub.demo.erp import Erp
from hub.demo.login import Login, open_door
from hub.demo.order import OrderJob, OrderOutcome
from hub.demo.outage import OutageJob, OutageOutcome
from hub.demo.showing import Tell
from hub.demo.subscription import SubscriptionJob, SubscriptionOutcome
from hub.demo.task import TaskJob, TaskOutcome
from hub.installation import Installation
from hub.trouble import Trouble

Outcome = OrderOutcome | TaskOutcome | SubscriptionOutcome | OutageOutcome


def run(hub: Installation, out: Console, *, quiet: bool) -> dict[str, Any]:
    """Bring hub and sandboxes up, do every job, show the table; return it all as one document.

    Raises:
        Trouble: a step cannot be done; the next run goes on from there.
    """
    began = time.monotonic()

    def tell(done: str, took_s: float | None = None) -> None:
        if not quiet:
            out.print(f"  [green]✓[/] {done}" + (f" [dim]{took_s:.1f} s[/]" if took_s is not None else ""))

    sandbox.prepare(hub)
    tell("sandboxes installed: ERP and calendar server", time.monotonic() - began)
    BringUp(hub, tell, sandbox.SANDBOXES).run()
    login = open_door(hub)
    try:
        outcomes = dict(_jobs(hub, login, tell))
    except Refused as refused:
        raise Trouble(f"the hub refused a step of the demo ({refused})", "hub doctor looks for the reason",
                      refused.named) from refused
    took_s = time.monotonic() - began
    if not quiet:
        _show(out, hub, outcomes, login, took_s)
    places = {"url": hub.url, "docs": f"{hub.url}/docs", "erp": Erp.of(hub).url, "calendar": Calendar.of(hub).url}
    jobs = {name: asdict(outcome) for name, outcome in outcomes.items()}
    return {"ok": True, **places, "took_s": round(took_s, 1), "jobs": jobs}


def _jobs(hub: Installation, login: Login, tell: Tell) -> Iterator[tuple[str, Outcome]]:
    door, erp, colleague = Door(hub.url, login.api_key), Erp.of(hub), Colleague.of(hub)
    yield "order", OrderJob(door, erp, colleague, tell).run()
    yield "task", TaskJob(door, Calendar.of(hub), tell).run()
    yield "subscription", SubscriptionJob(door, erp, colleague, tell).run()
    yield "outage", OutageJob(door, erp, hub, tell).run()


def _show(out: Console, hub: Installation, outcomes: dict[str, Outcome], login: Login, took_s: float) -> None:
    table = Table(title="Every job, both ways")
    for heading in ("", "in the hub", "read back from the target", "seconds"):
        table.add_column(heading, overflow="fold")  # ids stay whole, so that they can be copied
    for outcome in outcomes.values():
        table.add_section()
        for row in outcome.rows():
            table.add_row(row.leg, row.here, row.there, "" if row.took_s is None else f"{row.took_s:.2f}")
    out.print()
    out.print(table)
    out.print(f"\nDone in {took_s:.0f} s; it stays running. [bold]make down[/] stops it.")
    for name, place in (("hub", ".venv/bin/hub  (its verbs: hub/README.md)"),
                        ("gateway", f"{hub.url}/api/v1"), ("API docs", f"{hub.url}/docs"),
                        ("ERP", f"{Erp.of(hub).url}  (Tryton's API; its own client is not part of the sandbox)"),
                        ("calendar", f"{Calendar.of(hub).place}  (password in {hub.home}/sandbox/radicale/seed.json)")):
        out.print(f"  {name:9} {place}", soft_wrap=True)
    if login.password is not None:
        out.print(f"  login     admin / {login.password}  [dim](shown this once)[/]")
    else:
        out.print("  login     admin, with the password that the first run showed. To get a new one:")
        out.print("            .venv/bin/python -m services.identity.first_admin --reset admin", soft_wrap=True)
