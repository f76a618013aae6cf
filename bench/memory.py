"""What a hub keeps in memory while it has nothing to do, process by process, beside one bare nameko service.

The measure is PSS (proportional set size, proc(5)): what a process has for itself, and its share of what it has in
common with others. Summed over processes it counts every page once.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hub.machine import memory_mb
from tests.support.local_hub import LocalHub
from tests.support.processes import Processes, eventually

SETTLE_S, SAMPLES, EVERY_S = 10.0, 5, 3.0
GOAL_MB, GOAL_CPU_PERCENT = 450.0, 3.0
"""Of all processes together without the broker: megabytes, and per cent of one core."""
KEEPER, BROKER, FLOOR = "supervisord", "broker", "floor: one bare nameko service"
APART = (BROKER, FLOOR)
TICKS = os.sysconf("SC_CLK_TCK")


def measure() -> dict[str, Any]:
    """Start a hub as a person does, let it rest, and return what each process has.

    Raises:
        AssertionError: the hub does not start.
    """
    home = Path(tempfile.mkdtemp(prefix="hub-bench-"))
    hub, floor = LocalHub(home / "hub"), Processes(home)
    try:
        answer = hub("up")
        assert answer["ok"], answer
        programs = hub.pids() | {FLOOR: _bare_service(hub, floor)}
        keeper = int((home / "hub" / "run" / "supervisord.pid").read_text())
        busy = programs | {KEEPER: keeper, BROKER: hub.installation.broker.status().node_pid or 0}
        time.sleep(SETTLE_S)
        began, cpu_before = time.monotonic(), {name: _cpu_s(pid) for name, pid in busy.items()}
        seen = []
        for _ in range(SAMPLES):
            seen.append(_sizes_mb(programs, keeper))
            time.sleep(EVERY_S)
        watched_s = time.monotonic() - began
        cpu = {name: (_cpu_s(pid) - cpu_before[name]) / watched_s * 100 for name, pid in busy.items()}
    finally:
        floor.stop_all()
        hub.down()
        shutil.rmtree(home, ignore_errors=True)
    sizes = {name: statistics.median(sample[name] for sample in seen) for name in seen[0]}
    return _told(sizes, cpu)


def _bare_service(hub: LocalHub, floor: Processes) -> int:
    command = [sys.executable, "-W", "ignore", "-m", "bench.floors.idle"]
    process = floor.start("floor", command, {"FLOOR_AMQP_URI": hub.installation.amqp_uri})
    eventually(lambda: "ready" in process.log(), 20)
    return process.pid


def _sizes_mb(programs: dict[str, int], keeper: int) -> dict[str, float]:
    """Return the PSS of each program with all that it has started, and of their keeper without them."""
    sizes = {name: _size_mb(pid) for name, pid in programs.items()}
    kept = sum(size for name, size in sizes.items() if name != FLOOR)
    return sizes | {KEEPER: _size_mb(keeper) - kept}


def _size_mb(pid: int) -> float:
    size = memory_mb(pid)
    assert size is not None, f"process {pid} has ended, or belongs to somebody else"
    return size


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process (proc(5): utime and stime; the command before them may hold blanks)."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _told(sizes: dict[str, float], cpu: dict[str, float]) -> dict[str, Any]:
    processes = {name: {"pss_mb": round(size, 1), "cpu_percent": round(cpu[name], 2)} for name, size in sizes.items()}
    ours = [told for name, told in processes.items() if name not in APART]
    return {"processes": processes, "hub_pss_mb": round(sum(told["pss_mb"] for told in ours), 1), "goal_mb": GOAL_MB,
            "hub_cpu_percent": round(sum(told["cpu_percent"] for told in ours), 2),
            "goal_cpu_percent": GOAL_CPU_PERCENT}


def table(told: dict[str, Any]) -> str:
    """Return what `measure` told as a table for people; `of floor` says for how many bare services a process counts."""
    processes = told["processes"]
    bare = processes[FLOOR]["pss_mb"]
    lines = [f"{'a hub that has nothing to do':44} {'PSS MB':>9} {'of floor':>9} {'CPU %':>7}"]
    for name, one in sorted(processes.items(), key=lambda item: (item[0] in APART, -item[1]["pss_mb"])):
        note = " (not counted)" if name in APART else ""
        lines.append(f"{name + note:44} {one['pss_mb']:9.1f} {one['pss_mb'] / bare:9.2f} {one['cpu_percent']:7.2f}")
    marks = ["✓" if told[seen] <= told[goal] else "✗"
             for seen, goal in (("hub_pss_mb", "goal_mb"), ("hub_cpu_percent", "goal_cpu_percent"))]
    lines.append(f"{'all of it, broker apart':44} {told['hub_pss_mb']:9.1f} {'':9} {told['hub_cpu_percent']:7.2f}"
                 f"   goal: ≤ {GOAL_MB:g} MB {marks[0]}, ≤ {GOAL_CPU_PERCENT:g} % {marks[1]}")
    return "\n".join(lines)
