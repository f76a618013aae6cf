"""Canonical records as the integrations service hands them to an adapter."""

from __future__ import annotations

import uuid
from typing import Any

from hub_adapter.port import Write


def a_customer(**changed: Any) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "version": 1,
        "name": "上海示例有限公司",
        "kind": "company",
        "phone": "+8613800138000",
        "email": "wang@example.com",
        "address": {"street": "1 Nanjing Rd", "city": "上海", "postal_code": "200000"},
        "status": "active",
        **changed,
    }


GOODS = [
    {"sku": "SKU-1001", "name": "Widget", "quantity": "2", "unit_price": "199.00", "tax_code": "VAT13"},
    {"sku": "SKU-1002", "name": "Gadget", "quantity": "10", "unit_price": "59.90", "tax_code": "VAT13"},
]
"""Lines of an order that may be shipped: no test counts on how many of these there are."""


def an_order(customer_id: str, **changed: Any) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "number": "SO-2026-0001",
        "version": 2,
        "customer_id": customer_id,
        "currency": "CNY",
        "lines": [
            {"sku": "SKU-1001", "name": "Widget", "quantity": "2", "unit_price": "199.00", "tax_code": "VAT13"},
            {"sku": "SKU-1003", "name": "精密螺丝", "quantity": "10", "unit_price": "0.85", "tax_code": "VAT13"},
        ],
        "total": "459.34",
        "confirmed_at": "2026-11-22T02:00:00Z",
        **changed,
    }


def as_write(body: dict[str, Any], external_id: str | None = None, party: str | None = None) -> Write:
    return Write(
        local_id=body["id"],
        body=body,
        idempotency_key=f"k-{body['id']}",
        source_version=body["version"],
        external_id=external_id,
        references={"customer": party} if party else {},
    )


def a_task(**changed: Any) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "version": 1,
        "title": "回访上海示例有限公司",
        "description": "问合同的进展\n并确认交货日期",
        "subject": None,
        "customer_id": None,
        "assignee_id": str(uuid.uuid4()),
        "due_at": "2026-12-01T09:00:00.000000Z",
        "priority": "high",
        "progress": 0,
        "status": "open",
        "completed_at": None,
        **changed,
    }
