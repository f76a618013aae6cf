"""The whole kit. Derive, name the adapter, describe the system; the checks are inherited.

    class TestShop(ConformanceSuite):
        adapter = ShopAdapter()
        entities = ("customer",)

with a fixture `system`, in the module or its conftest, that returns a `conformance.system.System`: a real one behind
the kit's fault proxy, or the scriptable `conformance.target`.
"""

from __future__ import annotations

import pytest

from hub_adapter.conformance.checks.failures import FailureChecks
from hub_adapter.conformance.checks.hearing import HearingChecks
from hub_adapter.conformance.checks.manners import MannerChecks
from hub_adapter.conformance.checks.once import OnceChecks
from hub_adapter.conformance.checks.reading import ReadingChecks
from hub_adapter.conformance.outcome import NotShown
from hub_adapter.conformance.plugin import report_of


class ConformanceSuite(OnceChecks, FailureChecks, ReadingChecks, HearingChecks, MannerChecks):
    """All that the hub asks of an adapter."""

    def test_every_declared_capability_is_proven(self, request: pytest.FixtureRequest) -> None:
        report = report_of(request.node)
        asked = sum(1 for item in request.session.items if getattr(item, "cls", None) is request.cls)
        if len(report.checks) < asked - 1:
            raise NotShown("only some of the suite's checks were run")
        unproven = sorted(self.adapter.spec.capabilities - report.proven)
        assert not unproven, f"declared and not proven: {unproven}"
        declared = self.adapter.spec.guarantee
        assert report.earned == declared, f"declared: {declared}; earned: {report.earned}"
