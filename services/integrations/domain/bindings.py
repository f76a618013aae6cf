"""What a binding, or that there is none, tells of a record at its target."""

from __future__ import annotations

from typing import Protocol


class Binding(Protocol):
    """Our id ↔ theirs, as the table `binding` has it."""

    @property
    def state(self) -> str: ...
    @property
    def external_id(self) -> str | None: ...


def is_bound(binding: Binding | None) -> bool:
    """Tell whether the record is known to stand there."""
    return binding is not None and binding.external_id is not None


def is_away(binding: Binding | None) -> bool:
    """Tell whether nothing of the record stands there. What was begun to be made may have been left half-made."""
    return binding is None or binding.state in ("unbound", "tombstoned")


def create_key(lane: tuple[str, str, str]) -> str:
    """Return the one key under which the record of a lane is ever made at its target."""
    _connection_id, entity, local_id = lane
    return f"{entity}-{local_id}"
