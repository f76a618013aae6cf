"""The scripted target with tokens that end: its adapter trades a token that is refused for the one that holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hub_adapter.port import AdapterSpec, Capability, Context, Refreshed
from tests.support.fake_target import FakeAdapter

SLOW_S = 0.2
"""A refresh takes so long that others meet it."""


@dataclass
class Issuer:
    """Issues tokens: `issue` returns one or raises what the adapter is to raise."""

    issue: Callable[[], str]
    asked: int = 0
    at_once: int = 0
    _running: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def token(self) -> str:
        with self._lock:
            self.asked += 1
            self._running += 1
            self.at_once = max(self.at_once, self._running)
        try:
            time.sleep(SLOW_S)
            return self.issue()
        finally:
            with self._lock:
                self._running -= 1


class RefreshingAdapter(FakeAdapter):
    """Speaks to a `FakeTarget`; `issuer` is the test's."""

    issuer: Issuer
    spec = AdapterSpec(**(vars(FakeAdapter.spec) | {
        "name": "fake_refreshing", "capabilities": FakeAdapter.spec.capabilities | {Capability.REFRESH}}))

    def refresh(self, ctx: Context) -> Refreshed:
        return Refreshed(secrets={"key": self.issuer.token()})
