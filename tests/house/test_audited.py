"""What an auditor asks about is written down: by every operation that changes rights, credentials or what travels."""

from __future__ import annotations

import json
from typing import Any

import pytest
from marshmallow import fields

from chassis.audit.tables import AUDIT_ENTRY
from chassis.audit.trail import redacted
from contracts import identity, integrations, tickets
from contracts.operation import Operation
from contracts.schema import Entries, Request, Sensitive, SensitiveObject, instance_of

RUNS = {"check_connection", "pull_now"}
"""They ask a target something, which changes neither rights nor decisions."""

CHANGES = [operation for contract in (identity, integrations) for operation in contract.OPERATIONS
           if operation.mutates and not operation.internal and operation.name not in RUNS]


@pytest.mark.parametrize("operation", CHANGES, ids=lambda operation: operation.routing_key)
def test_whatever_changes_people_rights_credentials_or_connections_is_audited(operation: Operation) -> None:
    assert operation.audited


def test_who_may_answer_a_queue_is_audited() -> None:
    assert all(operation.audited for operation in tickets.OPERATIONS
               if operation.mutates and operation.permission and operation.permission.entity == "queue")


def test_an_action_fits_its_column() -> None:
    for contract in (identity, integrations, tickets):
        for operation in contract.OPERATIONS:
            assert len(operation.routing_key) <= AUDIT_ENTRY.c.action.type.length  # type: ignore[attr-defined]
            assert len(operation.audited) <= AUDIT_ENTRY.c.entity.type.length  # type: ignore[attr-defined]


class _Address(Request):
    street = Sensitive()
    city = fields.String()


class _Person(Request):
    phone = Sensitive(allow_none=True)
    headers = SensitiveObject()
    address = fields.Nested(_Address)
    others = fields.List(fields.Nested(_Address))
    many = fields.Nested(_Address, many=True)
    secrets = Entries(keys=fields.String(), values=Sensitive())
    plain = fields.Dict()


def test_no_value_that_is_kept_as_ciphertext_is_told_wherever_it_stands_in_a_request() -> None:
    address = {"street": "PLANTED", "city": "上海"}
    asked: dict[str, Any] = {"phone": "PLANTED", "headers": {"a": "PLANTED"}, "address": address, "others": [address],
                             "many": [address], "secrets": {"key": "PLANTED"}, "plain": {"a": 1}}
    told = redacted(instance_of(_Person), asked)
    assert "PLANTED" not in json.dumps(told)
    assert told["address"] == {"street": {"sealed": True}, "city": "上海"}
    assert told["secrets"] == {"key": {"sealed": True}}
    assert told["plain"] == {"a": 1}
    assert redacted(instance_of(_Person), {"phone": None}) == {"phone": None}
