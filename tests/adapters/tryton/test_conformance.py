"""The conformance kit against the real ERP."""

from __future__ import annotations

import pytest

from hub_adapter.conformance.suite import ConformanceSuite
from services.integrations.adapters.tryton.adapter import TrytonAdapter


class TestTryton(ConformanceSuite):
    """Customers out. Products come from the ERP and are never written: only the polls are asked of them."""

    adapter = TrytonAdapter()
    entities = ("customer",)


@pytest.mark.faults
class TestTrytonOrders(ConformanceSuite):
    """The same for orders, of which each takes the ERP a good part of a second: `make faults`.

    What an order sells is settled when it is booked, and its amounts agree: no field of it can be tried by itself.
    """

    adapter = TrytonAdapter()
    entities = ("order",)
