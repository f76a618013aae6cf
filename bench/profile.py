"""Where the time of an order, a read and a create goes: the hops between processes, and each one's busiest code."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import gateway
from bench.order import CUSTOMER, GAP_S, Product
from bench.stage import Stage
from bench.wire_http import ask_on

ORDERS, REQUESTS_S = 120, 6.0
OURS = ("chassis/", "contracts/", "gateway/", "services/", "hub_adapter/")


def run(database: str) -> dict[str, Any]:
    """Print and return all profiles."""
    return {"order": _order(database), **{verb: _requests(database, verb) for verb in ("read", "create")}}


def _traces(stage: Stage, work: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """Return what `work` returned and what each room wrote down meanwhile."""
    (stage.home / "trace-begin").touch()
    time.sleep(0.5)
    result = work()
    time.sleep(0.2)
    for process in stage.rooms.values():
        process.terminate()
    return result, {room: json.loads((Path(stage.home) / f"trace-{room}.json").read_text()) for room in stage.rooms}


# --- an order -----------------------------------------------------------------------------------------------------


def _order(database: str) -> dict[str, Any]:
    with Stage(database, traced=True) as stage:
        product = Product(stage, stage.start_product())
        product.round(20)
        drafted = product.drafts(ORDERS)
        time.sleep(1)

        def confirm_all() -> list[tuple[int, int, int]]:
            passages = []
            for order_id in drafted:
                passages.append(product.confirm(order_id))
                time.sleep(GAP_S)
            return passages

        passages, traces = _traces(stage, confirm_all)
    acknowledged = statistics.median((ack - asked) / 1e6 for asked, ack, _ in passages)
    arrived = statistics.median((at - asked) / 1e6 for asked, _, at in passages)
    hops = _hops(passages, traces)
    print(f"one order: acknowledged after {acknowledged:.1f} ms, at the target after {arrived:.1f} ms\n")
    print(f"{'room':13} {'hop':34} {'begins':>8} {'ends':>8} {'takes':>7}   (ms after the request, medians)")
    for hop in hops:
        print(f"{hop['room']:13} {hop['hop']:34} {hop['begins']:8.2f} {hop['ends']:8.2f} {hop['takes']:7.2f}")
    return {"acknowledged_ms": acknowledged, "arrived_ms": arrived, "hops": hops, "cpu": _cpu(traces, ORDERS)}


def _hops(passages: Sequence[tuple[int, int, int]], traces: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each hop's median begin and end, in milliseconds after the request, in the order of their ends."""
    seen: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for asked, _, arrived in passages:
        until = arrived + int(GAP_S * 1e9)
        for room, trace in traces.items():
            count: dict[str, int] = defaultdict(int)
            for name, began, ended in sorted(trace["spans"], key=lambda span: span[1]):
                if asked <= began < until:
                    count[name] += 1
                    label = name if count[name] == 1 else f"{name} ({count[name]})"
                    seen[room, label].append(((began - asked) / 1e6, (ended - asked) / 1e6))
    hops = [{"room": room, "hop": label, "begins": statistics.median(t[0] for t in times),
             "ends": statistics.median(t[1] for t in times), "takes": statistics.median(t[1] - t[0] for t in times)}
            for (room, label), times in seen.items() if len(times) > len(passages) / 2]
    return sorted(hops, key=lambda hop: float(str(hop["begins"])))


# --- reads and creates --------------------------------------------------------------------------------------------


def _requests(database: str, verb: str) -> dict[str, Any]:
    """Profile requests over 8 connections, as `bench gateway` makes them."""
    with Stage(database, traced=True) as stage:
        door = gateway.start_product(stage)
        customer = door.ask("POST", "/customers", CUSTOMER)["id"]
        reads, creates = door.raw("GET", f"/customers/{customer}"), door.raw("POST", "/customers", CUSTOMER)
        raw, status = (reads, 200) if verb == "read" else (creates, 201)
        ask_on(door.port, raw, 8, 1.0, status)
        rate, traces = _traces(stage, lambda: ask_on(door.port, raw, 8, REQUESTS_S, status).rate)
    print(f"\n{verb}, 8 connections: {rate:.0f} a second under the sampler")
    return {"rate": rate, "cpu": _cpu(traces, int(rate * REQUESTS_S))}


def _cpu(traces: dict[str, Any], units: int) -> dict[str, Any]:
    """Print and return the busiest functions of each process, in CPU time for each unit of work."""
    told = {}
    for room, trace in sorted(traces.items(), key=lambda item: -item[1]["cpu_us"]):
        ours = [row for row in trace["inclusive"] if row[0].startswith(OURS)][:25]
        told[room] = {"cpu_us_each": round(trace["cpu_us"] / units), "self": trace["self"][:30],
                      "inclusive": trace["inclusive"], "missing": trace["missing"]}
        print(f"\n{room}: {trace['cpu_us'] / units:.0f} µs of CPU each; not timed: {trace['missing'] or 'nothing'}")
        for heading, rows in (("in itself", trace["self"][:12]), ("with all that it calls", ours)):
            print(f"  {heading}")
            for where, spent in rows:
                print(f"    {spent / units:7.0f} µs  {where}")
    return told
