"""The systems that the hub works with, through the gateway: how each fares, what became of what it accepted."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from hub import files
from hub.installation import API, Installation
from hub.terminal import Json, answer, out, plain, print_json, print_table, verb

if TYPE_CHECKING:
    from hub.demo.door import Door

app = typer.Typer(no_args_is_help=True, help="Set up connected systems, look at them, check, pause and resume them.")

Named = Annotated[str, typer.Argument(metavar="CONNECTION", help="Its name or id.")]
Kind = Annotated[str | None, typer.Option(help="erp, marketing, oa, finance, webhook or other.")]
RatePerS = Annotated[float | None, typer.Option(help="Requests a second, for each process.")]
Burst = Annotated[int | None, typer.Option(help="How many of them at once.")]
MaxInFlight = Annotated[int | None, typer.Option(help="Calls at a time.")]
NOT_WELL = 3
"""Exit code of a look at a connection that does not work, or at a ledger that does not add up."""
MADE: Mapping[str, str] = {
    "en": "Put its credential, then have it checked: hub connections credential {name}; hub connections check {name}",
    "zh-CN": "请保存凭据，然后检查：hub connections credential {name}；hub connections check {name}"}
KEPT: Mapping[str, str] = {
    "en": "Version {version} of the credential is kept. Have it checked: hub connections check {name}",
    "zh-CN": "凭据第 {version} 版已保存。请检查：hub connections check {name}"}


@app.command("list")
@verb
def list_(
    adapter: Annotated[str | None, typer.Option(help="Only of this adapter.")] = None,
    state: Annotated[str | None, typer.Option(help="active, paused or stopped.")] = None,
    as_json: Json = False,
) -> int:
    """Show every connection: what is wanted of it, what is seen, and how sure a delivery is."""
    from hub import client

    with client.asking(Installation.here()) as door:
        found = list(client.every(door, f"{API}/connections", {"adapter": adapter, "desired_state": state}))
    if as_json:
        print_json({"ok": True, "connections": found})
        return 0
    table = Table("connection", "adapter", "wanted", "seen", "guarantee", "id", box=None, pad_edge=False)
    for one in found:
        table.add_row(plain(one["name"]), one["adapter"], one["desired_state"], one["health"], one["guarantee"],
                      one["id"])  # fmt: skip
    print_table(table)
    return 0


@app.command()
@verb
def show(connection: Named, as_json: Json = False) -> int:
    """Show one connection, why it is paused, and what its last check found. Exit code 3 when it does not work.

    That is also one that was never checked, or whose last check failed.
    """
    one = _asked(connection)
    well = one["desired_state"] == "active" and one["health"] == "ok" and one["check"] and one["check"]["ok"]
    if as_json:
        print_json({"ok": True, **one})
    else:
        _show(one)
    return 0 if well else NOT_WELL


@app.command()
@verb
def create(
    name: Annotated[str, typer.Argument(help="What it is called here.")],
    adapter: Annotated[str, typer.Option(help="Such as tryton; hub api GET /adapters shows all, and their settings.")],
    config: Annotated[str, typer.Option(metavar="FILE", help="Its settings as JSON; - is standard input. No secret.")],
    kind: Kind = None,
    rate_per_s: RatePerS = None,
    burst: Burst = None,
    max_in_flight: MaxInFlight = None,
    as_json: Json = False,
) -> int:
    """Set up an external system. It starts active; nothing travels until a route is."""
    from hub import client

    body = client.only_given(name=name, adapter=adapter, config=files.document(config), kind=kind,
                             rate_per_s=rate_per_s, burst=burst, max_in_flight=max_in_flight)  # fmt: skip
    with client.asking(Installation.here()) as door:
        return _stands(door.post(f"{API}/connections", body), *_lines(MADE, name), as_json=as_json)


@app.command()
@verb
def change(
    connection: Named,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="All its settings anew, as JSON; - is standard input.")
    ] = None,
    kind: Kind = None,
    rate_per_s: RatePerS = None,
    burst: Burst = None,
    max_in_flight: MaxInFlight = None,
    version: Annotated[int | None, typer.Option(help="Refuse if it is another by now.")] = None,
    as_json: Json = False,
) -> int:
    """Change what is given, and nothing else. A new address takes the credential away and pauses the connection."""
    from hub import client

    changes = client.only_given(name=name, config=None if config is None else files.document(config), kind=kind,
                                rate_per_s=rate_per_s, burst=burst, max_in_flight=max_in_flight)  # fmt: skip
    with client.asking(Installation.here()) as door:
        path = f"{API}/connections/{client.connection_id(door, connection)}"
        return _stands(client.change(door, path, changes, version), as_json=as_json)


@app.command()
@verb
def credential(
    connection: Named,
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="JSON, name → secret; - is standard input. Without it on a "
                                                        "terminal each secret is asked for, unseen.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Replace the secrets with which a connection signs in. They can be written, never read."""
    from hub import client

    read = None if file is None and _on_terminal() else files.document(file or files.STDIN)
    with client.asking(Installation.here()) as door:
        path = f"{API}/connections/{client.connection_id(door, connection)}"
        kept = door.put(f"{path}/credential", {"secrets": _typed(door, path) if read is None else read})
    return answer(kept, *_lines(KEPT, connection, kept), as_json=as_json)


@app.command()
@verb
def check(connection: Named, as_json: Json = False) -> int:
    """Ask the system whether it can be worked with: address, credential, rights, codes. Exit code 3 when not."""
    found = _told(connection, "check")
    if as_json:
        print_json(found)
    else:
        _show_check(found)
    return 0 if found["ok"] else NOT_WELL


