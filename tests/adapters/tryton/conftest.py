"""The adapter against the real ERP of deploy/sandbox/tryton."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hub_adapter.conformance.system import Sample, System
from hub_adapter.port import Context, Write
from services.integrations.adapters.tryton.adapter import TrytonAdapter
from tests.adapters.conftest import Lend
from tests.support.erp import Erp, running_erp
from tests.support.records import a_customer, an_order, as_write

Open = Callable[..., Context]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "adapters/tryton" in item.path.as_posix():
            item.add_marker(pytest.mark.tryton)


@pytest.fixture(scope="session")
def erp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erp]:
    with running_erp(tmp_path_factory.mktemp("erp")) as running:
        yield running


@pytest.fixture
def system(erp: Erp) -> System:
    """The ERP as the conformance kit is told of it."""
    fields = {"customer": ("party.party", "name", "name"), "order": ("sale.sale", "reference", "number")}

    def count(entity: str, cmd: Write) -> int:
        model, column, field = fields[entity]
        return len(erp.rows(model, [[column, "=", cmd.body[field]]], column))

    return System(
        config=erp.config(),
        secrets={"rest_key": erp.rest_key},
        samples={
            "customer": Sample(
                make=lambda: as_write(a_customer(name=f"上海示例有限公司 {uuid.uuid4()}")),
                texts={"name": 400},
                optional=("email", "phone", "address"),
            ),
            "order": Sample(make=lambda: new_order(erp)),
        },
        count=count,
        nowhere="999999999",
    )


def new_order(erp: Erp) -> Write:
    """An order of the ERP's oldest party, under a number that is used once."""
    party = erp.rows("party.party", [], "name")[0]["id"]
    return as_write(an_order("c", number=f"SO-{uuid.uuid4()}"), party=str(party))


@pytest.fixture
def adapter() -> TrytonAdapter:
    return TrytonAdapter()


@pytest.fixture
def ctx(erp: Erp, lend: Lend) -> Open:
    """Opens a context as the engine does: `ctx()`, `ctx(dry_run=True)`, `ctx(base_url=…, rest_key=…)`."""

    def opened(*, dry_run: bool = False, rest_key: str | None = None, **changed: Any) -> Context:
        secrets = {"rest_key": rest_key or erp.rest_key}
        return lend(erp.config(**changed), secrets, dry_run=dry_run, read_timeout_s=8)

    return opened


@pytest.fixture
def party(adapter: TrytonAdapter, ctx: Open) -> str:
    """The external id of a customer that is in the ERP."""
    return adapter.write(ctx(), "customer", as_write(a_customer())).external_id
