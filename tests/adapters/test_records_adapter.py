"""The kit's own adapter against the kit's scriptable target: every check is passed by somebody."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from hub_adapter.conformance.records import RecordsAdapter
from hub_adapter.conformance.suite import ConformanceSuite
from hub_adapter.conformance.system import Sample, System, Tokens
from hub_adapter.conformance.target import RecordsTarget, running
from hub_adapter.port import Write


@pytest.fixture(scope="module")
def target() -> Iterator[RecordsTarget]:
    yield from running()


@pytest.fixture
def system(target: RecordsTarget) -> System:
    return records_system(target)


def records_system(target: RecordsTarget) -> System:
    return System(
        config=target.config,
        secrets=target.secrets,
        samples={"note": Sample(make=a_note, texts={"text": 5000}, decimals=("amount",), times=("due_at",),
                                optional=("remark",))},
        count=lambda entity, cmd: sum(row.body["id"] == cmd.local_id for row in target.of(entity)),
        nowhere="999999999",
        webhook=lambda entity, external_id, age_s: target.message(external_id, age_s),
        tokens=Tokens(expire=target.expire, traded=lambda: target.traded),
    )


def a_note() -> Write:
    id = str(uuid.uuid4())
    body = {"id": id, "text": "回访", "amount": "12.50", "due_at": "2026-12-01T09:00:00Z", "remark": "call first"}
    return Write(local_id=id, body=body, idempotency_key=f"k-{id}", source_version=1)


class TestRecords(ConformanceSuite):
    """The shortest suite there is, and it is whole."""

    adapter = RecordsAdapter()
