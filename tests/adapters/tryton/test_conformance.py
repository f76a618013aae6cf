"""The conformance kit against the real ERP."""

from __future__ import annotations

import pytest

from hub_adapter.conformance.suite import ConformanceSuite
from services.integrations.adapters.tryton.adapter import TrytonAdapter


class TestTryton(ConformanceSuite):
    adapter = TrytonAdapter()
    entities = ("customer",)


@pytest.mark.faults
class TestTrytonOrders(ConformanceSuite):
    """The same for orders, of which each takes the ERP a good part of a second: `make faults`."""

    adapter = TrytonAdapter()
    entities = ("order",)
