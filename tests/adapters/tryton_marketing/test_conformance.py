"""The conformance kit against a mailing list of the real ERP."""

from __future__ import annotations

from hub_adapter.conformance.suite import ConformanceSuite
from services.integrations.adapters.tryton_marketing.adapter import TrytonMarketingAdapter


class TestTrytonMarketing(ConformanceSuite):
    """A row there is an address and whether mail goes to it: no text, amount or time to try, and nothing optional."""

    adapter = TrytonMarketingAdapter()
