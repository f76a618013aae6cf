"""What a suite is told of the system that it runs against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hub_adapter.client import HttpPolicy
from hub_adapter.port import Write

Message = tuple[Mapping[str, str], bytes]
"""Headers and body."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Records of one entity, and which of their fields the kit may try hard values in.

    Args:
        make: a record that nobody has yet: with another id, and whatever else is unique, at each call.
        texts: free texts that come back as they were written → how many characters they may have.
        decimals: amounts, written as texts ("0.10").
        times: moments with their zone ("2026-12-01T17:30:00+08:00").
        optional: fields that may be null or missing.
    """

    make: Callable[[], Write]
    texts: Mapping[str, int] = field(default_factory=dict)
    decimals: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A credential that ends, for an adapter with the capability `refresh`.

    Args:
        expire: have the system refuse the credential in use from now on.
        traded: how often the system has traded one for a fresh one.
    """

    expire: Callable[[], None]
    traded: Callable[[], int]


@dataclass(frozen=True, kw_only=True)
class System:
    """A system to run against: a real one, or the scriptable target. The kit's fault proxy is put before it.

    Args:
        config: a connection's settings; those that are an address named by `address` lead to the proxy instead.
        secrets: a credential that is good there.
        samples: entity → records that may be brought there.
        count: how many records stand there for a write, looked up past the adapter and by what a doubled record would
            share, a name for instance. Of one that was never brought, none.
        address: the setting with the system's scheme, host and port.
        bad_secrets: a well-formed credential that is refused; else the kit alters the good one.
        nowhere: a well-formed external id under which there is nothing.
        webhook: the message by which the system tells how a record (entity, external id) stands now, well signed, so
            many seconds ago.
        tokens: for an adapter with the capability `refresh`.
        policy: the connection's limits on traffic.
    """

    config: Mapping[str, Any]
    secrets: Mapping[str, str]
    samples: Mapping[str, Sample]
    count: Callable[[str, Write], int]
    address: str = "base_url"
    bad_secrets: Mapping[str, str] | None = None
    nowhere: str | None = None
    webhook: Callable[[str, str, float], Message] | None = None
    tokens: Tokens | None = None
    policy: HttpPolicy = field(default_factory=lambda: HttpPolicy(allow_private=("127.0.0.0/8",)))

    @property
    def refused_secrets(self) -> Mapping[str, str]:
        """A credential of the right form that is not good."""
        return self.bad_secrets or {name: altered(secret) for name, secret in self.secrets.items()}


def altered(text: str) -> str:
    """Another text of the same form: each digit and letter is followed by its next, hexadecimal stays so."""
    rings = ("0123456789", "abcdef", "ghijklmnopqrstuvwxyz", "ABCDEF", "GHIJKLMNOPQRSTUVWXYZ")
    following = {ring[n]: ring[(n + 1) % len(ring)] for ring in rings for n in range(len(ring))}
    return "".join(following.get(letter, letter) for letter in text)


def differences(expected: Any, told: Any, pointer: str = "") -> list[str]:
    """JSON pointers at which `told` is not what was expected, as the hub compares the two.

    What was not expected does not count, at any depth. What is left out is null.
    """
    if isinstance(expected, Mapping) and isinstance(told, Mapping):
        return [
            found
            for name, value in expected.items()
            for found in differences(value, told.get(name), f"{pointer}/{name}")
        ]
    return [] if expected == told else [pointer or "/"]
