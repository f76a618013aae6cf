"""The configured list as it is asked and written: `marketing.email`, unique by list and address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from hub_adapter.failure import AdapterError
from hub_adapter.port import Context
from services.integrations.adapters.tryton_marketing import mapping
from services.integrations.adapters.tryton_marketing.mapping import Subscription
from services.integrations.adapters.tryton_marketing.settings import ListSettings
from services.integrations.adapters.wires import tryton

EMAIL = "marketing.email"


class Roll(tryton.Rest):
    """One adapter call's conversation about one list."""

    def __init__(self, ctx: Context) -> None:
        self.settings = ListSettings.of(ctx.config, ctx.secrets)
        super().__init__(
            ctx,
            tryton.Door(
                base_url=self.settings.base_url,
                database=self.settings.database,
                rest_key=self.settings.rest_key,
                context={"language": self.settings.language},
            ),
        )

    @cached_property
    def hub_user(self) -> int:
        """Our own user there. Asked only where a row is off the list: who took it off decides what it means."""
        user = self.one("res.user", [["applications.key", "=", self.door.rest_key]], ["login"])
        if user is None:
            raise AdapterError("the ERP does not tell whose key this is")
        return int(user["id"])

    def by_id(self, external_id: str) -> Subscription | None:
        return self._first(["id", "=", int(external_id)])

    def by_email(self, address: str) -> Subscription | None:
        return self._first(["email", "=", address])

    def after(self, row_id: int, limit: int) -> list[Subscription]:
        """Rows by id, those off the list too."""
        return self._rows([["id", ">", row_id]], limit)

    def by_ids(self, ids: Iterable[int]) -> list[Subscription]:
        return self._rows([["id", "in", sorted(ids)]], None)

    def subscribe(self, address: str) -> int:
        return self.create(EMAIL, {"email": address, "list_": self.settings.mailing_list})

    def switch(self, subscription: Subscription, active: bool) -> None:
        self.write(EMAIL, subscription.id, {"active": active})

    def body(self, subscription: Subscription) -> dict[str, Any]:
        return mapping.body_of(subscription, None if subscription.active else self.hub_user)

    def _first(self, clause: Sequence[Any]) -> Subscription | None:
        found = self._rows([clause], 1)
        return found[0] if found else None

    def _rows(self, clauses: Sequence[Any], limit: int | None) -> list[Subscription]:
        domain = [["list_", "=", self.settings.mailing_list], *clauses]
        rows = self.search(EMAIL, domain, mapping.ROW_FIELDS, limit=limit)
        return [mapping.subscription_of(row) for row in rows]
