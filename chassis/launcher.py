"""Starts one room of the hub as a process: `python -m chassis.launcher customers`."""

# eventlet must replace the blocking calls before anything else is imported. That it is near its end is known, and
# docs/decisions/nameko-and-eventlet.md says what follows: an operator's log need not open with it.
import os
import warnings

os.environ["EVENTLET_NO_GREENDNS"] = "yes"  # see chassis.resolver
warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
import eventlet

eventlet.monkey_patch()

# ruff: noqa: E402
import importlib
import signal
import sys
from typing import Any

from eventlet.event import Event
from eventlet.hubs import trampoline

from chassis import broker, failpoints, resolver, revision, telemetry, tracing
from chassis.config import ConfigError, Settings
from chassis.container import RUNTIME, HubContainer
from chassis.crypto import MasterKeyError
from chassis.gauges import RoomGauges
from chassis.health import Health
from chassis.patience import AtMost
from chassis.runtime import Runtime
from chassis.sealed import sealed_columns
from contracts.errors import HubError, Unavailable

log = telemetry.logger(__name__)
resolver.install()


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


def build(module: Any, settings: Settings, health: Health | None = None) -> HubContainer:
    """Return the room's container, ready to start: database open, keys loaded, health checks in place.

    Args:
        module: with `SERVICE`, its nameko class; optionally `BASE`, the declarative base of its tables, and
            `prepare(runtime)`, which adds what the room needs for itself, and `GAUGES`, classes of its own gauges.
        settings: of that room.
        health: what already answers for this process, if anything does.

    Raises:
        Unavailable: the database is away or not migrated; worth another try.
        MasterKeyError, ConfigError: keys are missing or unusable.
    """
    base = getattr(module, "BASE", None)
    runtime = Runtime.build(settings, tuple(sealed_columns(base)) if base is not None else None, health)
    if base is not None:
        runtime.health.add("migrations", lambda: revision.behind(settings.room, runtime.db))
        runtime.health.add("keys", runtime.verifier.missing)
        runtime.health.add("relay", lambda: None if runtime.relay.connected else "the relay has no broker")
        runtime.health.note("unroutable", runtime.relay.note_unroutable)
        runtime.health.note("unsent", runtime.relay.note_unsent)
    runtime.extra["module"] = module
    prepare = getattr(module, "prepare", None)
    if prepare is not None:
        prepare(runtime)
    for gauges in (RoomGauges, *getattr(module, "GAUGES", ())):
        runtime.health.registry.register(gauges(runtime))
    config = {"AMQP_URI": settings.amqp_uri, "max_workers": settings.max_workers, RUNTIME: runtime,
              "rpc_exchange": broker.RPC_EXCHANGE.name, **getattr(module, "NAMEKO", {})}
    return HubContainer(module.SERVICE, config)


def run(room: str) -> int:
    """Run a room until SIGTERM or SIGINT.

    Returns:
        0 after a drain, 1 when the process broke and should be started again, 2 when its configuration is unusable.
    """
    stopping = _stop_signal()
    try:
        module = room_module(room)
        settings = module.SETTINGS.load(room, os.environ)
        failpoints.arm(settings.failpoints)
        telemetry.configure(room, settings.log_level)
        tracing.configure(room, settings.otlp_endpoint, settings.trace_ratio)
        health = Health()
        health.report("start", "not started yet")
        health.serve(settings.health_address)
        log.info("starting", health=":".join(map(str, health.address)))
        container = _built(module, settings, health, stopping)
    except (ConfigError, MasterKeyError, HubError, ValueError, OSError) as error:
        print(f"{room} cannot start: {error}", file=sys.stderr)  # noqa: T201 (there may be no logger yet)
        return 2
    return 0 if container is None else _serve(container, stopping)


def _stop_signal() -> Event:
    """Return an event that SIGTERM and SIGINT send.

    The signal's byte in a pipe wakes the event loop: Python resumes an interrupted wait for the rest of its time, which
    may be a minute, and a handler may not switch greenlets itself.
    """
    stopping = Event()
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda _signum, _frame: None)

    def wait() -> None:
        # Every signal that Python handles writes its number here, a profiler's too.
        while not stopping.ready():
            trampoline(readable, read=True)
            if {signal.SIGTERM, signal.SIGINT} & set(os.read(readable, 64)) and not stopping.ready():
                stopping.send(None)

    eventlet.spawn_n(wait)
    return stopping


def _built(module: Any, settings: Settings, health: Health, stopping: Event) -> HubContainer | None:
    """Build the container as soon as its database is there; None when asked to stop before that."""
    while not stopping.ready():
        try:
            container = build(module, settings, health)
        except Unavailable as error:
            health.report("database", error.message)
            log.warning("database_away", reason=error.message)
            with AtMost(2.0):
                stopping.wait()
            continue
        health.report("database", None)
        return container
    return None


def _serve(container: HubContainer, stopping: Event) -> int:
    runtime = container.runtime
    runtime.health.report("broker", "not connected yet")
    if not broker.wait_until_up(runtime.settings.amqp_uri, give_up=stopping.ready,
                                told=lambda reason: runtime.health.report("broker", reason)):
        return 0
    runtime.health.report("broker", None)
    # In a greenlet of its own: it returns once the queues are consumed, which may be never, and SIGTERM must work.
    starting = eventlet.spawn(_started, container)
    ended = eventlet.spawn(_broke, container)
    for each in (starting, ended):
        each.link(lambda gone: (gone is ended or gone.wait()) and not stopping.ready() and stopping.send(None))
    stopping.wait()
    log.info("draining")
    broke = ended.dead
    container.stop()
    runtime.close()
    with AtMost(tracing.FLUSH_S + 1):  # a collector that is away must not hold up the end
        tracing.close()
    log.info("stopped", broke=broke)
    return 1 if broke else 0


def _started(container: HubContainer) -> bool:
    """Start the container; return whether that failed."""
    try:
        container.start()
    except Exception as error:
        log.error("start_failed", error=type(error).__name__, reason=str(error))
        container.kill(sys.exc_info())
        return True
    container.runtime.health.report("start", None)
    log.info("started")
    return False


def _broke(container: HubContainer) -> None:
    """Return when the container has ended; by itself it ends only over an error."""
    try:
        container.wait()
    except Exception as error:
        log.error("container_broke", error=type(error).__name__, **telemetry.where(error))


def main() -> None:
    """Entry point."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m chassis.launcher ROOM")
    sys.exit(run(sys.argv[1]))


if __name__ == "__main__":
    main()
