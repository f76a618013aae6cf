"""A mailing list of a Tryton as the hub sees it: people with their consent out, what they say there back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hub_adapter.failure import AdapterError, Invalid
from hub_adapter.port import (
    AdapterBase,
    AdapterSpec,
    Capability,
    Change,
    CheckResult,
    Context,
    Json,
    Limits,
    Page,
    Problem,
    Remote,
    Write,
    Written,
)
from hub_adapter.settings import SettingsError
from services.integrations.adapters.tryton_marketing import changes, mapping, subscriptions
from services.integrations.adapters.tryton_marketing.roll import Roll
from services.integrations.adapters.tryton_marketing.settings import CONFIG_SCHEMA, SECRET_FIELDS, ListSettings

ENTITIES = ("contact", "customer")
LIST = "marketing.email.list"


class TrytonMarketingAdapter(AdapterBase):
    """Tryton 8.2 with the module marketing_email, over its REST door."""

    spec = AdapterSpec(
        name="tryton_marketing",
        version="1.0.0",
        title="Tryton mailing list",
        config_schema=CONFIG_SCHEMA,
        secret_fields=SECRET_FIELDS,
        entities=ENTITIES,
        pulled=ENTITIES,
        address=("base_url", "database"),
        consent=dict.fromkeys(ENTITIES, "email"),
        # The address is the key that the target honours: unique on its list, so the same write twice is one row. Our
        # own id has no place there, so a row is found by its address.
        natural_keys=dict.fromkeys(ENTITIES, "email"),
        fields=dict.fromkeys(ENTITIES, mapping.FIELDS),
        capabilities=frozenset({Capability.IDEMPOTENCY_KEY, Capability.LIST_COMPLETE, Capability.INCREMENTAL}),
        limits=Limits(rate_per_s=20, burst=20, max_in_flight=4, page_size=200),
    )

    def check(self, ctx: Context) -> CheckResult:
        try:
            settings = ListSettings.of(ctx.config, ctx.secrets)
        except SettingsError as error:
            return error.result
        try:
            roll = Roll(ctx)
            found = roll.one(LIST, [["id", "=", settings.mailing_list]], ["name", "active"])
            if found is None or not found["active"]:
                said = "is inactive there" if found else "does not exist there"
                return CheckResult(problems=(Problem("mailing_list", f"{LIST} {settings.mailing_list} {said}"),))
            return CheckResult(details={"mailing_list": found["name"], "user": roll.hub_user})
        except AdapterError as error:
            field = "rest_key" if error.failure.error_class == "auth" else "base_url"
            return CheckResult(problems=(Problem(field, str(error)),), error_class=error.failure.error_class)

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        return subscriptions.get(_roll(ctx, entity), external_id)

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> Sequence[Remote]:
        if not keys:
            raise Invalid("a look-up needs a key")
        return subscriptions.find(_roll(ctx, entity), keys)

    def expected(self, ctx: Context, entity: str, body: Json) -> Json:
        return mapping.expected(body)

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        return subscriptions.write(_roll(ctx, entity), cmd)

    def delete(
        self,
        ctx: Context,
        entity: str,
        external_id: str,
        *,
        idempotency_key: str,
        expected_version: str | None = None,
    ) -> Written:
        return subscriptions.retire(_roll(ctx, entity), external_id)

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        roll = _roll(ctx, entity)
        rows = roll.after(int(cursor or 0), limit)
        complete = len(rows) < limit
        items = [subscriptions.remote(roll, row) for row in rows]
        return Page(items=items, next_cursor=None if complete else str(rows[-1].id), complete=complete)

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        return changes.changes(_roll(ctx, entity), entity, checkpoint, limit)


def _roll(ctx: Context, entity: str) -> Roll:
    if entity not in ENTITIES:
        raise AdapterError(f"a mailing list has no {entity} for the hub")
    return Roll(ctx)
