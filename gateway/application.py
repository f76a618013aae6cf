"""The WSGI application: every answer that leaves the gateway is decided here.

In order: the route, what the client accepts, the body with its limits, then one turn in a worker for who is
asking, what is asked, and the call. Nothing before that turn waits for a worker, so a slow client costs a connection
and no more.
"""

from __future__ import annotations

import datetime as dt
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from prometheus_client import Histogram
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as NoSuchMethod
from werkzeug.routing import Map, RequestRedirect, Rule
from werkzeug.wrappers import Request, Response

from chassis import telemetry, tracing
from chassis.context import Subject
from contracts.errors import HubError, InternalError, Invalid, NotFound, Unauthenticated
from gateway import correlation, cors, exchange, limits, locale, problems
from gateway.calls import GATEWAY, Calls
from gateway.composition import Composition, zone_named
from gateway.errors import MethodNotAllowed, NotAcceptable, UnsupportedMediaType
from gateway.gathering import Errand, gather
from gateway.quota import Quotas, Share, host_of
from gateway.route import Route
from gateway.settings import GatewaySettings

log = telemetry.logger(__name__)

SECONDS = Histogram("gateway_request_seconds", "Time from the whole request to the whole answer.",
                    ["route", "method", "status"], buckets=(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 40))

StartResponse = Callable[..., Any]
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MERGE_PATCH = "application/merge-patch+json"


class Authenticates(Protocol):
    """Finds out who is asking."""

    def subject(self, header: str | None, caller: Calls, request_id: str, *,
                before_password_change: bool = False) -> Subject:
        """Return the subject that an `Authorization` header stands for.

        Raises:
            Unauthenticated: there is none, or it stands for nobody.
            PasswordChangeRequired: the password must be changed before anything else.
        """
        ...


Work = Callable[[Calls], Any]
RunsInWorker = Callable[[Work], Any]
"""Runs `work` in a worker of the pool and returns what it returned; raises `Unavailable` when none is free."""


@dataclass(frozen=True)
class Page:
    """A path outside the API that answers without a service: documents and health.

    Attributes:
        path: exact.
        render: makes the answer.
        media_type: what it is; a client that accepts none of it is told 406. Empty: it has no content of its own.
        limited: whether it counts for a client's quota; what watches over this process must never be refused.
    """

    path: str
    render: Callable[[Request], Response]
    media_type: str
    limited: bool = True


@dataclass
class _Served:
    """What is known of a request beside its answer.

    Attributes:
        route: template of the path, for metrics; empty while it is not found.
        share: of whoever sent it; None for what is not counted.
    """

    route: str = ""
    share: Share | None = None


