"""Who holds a lease, in words that tell later whether that process lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path


def this_process() -> str:
    """Return `host/pid/start`: unlike a pid alone, it is never given to another process."""
    return f"{_host()}/{os.getpid()}/{_started(os.getpid())}"


def gone(owners: Iterable[str]) -> set[str]:
    """Return those owners that certainly live no more.

    Only a process of this very host can be known to be gone, so that after a kill what it held need not wait until its
    leases end; of any other the lease alone decides.
    """
    return {owner for owner in owners if _is_gone(owner)}


def _is_gone(owner: str) -> bool:
    host, _, rest = owner.partition("/")
    pid, _, started = rest.partition("/")
    if host != _host() or not pid.isdigit() or not started or not Path("/proc/self/stat").exists():
        return False
    return _started(int(pid)) != started


def _host() -> str:
    return socket.gethostname()[:60].replace("/", "-")


def _started(pid: int) -> str:
    """Return when the process began (clock ticks since boot), or nothing if it is not there or has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The second field is the command in parentheses and may hold blanks (proc(5)); the state is the first after it.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
