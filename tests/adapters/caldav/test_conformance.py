"""The conformance kit against the real task server."""

from __future__ import annotations

from hub_adapter.conformance.suite import ConformanceSuite
from services.integrations.adapters.caldav.adapter import CaldavAdapter


class TestCaldav(ConformanceSuite):
    adapter = CaldavAdapter()
    entities = ("task",)
