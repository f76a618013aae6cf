"""How much one client may ask: a quota of requests over time and a number of them at once, for each client apart.

The quota refills evenly (the generic cell rate algorithm, ITU-T I.371 annex A): nobody waits for a window to end, and a
flood is let through at the refill's pace instead of in bursts. A share is one number, and counting a request takes five
microseconds with its headers; all is kept in the memory of this process, by a clock that is never set back.

Answers say what is left: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import eventlet
from eventlet.semaphore import Semaphore
from prometheus_client import Counter

from chassis import telemetry
from chassis.context import Subject
from contracts.errors import TooManyRequests, Unauthenticated
from gateway.auth import credential_hash
from gateway.settings import GatewaySettings

log = telemetry.logger(__name__)

LIMITED = Counter("gateway_limited_total", "Requests that were answered 429, by the limit that they met.", ["limit"])

CREDENTIAL, ADDRESS, AT_ONCE = "credential", "address", "at-once"
REFUSED_AFTER_S = 0.2
_ROUNDING_S = 1e-6
_NETWORK = 64
"""Bits of an IPv6 address that name a customer of a provider; the rest is theirs to make up."""


@dataclass(frozen=True)
class Policy:
    """What every client of a kind may ask.

    Attributes:
        name: in the headers.
        quota: requests in `window_s`, all of them at once if need be.
        window_s: seconds in which a quota that is used up is whole again.
        at_once: requests worked on at the same time; more wait for their turn.
    """

    name: str
    quota: int
    window_s: int
    at_once: int

    @cached_property
    def header(self) -> str:
        """The value of `RateLimit-Policy`."""
        return (f'"{self.name}";q={self.quota};w={self.window_s}, '
                f'"{AT_ONCE}";q={self.at_once};qu="concurrent-requests"')


class Share:
    """What one client has left of a policy.

    Args:
        policy: what all of its kind have.
        client: who it is, for the log: an address, or the id of a user or API key.
    """

    __slots__ = ("_cost_s", "_full_at", "_told_until", "_turns", "client", "policy")

    def __init__(self, policy: Policy, client: str) -> None:
        self.policy = policy
        self.client = client
        self._cost_s = policy.window_s / policy.quota
        self._full_at = float("-inf")
        self._turns = Semaphore(policy.at_once)
        self._told_until = float("-inf")

    def take(self, now: float) -> None:
        """Take one request from the quota; one that is refused takes nothing.

        Args:
            now: monotonic seconds.

        Raises:
            TooManyRequests: nothing is left; `retry_after_s` says until when.
        """
        used_s = max(self._full_at - now, 0.0) + self._cost_s
        missing_s = used_s - self.policy.window_s
        if missing_s > _ROUNDING_S:
            self._tell(self.policy.name, now)
            raise TooManyRequests(f"More than {self.policy.quota} requests in {self.policy.window_s} s",
                                  retry_after_s=missing_s, limit=self.policy.name)
        self._full_at = now + used_s

    @property
    def confirmed(self) -> bool:
        """Whether it is that of a credential which identity knows."""
        return self.policy.name == CREDENTIAL

    @contextmanager
    def turn(self, wait_s: float, now: Callable[[], float]) -> Iterator[None]:
        """Hold one of the client's turns while its request is worked on.

        Raises:
            TooManyRequests: none became free within `wait_s` seconds.
        """
        if not self._turns.acquire(timeout=wait_s):
            self._tell(AT_ONCE, now())
            raise TooManyRequests(f"More than {self.policy.at_once} requests at once", retry_after_s=1, limit=AT_ONCE)
        try:
            yield
        finally:
            self._turns.release()

    def header(self, now: float, retry_after: str | None) -> str:
        """Return the value of `RateLimit`: the requests that are left, and in how many seconds the quota is whole.

        Args:
            now: monotonic seconds.
            retry_after: what the answer tells a client that has nothing left: both headers name one moment then.
        """
        used_s = max(self._full_at - now, 0.0)
        left = int((self.policy.window_s - used_s) / self._cost_s + _ROUNDING_S)
        seconds = math.ceil(used_s) if left or retry_after is None else retry_after
        return f'"{self.policy.name}";r={left};t={seconds}'

    def _tell(self, limit: str, now: float) -> None:
        """Count every refusal; log the first of a window."""
        LIMITED.labels(limit).inc()
        if now >= self._told_until:
            self._told_until = now + self.policy.window_s
            log.warning("limit_reached", limit=limit, client=self.client)


class Quotas:
    """The shares of all clients: one for each user and each API key that identity has confirmed, else for each address.

    All sessions of a user have one share between them: signing in once more must not bring more. A credential that
    nobody has confirmed counts for its sender's address, so that made-up ones do not multiply a quota. The longest
    unused share goes first when there are too many.
    """

    def __init__(self, settings: GatewaySettings, now: Callable[[], float] = time.monotonic,
                 pause: Callable[[float], None] = eventlet.sleep) -> None:
        window_s, at_once = settings.limit_window_s, settings.limit_at_once
        self.now = now
        self._pause = pause
        self._most = settings.introspection_cache_size
        self._of_credential = Policy(CREDENTIAL, settings.limit_requests, window_s, at_once)
        self._of_address = Policy(ADDRESS, settings.limit_anonymous, window_s, at_once)
        self._credentials: OrderedDict[str, Share] = OrderedDict()
        self._clients: OrderedDict[str, Share] = OrderedDict()
        self._addresses: OrderedDict[str, Share] = OrderedDict()

    def share(self, authorization: str | None, address: str) -> Share:
        """Return the share of whoever sent this `Authorization` header from this address."""
        try:
            known = self._credentials.get(digest := credential_hash(authorization)) if authorization else None
        except Unauthenticated:
            known = None
        if known is not None:
            self._credentials.move_to_end(digest)
            if known.client in self._clients:
                self._clients.move_to_end(known.client)
            return known
        network = _network(address)
        share = self._addresses.get(network)
        if share is None:
            share = Share(self._of_address, network)
            _keep(self._addresses, network, share, self._most)
        else:
            self._addresses.move_to_end(network)
        return share

    def charge(self, share: Share) -> None:
        """Take one request from a share.

        Raises:
            TooManyRequests: nothing is left of it. Told after a pause, which its sender alone waits out: whoever floods
                over a connection asks no faster than that, and what is refused takes no time from the others.
        """
        try:
            share.take(self.now())
        except TooManyRequests:
            self._pause(REFUSED_AFTER_S)
            raise

    def confirmed(self, authorization: str | None, subject: Subject) -> None:
        """Count a credential for its API key or, where it is a session, for its user from now on: identity knows it."""
        digest = credential_hash(authorization)
        if digest in self._credentials:
            return
        client = subject.via if subject.kind == "api_key" else subject.id
        share = self._clients.get(client)
        if share is None:
            share = Share(self._of_credential, client)
            _keep(self._clients, client, share, self._most)
        _keep(self._credentials, digest, share, self._most)

    def refused(self, authorization: str | None) -> None:
        """Count a credential for its sender's address again: it is nobody's, or nobody's any more."""
        try:
            self._credentials.pop(credential_hash(authorization), None)
        except Unauthenticated:
            return


def _keep(shares: OrderedDict[str, Share], name: str, share: Share, most: int) -> None:
    shares[name] = share
    if len(shares) > most:
        shares.popitem(last=False)


def _network(address: str) -> str:
    """Return what stands for a client's address: its IPv4 address however it is written, or the network of its IPv6.

    A proxy may write a port behind it, which is another one for each connection.
    """
    bare = host_of(address).partition("%")[0]
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _NETWORK), strict=False))


def host_of(address: str) -> str:
    """Return an address without the port that a proxy may write behind it, and without the brackets around an IPv6."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, _, port = address.partition(":")
    return address if ":" in port else host
