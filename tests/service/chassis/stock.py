"""Plain nameko 2.14.1, as its own documentation would have one write it: what the chassis is measured against.

`python stock.py AMQP_URI RUNS_FILE` runs it as a process.
"""

import eventlet

eventlet.monkey_patch()

# ruff: noqa: E402
import sys
import time
from pathlib import Path
from typing import Any

from nameko.cli.run import run
from nameko.containers import ServiceContainer
from nameko.events import EventDispatcher, event_handler
from nameko.rpc import RpcProxy, rpc

RUNS = "RUNS"
"""Key of nameko's configuration: the file with a line per run."""


class _Runs:
    """What a service appends its runs to; set before the start, as stock nameko gives a class no other way in."""

    file = Path()

    @classmethod
    def note(cls, what: str) -> None:
        with cls.file.open("a") as runs:
            runs.write(f"{what}\n")


class Stock:
    name = "stock"

    @rpc
    def wait(self, seconds: float) -> str:
        _Runs.note("wait")
        eventlet.sleep(seconds)
        return "done"

    @rpc
    def block(self, seconds: float) -> str:
        _Runs.note("block")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pass
        return "done"

    @rpc
    def refuse(self) -> None:
        raise KeyError("the customer's phone is 13800138000")


class Listener:
    name = "listener"

    @event_handler("outside", "thing.happened")
    def happened(self, payload: dict[str, Any]) -> None:
        _Runs.note(f"heard {payload['name']}")
        eventlet.sleep(payload.get("seconds", 0))
        if payload.get("fail"):
            raise ValueError("as told")

    @rpc
    def wait(self, seconds: float) -> str:
        eventlet.sleep(seconds)
        return "done"


class Impatient:
    name = "impatient"

    @event_handler("outside", "thing.happened", requeue_on_error=True)
    def happened(self, payload: dict[str, Any]) -> None:
        _Runs.note(f"heard {payload['name']}")
        raise ValueError("as told")


class Dispatching:
    name = "dispatching"
    dispatch = EventDispatcher()

    @rpc
    def say(self, what: str) -> None:
        self.dispatch("thing.happened", {"name": what})


class Asking:
    name = "asking"
    stock = RpcProxy("stock")

    @rpc
    def ask(self) -> str:
        answer: str = self.stock.wait(600)
        return answer


def container(service: type, amqp_uri: str, runs: Path, **config: Any) -> ServiceContainer:
    """Return a plain container that notes its runs in `runs`."""
    _Runs.file = runs
    return ServiceContainer(service, {"AMQP_URI": amqp_uri, **config})


def main() -> None:
    """Run one of the services as `nameko run` would."""
    service, amqp_uri, runs = sys.argv[1:]
    _Runs.file = Path(runs)
    run([globals()[service]], {"AMQP_URI": amqp_uri, "max_workers": 4, "HEARTBEAT": 2})


if __name__ == "__main__":
    main()
