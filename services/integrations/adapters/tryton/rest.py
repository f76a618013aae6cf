"""The REST door of the database that the settings name."""

from __future__ import annotations

from hub_adapter.port import Context
from services.integrations.adapters.tryton.settings import TrytonSettings
from services.integrations.adapters.wires import tryton
from services.integrations.adapters.wires.tryton import Row

__all__ = ["Rest", "Row"]


class Rest(tryton.Rest):
    """One adapter call's conversation with one database."""

    def __init__(self, ctx: Context) -> None:
        self.settings = TrytonSettings.of(ctx.config, ctx.secrets)
        super().__init__(
            ctx,
            tryton.Door(
                base_url=self.settings.base_url,
                database=self.settings.database,
                rest_key=self.settings.rest_key,
                # Scar: without a company in the context, sales answer 400.
                context={"company": self.settings.company, "language": self.settings.language},
            ),
        )