@app.command()
@verb
def pause(
    connection: Named,
    reason: Annotated[str, typer.Option(help="Why; it is shown to whoever looks, and audited.")] = "",
    as_json: Json = False,
) -> int:
    """Claim no more calls; what is claimed already may still go, within a turn. The rest waits, and nothing is lost."""
    return _stands(_told(connection, "pause", {"reason": reason}), as_json=as_json)


@app.command()
@verb
def stop(
    connection: Named,
    reason: Annotated[str, typer.Option(help="Why; it is shown to whoever looks, and audited.")] = "",
    as_json: Json = False,
) -> int:
    """Take a connection out of use: no more calls are claimed, and nothing more is accepted; what waits stays.

    What is claimed already may still go, within a turn. What changes until it is resumed comes afterwards only by a
    reconcile or backfill.
    """
    return _stands(_told(connection, "stop", {"reason": reason}), as_json=as_json)


@app.command()
@verb
def resume(connection: Named, as_json: Json = False) -> int:
    """Let deliveries flow again; after a refused credential, once a check has passed."""
    return _stands(_told(connection, "resume"), as_json=as_json)


@app.command()
@verb
def pull(connection: Named, as_json: Json = False) -> int:
    """Ask the system for its changes at once instead of at the next poll."""
    asked = _told(connection, "pull")
    return answer(asked, f"asked for 已请求: {', '.join(asked['entities']) or 'nothing 无'}", as_json=as_json)


@app.command()
@verb
def ledger(connection: Named, as_json: Json = False) -> int:
    """Show how much was accepted and what became of it. Exit code 3 when the sum does not add up."""
    told = _asked(connection, "/ledger")
    if as_json:
        print_json({"ok": True, **told})
    else:
        parts = ("delivered", "skipped", "superseded", "dead", "cancelled", "open")
        out.print(f"accepted {told['accepted']} = {' + '.join(f'{told[part]} {part}' for part in parts)}",
                  soft_wrap=True)
        out.print("adds up 账目相符" if told["balanced"] else "[red]does not add up 账目不符[/]: hub doctor")
    return 0 if told["balanced"] else NOT_WELL


def _asked(connection: str, path: str = "") -> dict[str, Any]:
    from hub import client

    with client.asking(Installation.here()) as door:
        return door.get(f"{API}/connections/{client.connection_id(door, connection)}{path}")


def _told(connection: str, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    from hub import client

    with client.asking(Installation.here()) as door:
        return door.post(f"{API}/connections/{client.connection_id(door, connection)}/{verb}", body)


def _on_terminal() -> bool:
    return sys.stdin.isatty()


def _typed(door: Door, path: str) -> dict[str, str]:
    """Ask a person for each secret of the adapter, without showing it; one that is left empty is none."""
    adapter = door.get(path)["adapter"]
    known = {one["name"]: one["secret_fields"] for one in door.get(f"{API}/adapters")["items"]}
    typed = {name: typer.prompt(name, default="", show_default=False, hide_input=True, err=True)
             for name in known.get(adapter, ())}  # fmt: skip
    return {name: secret for name, secret in typed.items() if secret}


def _lines(words: Mapping[str, str], name: str, told: Mapping[str, Any] | None = None) -> list[str]:
    return [plain(sentence.format_map({**(told or {}), "name": shlex.quote(name)})) for sentence in words.values()]


def _stands(one: dict[str, Any], *lines: str, as_json: bool) -> int:
    if as_json:
        print_json({"ok": True, **one})
        return 0
    _show(one)
    for line in lines:
        out.print(f"  → {line}", soft_wrap=True)
    return 0


def _show(one: dict[str, Any]) -> None:
    colour = "green" if one["health"] == "ok" and one["desired_state"] == "active" else "yellow"
    out.print(f"[bold]{plain(one['name'])}[/]  {one['adapter']}  [{colour}]{one['desired_state']}, {one['health']}[/]  "
              f"{one['id']}", soft_wrap=True)  # fmt: skip
    if one["desired_state"] != "active":
        why = f": {plain(one['pause_reason'])}" if one["pause_reason"] else ""
        out.print(f"  {one['desired_state']} by {plain(one['paused_by'] or 'the hub')}{why}", soft_wrap=True)
    for sentence in (one["pause_advice"] or {}).values():
        out.print(f"  → {plain(sentence)}", soft_wrap=True)
    for name in ("throttled_until", "breaker_opened_at", "breaker_open_until", "last_success_at"):
        if one[name]:
            out.print(f"  {name.replace('_', ' ')} {one[name]}")
    if one["check"] is None:
        out.print(f"  never checked 从未检查: hub connections check {plain(shlex.quote(one['name']))}", soft_wrap=True)
    elif one["check"]["ok"] and one["health"] != "ok":
        out.print(f"  passed its check {one['check']['checked_at'][:19]}, and is {one['health']} now "
                  f"曾通过检查，现为 {one['health']}", soft_wrap=True)  # fmt: skip
    else:
        _show_check(one["check"])


def _show_check(found: dict[str, Any]) -> None:
    mark = "[green]✓[/]" if found["ok"] else "[red]✗[/]"
    out.print(f"  {mark} checked {found['checked_at'][:19]}: {plain(found['message'])}", soft_wrap=True)
    for problem in found["problems"]:
        out.print(f"    {plain(problem['field'])}: {plain(problem['message'])}", soft_wrap=True)
