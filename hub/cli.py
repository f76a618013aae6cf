"""The verbs of `hub`."""

from __future__ import annotations

import os
import warnings
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from hub import (
    accounts,
    adapters,
    ask,
    chinese,
    code_tables,
    conflicts,
    connections,
    deliveries,
    mappings,
    runs,
    sync_routes,
)
from hub.installation import API, Installation
from hub.terminal import Json, answer, err, out, plain, print_json, print_table, verb
from hub.trouble import Trouble

if TYPE_CHECKING:
    from chassis.audit.verification import Report

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Runs a CRM hub on this machine."
)
config_app = typer.Typer(no_args_is_help=True, help="Look at the settings of the rooms.")
app.add_typer(config_app, name="config")
parked_app = typer.Typer(no_args_is_help=True, help="Events that no handler could take.")
app.add_typer(parked_app, name="parked")
app.add_typer(adapters.app, name="adapter")
app.add_typer(runs.app, name="runs")
app.add_typer(connections.app, name="connections")
app.add_typer(sync_routes.app, name="routes")
app.add_typer(mappings.app, name="mappings")
app.add_typer(code_tables.app, name="codes")
app.add_typer(accounts.app, name="accounts")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(conflicts.app, name="conflicts")
app.command("api")(ask.api)


def main() -> None:
    """Entry point of the script `hub` and of `python -m hub`."""
    os.umask(0o077)  # keys, databases and logs are for their owner
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")  # known, see docs/decisions
    app()


def _known(room: str, rooms: tuple[str, ...]) -> None:
    if room not in rooms:
        raise Trouble(f"there is no room {room!r} here", f"choose of: {', '.join(rooms)}")


@app.command()
@verb
def up(
    with_: Annotated[list[str] | None, typer.Option("--with", help="A sandbox to start too, such as tryton.")] = None,
    as_json: Json = False,
) -> int:
    """Start the hub on this machine, or what of it is not running; returns when every room is ready."""
    from hub import first_admin
    from hub.bring_up import BringUp

    hub = Installation.here()
    steps: list[dict[str, Any]] = []

    def tell(done: str, took_s: float) -> None:
        steps.append({"step": done, "took_s": round(took_s, 2)})
        if not as_json:
            out.print(f"  [green]✓[/] {done} [dim]{took_s:.1f} s[/]")

    BringUp(hub, tell, tuple(with_ or ())).run()
    password = first_admin.make(hub)
    if as_json:
        document = {"ok": True, "url": hub.url, "docs": f"{hub.url}/docs", "home": hub.home, "steps": steps}
        print_json(document | ({"first_admin": {"username": "admin", "password": password}} if password else {}))
    else:
        out.print(f"\nThe hub serves at [bold]{hub.url}[/]. Its API is described at {hub.url}/docs.", soft_wrap=True)
        if password:
            out.print(f"First login: admin / {password} (shown this once; change it at sign-in)", soft_wrap=True)
        hint = "Log in with POST /api/v1/sessions. hub status shows the processes, hub down stops them."
        out.print(hint, soft_wrap=True)
    return 0


@app.command()
@verb
def demo(as_json: Json = False) -> int:
    """Show every job of the hub both ways, with a real ERP and calendar server. Leaves everything running."""
    from hub.demo.run import run

    document = run(Installation.here(), out, quiet=as_json)
    if as_json:
        print_json(document)
    return 0


@app.command()
@verb
def down(as_json: Json = False) -> int:
    """Stop what `hub up` started, and nothing else. Data and keys stay."""
    from hub.supervisor import Supervisor

    supervisor = Supervisor(Installation.here())
    stopped = supervisor.stop()
    orphans = supervisor.stop_orphans()
    ran = stopped or orphans > 0
    return answer({"stopped": ran}, "The hub is down." if ran else "The hub was not running.", as_json=as_json)


@app.command()
@verb
def status(as_json: Json = False) -> int:
    """Show every process: state, since when, ready or what it lacks, memory. Exit code 3 when the hub is down."""
    hub = Installation.here()
    rows = _rows(hub)
    if as_json:
        print_json({"running": bool(rows), "home": hub.home, "programs": rows})
    elif not rows:
        home = plain(str(hub.home))
        out.print(f"The hub of {home} is down: hub up starts it. HUB_HOME names another one's folder.\n"
                  f"{home} 中的系统没有运行：hub up 会启动它。其他系统的目录由 HUB_HOME 指定。", soft_wrap=True)
    else:
        table = Table("process", "pid", "state", "since (UTC)", "ready", "memory", box=None, pad_edge=False)
        for row in rows:
            memory = "" if row["memory_mb"] is None else f"{row['memory_mb']:.0f} MB"
            since = row["since"].strftime("%m-%d %H:%M:%S") if row["since"] else ""
            ready = "yes" if row["ready"] else plain(str(row["missing"] or ""))
            table.add_row(row["name"], str(row["pid"] or ""), row["state"], since, ready, memory)
        print_table(table)
    return 0 if rows else 3


