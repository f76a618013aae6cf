"""The file of checkpoints: what the table is held against, so that its end cannot be cut off unseen.

One line per checkpoint, only ever appended to. `HUB_AUDIT_DIR` puts it on another disk; what it says is logged as well,
so that whoever collects the logs has it on another machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from chassis.audit.chain import Checkpoint

_TAIL = 4096
"""Bytes at the end of the file that hold its last line for certain."""


def path_of(folder: Path, service: str) -> Path:
    """Return the file of a service's checkpoints."""
    return folder / f"{service}.checkpoints"


def append(path: Path, checkpoint: Checkpoint) -> None:
    """Add a checkpoint; when this returns, the disk has it.

    Raises:
        OSError: the disk is full, or the folder is not ours.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # A line that was cut off must not swallow the next one.
        torn = path.stat().st_size > 0 and _tail(path)[-1:] != b"\n"
        os.write(descriptor, (b"\n" if torn else b"") + checkpoint.line())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def last(path: Path) -> Checkpoint | None:
    """Return the newest checkpoint of the file that can be read, None if there is none."""
    try:
        lines = _tail(path).splitlines()
    except FileNotFoundError:
        return None
    return next((found for line in reversed(lines) if (found := _of(line)) is not None), None)


def read(path: Path, size: int) -> Iterator[Checkpoint | None]:
    """Yield the checkpoints in the first `size` bytes of the file, None for a line that is none.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as lines:
        for line in lines:
            size -= len(line)
            if size < 0:
                return
            if line.strip():
                yield _of(line)


def _of(line: bytes) -> Checkpoint | None:
    try:
        return Checkpoint.read(line.decode())
    except ValueError:
        return None


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _TAIL, 0))
        return file.read()
