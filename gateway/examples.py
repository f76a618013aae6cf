"""Request bodies that work as they stand on an empty hub, for the API document. Tests send every one of them."""

from __future__ import annotations

from typing import Any

from contracts.operation import Operation

_BY_OPERATION: dict[str, Any] = {
    "create_customer": {"name": "Shenzhen Evergreen Trading", "kind": "company", "phone": "+86 138 0013 8000",
                        "source": "exhibition"},
    "change_customer": {"name": "Shenzhen Evergreen International Trading"},
    "create_task": {"title": "Send the revised quotation", "due_at": "2027-01-15T01:00:00Z", "priority": "high"},
    "change_task": {"progress": 50},
    "cancel_task": {"reason": "the customer has withdrawn the inquiry"},
    "create_team": {"name": "South China sales"},
    "change_team": {"name": "South and central China sales"},
    "create_user": {"username": "li.na", "name": "Li Na", "email": "li.na@company.example", "locale": "zh-CN"},
    "change_user": {"name": "Li Na (South)"},
    "create_role": {"name": "order-desk", "title": "Order desk",
                    "depths": {"order": {"read": "team", "create": "own"}}},
    "change_role": {"title": "Order desk, all shifts"},
    "create_api_key": {"name": "web shop"},
    "create_ticket": {"subject": "The pump stops after an hour", "type": "problem", "priority": "high",
                      "channel": "phone", "body": "It stopped again this morning."},
    "change_ticket": {"priority": "urgent", "product": "SKU-1001"},
    "set_ticket_status": {"status": "open"},
    "add_message": {"body": "We send somebody tomorrow at nine.", "direction": "outbound"},
    "request_task": {"title": "Visit with a spare pump", "due_at": "2026-12-01T09:00:00Z"},
    "create_queue": {"name": "After-sales", "strategy": "least_open", "max_open": 20},
    "change_queue": {"max_open": 30},
    "pause_connection": {"reason": "maintenance of the ERP until 22:00"},
    "stop_connection": {"reason": "the shop has moved to another ERP"},
    "cancel_delivery": {"reason": "entered in the ERP by hand"},
}


def example_of(operation: Operation) -> Any | None:
    """Return an example of the body of `operation`, or None where a body names records that must exist first."""
    return _BY_OPERATION.get(operation.name)
