"""What the hub asks of every adapter: here the half of it that needs no Acme."""

from typing import ClassVar

from hub_adapter.conformance.structural import StructuralSuite
from crm_hub_acme.adapter import AcmeAdapter


class TestAcme(StructuralSuite):
    adapter = AcmeAdapter()
    config: ClassVar = {"base_url": "https://acme.example.com/api"}
