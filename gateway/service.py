"""The door of the gateway: HTTP comes in, operations go out, and a change of access is heard."""

from __future__ import annotations

from typing import Any

import eventlet

from chassis.calling import SIGNING_KEY, Caller
from chassis.config import ConfigError
from chassis.context import SigningKey
from chassis.entrypoints import RuntimeOf, broadcasts
from chassis.runtime import Runtime
from contracts import identity
from contracts.envelope import Envelope
from contracts.errors import Unavailable
from gateway import auth, cors, pages
from gateway.application import Application, RunsInWorker, Work
from gateway.composition import zone_named
from gateway.entrypoint import serves
from gateway.routes import ROUTES
from gateway.settings import GatewaySettings

AUTHENTICATOR = "authenticator"
ANSWERS = "requests"
"""The part of `Health` that has a problem while no answer can reach this process."""


class GatewayService:
    """One process of the HTTP door."""

    name = "gateway"
    runtime = RuntimeOf()
    caller = Caller()

    @staticmethod
    def application(runtime: Runtime, run: RunsInWorker) -> Application:
        """Return what answers HTTP; `run` takes a request's work to a worker."""
        settings = runtime.settings
        assert isinstance(settings, GatewaySettings)  # noqa: S101 (SETTINGS below)
        return Application(ROUTES, pages.all_pages(ROUTES, settings, runtime.health), settings,
                           runtime.extra[AUTHENTICATOR], run, eventlet.Timeout)

    @serves
    def serve(self, work: Work) -> Any:
        """Find out who asks, ask the service, answer.

        Raises:
            Unavailable: answers could not reach this process now, so nothing is asked.
        """
        away = self.runtime.health.missing().get(ANSWERS)
        if away is not None:
            raise Unavailable("The message broker is away", retry_after_s=1)
        return work(self.caller)

    @broadcasts(identity.ACCESS_CHANGED)
    def access_changed(self, _event: Envelope | None) -> None:
        """Forget who is who: it has changed, or the word of a change may have been missed."""
        self.runtime.extra[AUTHENTICATOR].flush()


def prepare(runtime: Runtime) -> None:
    """Load the signing key and set up what the requests share.

    Raises:
        ConfigError: there is no usable signing key, no such time zone, or an origin is none.
    """
    settings: Any = runtime.settings
    try:
        zone_named(settings.time_zone)
    except ValueError as error:
        raise ConfigError(f"time_zone (HUB_TIME_ZONE): {error}") from error
    try:
        cors.allowed(settings.cors_origins)
    except ValueError as error:
        raise ConfigError(f"cors_origins (GATEWAY_CORS_ORIGINS): {error}") from error
    try:
        runtime.extra[SIGNING_KEY] = SigningKey.load(settings.signing_key_file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"signing_key_file (GATEWAY_SIGNING_KEY_FILE): {error}") from error
    runtime.extra[AUTHENTICATOR] = auth.Authenticator(
        auth.introspect, held_s=settings.introspection_cache_s, most=settings.introspection_cache_size)


SERVICE, SETTINGS = GatewayService, GatewaySettings
