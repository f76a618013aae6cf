"""From a request that has arrived whole to a nameko worker. Reading a request never takes a worker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from eventlet.event import Event
from eventlet.semaphore import Semaphore
from nameko.exceptions import ContainerBeingKilled
from nameko.extensions import Entrypoint

from chassis import telemetry
from chassis.container import RUNTIME
from contracts.errors import Unavailable
from gateway.application import Work
from gateway.server import Door, Times
from gateway.settings import GatewaySettings

log = telemetry.logger(__name__)


class HttpEntrypoint(Entrypoint):
    """Runs the decorated method, `(work)`, in a nameko worker for each request that has arrived whole.

    Its container's service class has `application(runtime, run)`, which makes the WSGI application.
    """

    pool = "requests"

    def setup(self) -> None:
        """Bind the address, so that a taken port stops the start."""
        runtime = self.container.config[RUNTIME]
        settings: GatewaySettings = runtime.settings
        self._free = Semaphore(settings.max_workers)
        self._queue_timeout_s = settings.queue_timeout_s
        times = Times(settings.header_timeout_s, settings.idle_timeout_s, settings.write_timeout_s)
        application = self.container.service_cls.application(runtime, self.run)
        self._door = Door(application, settings.listen, times, settings.max_connections)

    def start(self) -> None:
        """Accept."""
        self._door.open()
        log.info("listening", host=self._door.address[0], port=self._door.address[1])

    def stop(self) -> None:
        """Drain: no new connection, every request under way answered."""
        self._door.close()

    def kill(self) -> None:
        """Close at once."""
        self._door.close(grace_s=0)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self._door.address

    def run(self, work: Work) -> Any:
        """Return what `work` returned, from a worker of the pool.

        Raises:
            Unavailable: no worker became free in time, or the process is stopping.
        """
        if not self._free.acquire(timeout=self._queue_timeout_s):
            raise Unavailable("Every worker is busy", retry_after_s=1)
        done = Event()
        try:
            try:
                self.container.spawn_worker(self, (work,), {}, handle_result=partial(_settle, done))
            except ContainerBeingKilled as error:
                raise Unavailable("This process is stopping", retry_after_s=1) from error
            return done.wait()
        finally:
            self._free.release()


def _settle(done: Event, _worker: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
    """Give the result, or what was raised, to the connection that waits. Nothing is left for nameko to log."""
    if exc_info is not None:
        done.send_exception(*exc_info)
    else:
        done.send(result)
    return None, None


serves: Callable[[Callable[..., Any]], Any] = HttpEntrypoint.decorator
