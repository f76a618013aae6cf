"""The floor of a process that has nothing to do: stock nameko with one service and one method, and no line of ours.

Run as `python -m bench.floors.idle`; says `ready` when it listens.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

# ruff: noqa: E402
import os
import sys

from nameko.rpc import rpc
from nameko.runners import ServiceRunner


class Idle:
    """A service that nobody calls."""

    name = "floor_idle"

    @rpc  # type: ignore[untyped-decorator]
    def read(self, id: str) -> str:
        """Return what it was given."""
        return id


if __name__ == "__main__":
    runner = ServiceRunner({"AMQP_URI": os.environ["FLOOR_AMQP_URI"]})
    runner.add_service(Idle)
    runner.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    runner.wait()