def _rows(hub: Installation) -> list[dict[str, Any]]:
    from hub import machine, readiness
    from hub.supervisor import Supervisor

    states = Supervisor(hub).states()
    rows = []
    for program in hub.programs.values():
        state = states.get(program.name)
        if state is None or (program.group == "sandbox" and state.pid is None):
            continue
        missing = readiness.missing(hub, program) if state.pid else None
        rows.append(
            asdict(state)
            | {
                "ready": state.pid is not None and missing is None,
                "missing": missing,
                "memory_mb": machine.memory_mb(state.pid) if state.pid else None,
            }
        )
    return rows


@app.command()
@verb
def doctor(as_json: Json = False) -> int:
    """Look for what is wrong on this machine and say what to do. Exit code 1 when something is wrong."""
    from hub.doctor import examine

    findings = examine(Installation.here())
    wrong = [finding for finding in findings if finding.verdict == "wrong"]
    if as_json:
        print_json({"ok": not wrong, "at": datetime.now(UTC), "findings": [asdict(finding) for finding in findings]})
        return 1 if wrong else 0
    marks = {"ok": "[green]✓[/]", "note": "[yellow]·[/]", "wrong": "[red]✗[/]"}
    for finding in findings:
        remedy = f" → {plain(finding.remedy)}" if finding.remedy else ""
        out.print(f"{marks[finding.verdict]} {finding.subject:10} {plain(finding.text)}{remedy}", soft_wrap=True)
        if finding.remedy:
            said = chinese.of(Trouble(finding.text, finding.remedy))
            out.print(f"  {'':10} {plain(said['problem'])} → {plain(said['remedy'])}", soft_wrap=True)
    return 1 if wrong else 0


@app.command()
@verb
def migrate(
    room: Annotated[str | None, typer.Argument(help="One room; without it every room of this machine.")] = None,
    as_json: Json = False,
) -> int:
    """Bring databases to the newest revision."""
    from hub import databases

    known = databases.databases(Installation.here())
    if room is not None:
        _known(room, tuple(known))
    chosen = {room: known[room]} if room is not None else known
    for name, uri in chosen.items():
        databases.migrate(name, uri)
        if not as_json:
            out.print(f"  [green]✓[/] {name}")
    if as_json:
        print_json({"ok": True, "migrated": list(chosen)})
    return 0


