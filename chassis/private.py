"""Files that only their owner may read: written complete or not at all, whenever the process ends."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def mode_of(path: Path) -> int:
    """Return the permission bits of `path`."""
    return stat.S_IMODE(path.stat().st_mode)


def open_to_others(path: Path) -> bool:
    """Tell whether anybody but the owner may do anything with `path`."""
    return bool(mode_of(path) & 0o077)


def write_once(path: Path, content: bytes) -> None:
    """Write a file (mode 0600) only if it is not there yet.

    Raises:
        FileExistsError: somebody else made it first.
    """
    with _draft(path, content) as draft:
        # A link, unlike a rename, fails when the name is taken.
        os.link(draft, path)


def write_over(path: Path, content: bytes) -> None:
    """Write a file (mode 0600) in place of what may be there."""
    with _draft(path, content) as draft:
        draft.replace(path)


@contextmanager
def _draft(path: Path, content: bytes) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
