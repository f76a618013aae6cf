"""The conformance kit against a real Ghost: `make ghost`."""

from __future__ import annotations

from hub_adapter.conformance.suite import ConformanceSuite
from services.integrations.adapters.ghost.adapter import GhostAdapter


class TestGhost(ConformanceSuite):
    adapter = GhostAdapter()