@app.command("verify-audit")
@verb
def verify_audit(
    room: Annotated[str | None, typer.Argument(help="One room; without it every room of this machine.")] = None,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", help="A copy of the room's checkpoints, kept elsewhere.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Read the audit trail again and name what was changed, moved, taken out or cut off. Exit code 3 when any was."""
    from hub import audit, databases

    hub = Installation.here()
    known = tuple(databases.databases(hub))
    if room is not None:
        _known(room, known)
    elif checkpoints is not None:
        raise Trouble("a file of checkpoints belongs to one room", "name the room too")
    with Progress(*Progress.get_default_columns(), console=err, transient=True,
                  disable=as_json or not err.is_terminal) as progress:
        bars = {name: progress.add_task(name, total=None) for name in ((room,) if room is not None else known)}
        reports = [
            audit.verify(hub, name, checkpoints,
                         lambda told, done, of: progress.update(bars[told], completed=done, total=of))
            for name in bars
        ]  # fmt: skip
    broken = any(not report.whole for report in reports)
    if as_json:
        print_json({"ok": not broken, "rooms": [asdict(report) for report in reports]})
    else:
        _show_trails(reports)
    return 3 if broken else 0


def _show_trails(reports: list[Report]) -> None:
    for report in reports:
        mark = "[green]✓[/]" if report.whole else "[red]✗[/]"
        more = "".join(f", {count} {word}" for count, word in (
            (report.unsealed, "not sealed yet"), (report.unreadable, "unreadable checkpoints")) if count)
        out.print(f"{mark} {report.service:13} {report.sealed} entries, {report.checkpoints} checkpoints{more}")
        for finding in report.findings[:20]:
            where = f" [dim]{finding.entry_id}[/]" if finding.entry_id else ""
            out.print(f"    [red]{finding.kind}[/] {plain(finding.text)}{where}", soft_wrap=True)
        if report.found > 20:
            out.print(f"    and {report.found - 20} more; --json shows the first {len(report.findings)}")
    if any(not report.whole for report in reports):
        out.print("What it means and what to do: docs/runbooks/when-the-audit-chain-does-not-verify.md", soft_wrap=True)


@app.command()
@verb
def why(
    order: Annotated[str, typer.Argument(help="Its number, such as SO-2026-000012, or its id.")],
    calls: Annotated[bool, typer.Option("--calls", help="Show what was sent and answered, redacted.")] = False,
    as_json: Json = False,
) -> int:
    """Say why an order has not arrived in other systems, and what to do. Exit code 3 unless it has in all of them."""
    from hub import why
    from hub.client import asking, order_id

    with asking(Installation.here()) as door:
        document = door.get(f"{API}/orders/{order_id(door, order)}/deliveries")
        arrived = why.has_arrived(document)
        reasons = () if as_json or why.latest(document) else why.never_sent(door, document["order"])
    if as_json:
        print_json({"ok": True, "arrived": arrived, **document})
    else:
        why.show(out, document, reasons, calls=calls)
    return 0 if arrived else 3


@app.command()
@verb
def retry(
    delivery: Annotated[str, typer.Argument(help="The id of a dead delivery, as hub why shows it.")],
    as_sent: Annotated[bool, typer.Option("--as-sent", help="What it sent, not the record as it is now.")] = False,
    as_json: Json = False,
) -> int:
    """Send a dead delivery again, as the record is now or as it was sent; once, however often it is asked."""
    from hub.client import asking

    with asking(Installation.here()) as door:
        again = door.post(f"{API}/deliveries/{delivery}/retry", {"payload": "as_sent"} if as_sent else None)
    return answer(again, f"Delivery {again['id']} goes in its place.", f"将由投递 {again['id']} 代替发送。",
                  as_json=as_json)


@config_app.command("template")
@verb
def config_template(
    room: Annotated[str, typer.Argument(help="A room of this machine.")],
    env: Annotated[bool, typer.Option("--env", help="As an environment file instead of YAML.")] = False,
) -> int:
    """Print every setting of a room with its meaning, limits and default, ready to be filled in."""
    from hub.room_config import template

    hub = Installation.here()
    _known(room, hub.rooms)
    typer.echo(template(hub, room, "env" if env else "yaml"), nl=False)
    return 0


@config_app.command("check")
@verb
def config_check(
    room: Annotated[str | None, typer.Argument(help="One room; without it every room of this machine.")] = None,
    as_json: Json = False,
) -> int:
    """Read every room's settings as its process would, and say which key is wrong. Secrets are not shown."""
    from hub.room_config import check

    hub = Installation.here()
    if room is not None:
        _known(room, hub.rooms)
    results = [check(hub, name) for name in ((room,) if room is not None else hub.rooms)]
    broken = [result for result in results if result["problem"]]
    if as_json:
        print_json({"ok": not broken, "rooms": results})
        return 1 if broken else 0
    for result in results:
        mark = "[red]✗[/]" if result["problem"] else "[green]✓[/]"
        out.print(f"{mark} {result['room']:13} {plain(result['problem'] or 'settings are complete')}", soft_wrap=True)
    return 1 if broken else 0


@parked_app.command("list")
@verb
def parked_list(as_json: Json = False) -> int:
    """Show every parking queue: how much waits in it, and the oldest with its reason. Exit code 3 when any waits."""
    from hub import listeners, parked

    hub = Installation.here()
    found = parked.look(hub, listeners.queues(hub))
    waiting = sum(each.parked for each in found)
    if as_json:
        print_json({"ok": True, "parked": waiting, "queues": [asdict(each) for each in found]})
        return 3 if waiting else 0
    table = Table("queue", "parked", "oldest (UTC)", "event", "reason", box=None, pad_edge=False)
    for each in found:
        event = " ".join(filter(None, (each.oldest_type, each.oldest_id)))
        table.add_row(each.queue, str(each.parked), each.oldest_at or "", event, plain(each.reason or ""))
    print_table(table)
    if waiting:
        out.print("Mend the cause, then: hub parked return QUEUE", soft_wrap=True)
    return 3 if waiting else 0


@parked_app.command("return")
@verb
def parked_return(
    queue: Annotated[str, typer.Argument(help="As hub parked list shows it.")],
    as_json: Json = False,
) -> int:
    """Move what is parked of a queue back to it, to be tried again; what had its effect already has no second one."""
    from hub import parked

    moved = parked.give_back(Installation.here(), queue)
    return answer({"queue": queue, "returned": moved}, f"{moved} returned to {queue}.", as_json=as_json)
