"""The machine under the hub: who holds a port, how much room there is, what a process weighs."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"


def port_is_taken(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something listens on `host:port`, or the port may not be used."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def port_becomes_free(port: int, within_s: float = 2.0) -> bool:
    """Whether a port is free now or soon: a process that has just ended may hold it for a moment."""
    deadline = time.monotonic() + within_s
    while port_is_taken(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def port_answers(port: int, host: str = "127.0.0.1", timeout_s: float = 1.0) -> bool:
    """Whether something accepts connections on `host:port`."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def holder(port: int) -> str:
    """Return who listens on a TCP port, as far as this user may see: `nginx, pid 812`, or `another program`."""
    process = _holding(port)
    return f"{(process / 'comm').read_text().strip()}, pid {process.name}" if process else "another program"


def held_with(port: int, variable: str, value: str) -> bool:
    """Whether a process with `variable=value` in its environment listens on a TCP port."""
    process = _holding(port)
    return process is not None and _has(process, variable, value)


def _holding(port: int) -> Path | None:
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in _processes():
        try:
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return process
        except OSError:
            continue
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for columns in map(str.split, lines):
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]


def _processes() -> Iterator[Path]:
    return (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())


def processes_with(variable: str, value: str) -> dict[int, str]:
    """Return our own processes that have `variable=value` in their environment, by pid, with their command line."""
    found: dict[int, str] = {}
    for process in _processes():
        try:
            if _has(process, variable, value):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue
    found.pop(os.getpid(), None)
    return found


def _has(process: Path, variable: str, value: str) -> bool:
    try:
        return f"{variable}={value}".encode() in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def parent_of(pid: int) -> int:
    """Return the pid of the parent, 0 when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def memory_mb(pid: int) -> float | None:
    """Return the proportional set size of a process and all its children in MB; None when it may not be seen."""
    children: dict[int, list[int]] = {}
    for process in _processes():
        children.setdefault(parent_of(int(process.name)), []).append(int(process.name))
    family, total_kb = [pid], 0
    for member in family:
        family += children.get(member, [])
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            if member == pid:
                return None
            continue
        total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return round(total_kb / 1024, 1)


def free_mb(folder: Path) -> int:
    """Return the room left for us where `folder` is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free // 1_048_576
