"""Starts one room of the hub as a process: `python -m chassis.launcher customers`."""

# eventlet must replace the blocking calls before anything else is imported.
import eventlet

eventlet.monkey_patch()

# ruff: noqa: E402
import importlib
import os
import signal
import sys
from typing import Any

import kombu.pools
from eventlet.event import Event
from nameko.rpc import Rpc  # noqa: F401  (nameko's own modules must load after the patch)

from chassis import broker, failpoints, migrations, telemetry
from chassis.config import ConfigError, Settings
from chassis.container import RUNTIME, HubContainer
from chassis.crypto import MasterKeyError
from chassis.runtime import Runtime
from chassis.sealed import sealed_columns
from contracts.errors import HubError

log = telemetry.logger(__name__)


def room_module(room: str) -> Any:
    """Import the door of a room.

    Raises:
        ConfigError: there is no such room here.
    """
    name = "gateway.service" if room == "gateway" else f"services.{room}.service"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise ConfigError(f"there is no room {room!r} in this installation") from error
        raise


def build(module: Any, settings: Settings) -> HubContainer:
    """Return the room's container, ready to start: database open, keys loaded, health checks in place.

    Args:
        module: with `SERVICE`, its nameko class; optionally `BASE`, the declarative base of its tables, and
            `prepare(runtime)`, which adds what the room needs for itself.
        settings: of that room.
    """
    base = getattr(module, "BASE", None)
    runtime = Runtime.build(settings, tuple(sealed_columns(base)) if base is not None else None)
    if base is not None:
        runtime.health.add("migrations", lambda: migrations.behind(settings.room, runtime.db))
        runtime.health.add("relay", lambda: None if runtime.relay.connected else "the relay has no broker")
    runtime.extra["module"] = module
    prepare = getattr(module, "prepare", None)
    if prepare is not None:
        prepare(runtime)
    kombu.pools.set_limit(settings.max_workers + settings.event_workers + 4)
    config = {"AMQP_URI": settings.amqp_uri, "max_workers": settings.max_workers, RUNTIME: runtime,
              "rpc_exchange": broker.RPC_EXCHANGE.name, **getattr(module, "NAMEKO", {})}
    return HubContainer(module.SERVICE, config)


def run(room: str) -> int:
    """Run a room until SIGTERM or SIGINT; return the exit code."""
    stopping = Event()

    def stop(_signum: int, _frame: Any) -> None:
        # A signal handler runs inside the event loop and may not switch greenlets itself.
        eventlet.spawn_n(lambda: stopping.ready() or stopping.send(None))

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        module = room_module(room)
        settings = module.SETTINGS.load(room, os.environ)
        telemetry.configure(room, settings.log_level)
        failpoints.arm(settings.failpoints)
        container = build(module, settings)
    except (ConfigError, MasterKeyError, HubError, ValueError) as error:
        print(f"{room} cannot start: {error}", file=sys.stderr)  # noqa: T201 (there is no logger yet)
        return 2
    health = container.runtime.health
    health.report("broker", "not connected yet")
    health.serve(settings.health_address)
    log.info("starting", health=":".join(map(str, health.address)))
    return _serve(container, stopping)


def _serve(container: HubContainer, stopping: Event) -> int:
    runtime = container.runtime
    if not broker.wait_until_up(runtime.settings.amqp_uri, give_up=stopping.ready,
                                told=lambda reason: runtime.health.report("broker", reason)):
        return 0
    runtime.health.report("broker", None)
    container.start()
    log.info("started")
    ended = eventlet.spawn(container.wait)
    ended.link(lambda _: stopping.ready() or stopping.send(None))
    stopping.wait()
    log.info("draining")
    container.stop()
    runtime.close()
    log.info("stopped")
    return 0


def main() -> None:
    """Entry point."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m chassis.launcher ROOM")
    sys.exit(run(sys.argv[1]))


if __name__ == "__main__":
    main()