class Application:
    """Answers HTTP from a table of routes."""

    def __init__(self, routes: Iterable[Route], pages: Iterable[Page], settings: GatewaySettings,
                 authenticator: Authenticates, run: RunsInWorker, clock: limits.Clock) -> None:
        pages = tuple(pages)
        self._settings = settings
        self._authenticator = authenticator
        self._run = run
        self._clock = clock
        self._zone = zone_named(settings.time_zone)
        self._quotas = Quotas(settings)
        self._origins = cors.allowed(settings.cors_origins)
        self._map = Map([_rule(route.template, route.method, route) for route in routes]
                        + [_rule(page.path, "GET", page) for page in pages],
                        strict_slashes=True, merge_slashes=False, redirect_defaults=False)
        self._unlimited = frozenset(page.path for page in pages if not page.limited)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        began = time.monotonic()
        request = Request(environ, populate_request=False)
        request_id = correlation.request_id(request.headers.get("X-Request-Id"))
        # What a client has made up must name neither a series nor a span.
        method = request.method if request.method in _METHODS else "other"
        span = tracing.root(method, "server", correlation.traceparent(request.headers.get("traceparent")))
        token = telemetry.correlation.set({"request_id": request_id, "traceparent": span.traceparent})
        try:
            served = _Served()
            response = self._answer(request, request_id, span.traceparent, served)
            self._finish(request, response, request_id, served.share)
            seconds, status = time.monotonic() - began, response.status_code
            SECONDS.labels(served.route, method, status).observe(seconds)
            log.info("request_served", method=method, route=served.route, status=status,
                     duration_ms=round(seconds * 1000, 1))
            _tell(span, served.route, status, request_id)
            body: Iterable[bytes] = response(environ, start_response)
            return body
        finally:
            span.end()
            telemetry.correlation.reset(token)

    def _answer(self, request: Request, request_id: str, traceparent: str, served: _Served) -> Response:
        """Return the answer; whatever goes wrong is a problem document. Fills in what is `served`."""
        language = locale.preferred(request.accept_languages)
        try:
            address = _client_address(request, self._settings.trusted_proxies)
            served.share = self._share(request, address)
            if served.share is not None:
                self._quotas.charge(served.share)
            endpoint, path_args = self._match(request)
            if endpoint is None:
                served.route = "*"
                return Response(status=204, headers={"Allow": self._allow(request)})
            served.route = endpoint.template if isinstance(endpoint, Route) else endpoint.path
            _check_accept(request, endpoint)
            if isinstance(endpoint, Page):
                return endpoint.render(request)
            body = self._read(request, endpoint)
            arrived = exchange.Arrived(
                route=endpoint, path=request.path, path_args=path_args, headers=request.headers, body=body,
                query=request.query_string.decode("latin-1"), request_id=request_id, traceparent=traceparent,
                language=language, most_json_depth=self._settings.max_json_depth,
                client_address=address,
            )
            if served.share is not None and not endpoint.public and not served.share.confirmed:
                # Found out in a short turn of its own: what others ask at length from there holds up nobody who is new.
                self._in_turn(served.share, lambda caller: self._serve(arrived, caller, self._subject))
                served.share = self._quotas.share(request.headers.get("Authorization"), address)
            response: Response = self._in_turn(
                served.share, lambda caller: self._serve(arrived, caller, self._called))
            return response
        except HubError as error:
            return problems.response(error, request_id, language)
        except Exception as error:
            # Where, and not what it says: the text of an unexpected error may hold personal data.
            frames = traceback.extract_tb(error.__traceback__)[-4:]
            log.error("request_failed", method=request.method, route=served.route, error=type(error).__name__,
                      at=" < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames)))
            return problems.response(InternalError(), request_id, language)

    def _share(self, request: Request, address: str) -> Share | None:
        """Return the share that the request counts for, None for one that is never refused."""
        if request.method == "OPTIONS" or request.path in self._unlimited:
            return None
        return self._quotas.share(request.headers.get("Authorization"), address)

    def _in_turn(self, share: Share | None, work: Work) -> Any:
        """Do `work` in a worker when the client has a turn: none may have them all."""
        if share is None:
            return self._run(work)
        with share.turn(self._settings.queue_timeout_s, self._quotas.now):
            return self._run(work)

    def _match(self, request: Request) -> tuple[Route | Page | None, Mapping[str, str]]:
        """Return the endpoint and its path arguments; no endpoint for OPTIONS."""
        adapter = self._map.bind("")
        method = "GET" if request.method == "HEAD" else request.method
        try:
            if method == "OPTIONS" and (request.path == "*" or adapter.allowed_methods(request.path)):
                return None, {}
            return adapter.match(request.path, method)
        except NoSuchMethod as error:
            raise MethodNotAllowed(f"{request.method} is not known here", allow=self._allow(request)) from error
        except (RequestRedirect, HTTPException) as error:
            raise NotFound("There is no such resource") from error

    def _allow(self, request: Request) -> str:
        known = set(self._map.bind("").allowed_methods(request.path)) or {"GET", "POST", "PUT", "PATCH", "DELETE"}
        return ", ".join(sorted(known | {"OPTIONS"} | ({"HEAD"} if "GET" in known else set())))

    def _read(self, request: Request, route: Route) -> bytes:
        """Return the body of a request whose headers promise that it is worth reading."""
        if not route.public and not request.headers.get("Authorization"):
            raise Unauthenticated()
        declared = request.headers.get("Content-Length", type=int)
        chunked = "Transfer-Encoding" in request.headers
        if (declared or chunked) and not route.reads and not route.raw:
            _check_content(request, route)
        return limits.read_body(request, self._settings.max_body_bytes, self._settings.body_timeout_s, self._clock)

    def _serve(self, arrived: exchange.Arrived, caller: Calls,
               part: Callable[[exchange.Arrived, Calls], Any]) -> Any:
        """Do a part of answering; runs in a worker, a greenlet of its own that knows none of our ids."""
        with telemetry.about(request_id=arrived.request_id, traceparent=arrived.traceparent):
            return part(arrived, caller)

    def _called(self, arrived: exchange.Arrived, caller: Calls) -> Response:
        subject = GATEWAY if arrived.route.public else self._subject(arrived, caller)
        asked = exchange.understand(arrived)
        # A client may send one X-Request-Id many times, so it never stands in for a key: without one, each is its own.
        key = asked.key or f"once-{uuid4()}"
        operation = arrived.route.operation
        if isinstance(operation, Composition):
            errand = Errand(caller, subject, arrived.request_id, arrived.traceparent, arrived.language)
            now = dt.datetime.now(self._zone)
            return exchange.answer(arrived, asked, gather(operation, asked.request, errand, now, asked.select),
                                   replayed=False)
        try:
            answer = caller.call(operation, asked.request, subject=subject, key=key,
                                 request_id=arrived.request_id, traceparent=arrived.traceparent)
        except Unauthenticated as error:
            if arrived.route.public or error.fields.get("presented"):
                raise
            # The client is known; it is our own token that the service does not accept.
            log.error("context_token_refused", service=operation.service, reason=error.message)
            raise InternalError from error
        except Invalid as error:
            raise exchange.pointed(arrived.route, error) from error
        return exchange.answer(arrived, asked, answer.document, replayed=answer.replayed)

    def _subject(self, arrived: exchange.Arrived, caller: Calls) -> Subject:
        """Return who asks; the client's quota learns whether identity knows the credential."""
        authorization = arrived.headers.get("Authorization")
        try:
            subject = self._authenticator.subject(authorization, caller, arrived.request_id,
                                                  before_password_change=arrived.route.before_password_change)
        except Unauthenticated:
            self._quotas.refused(authorization)
            raise
        self._quotas.confirmed(authorization, subject)
        return subject

    def _finish(self, request: Request, response: Response, request_id: str, share: Share | None) -> None:
        """Add the headers that every answer carries."""
        headers = response.headers
        if share is not None:
            headers["RateLimit-Policy"] = share.policy.header
            headers["RateLimit"] = share.header(self._quotas.now(), headers.get("Retry-After"))
        headers["X-Request-Id"] = request_id
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers.setdefault("Cache-Control", "no-store")
        headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        cors.tell(self._origins, request.headers, headers, request.method)


def _tell(span: tracing.Span, route: str, status: int, request_id: str) -> None:
    span.name = f"{span.name} {route}".rstrip()
    span.set(http__route=route, http__response__status_code=status, hub__request_id=request_id)
    if status >= 500:
        span.fail(str(status))


def _client_address(request: Request, trusted_proxies: int) -> str:
    """Return the client's address: of the connection, or what the outermost of our own proxies wrote."""
    forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")]
    if trusted_proxies and len(forwarded) >= trusted_proxies and forwarded[-trusted_proxies]:
        return host_of(forwarded[-trusted_proxies])[:64]
    return request.remote_addr or "unknown"


def _rule(path: str, method: str, endpoint: Route | Page) -> Rule:
    return Rule(path.replace("{", "<").replace("}", ">"), methods=[method], endpoint=endpoint)


def _check_accept(request: Request, endpoint: Route | Page) -> None:
    offered = endpoint.media_type if isinstance(endpoint, Page) else exchange.JSON
    accepted = request.accept_mimetypes
    if offered and accepted.provided and not accepted.best_match([offered]):
        raise NotAcceptable(f"This resource is {offered}")


def _check_content(request: Request, route: Route) -> None:
    if request.headers.get("Content-Encoding", "identity").lower() not in {"identity", ""}:
        raise UnsupportedMediaType("A compressed body is not read here", accept_encoding="identity")
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    kinds = {exchange.JSON} | ({_MERGE_PATCH} if route.method == "PATCH" else set())
    if request.mimetype not in kinds or charset not in {"utf-8", "utf8", "us-ascii"}:
        raise UnsupportedMediaType(f"Send the body as {exchange.JSON} in UTF-8")
