"""Ghost as the hub sees it: people with their consent out, what they say there back."""

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
from services.integrations.adapters.ghost import changes, mapping, members, webhook
from services.integrations.adapters.ghost.admin import PAGE, Admin
from services.integrations.adapters.ghost.settings import CONFIG_SCHEMA, SECRET_FIELDS, GhostSettings

ENTITIES = ("contact", "customer")


class GhostAdapter(AdapterBase):
    """Ghost 6 over its Admin API: members, labels and one newsletter; its webhooks and its list of events."""

    spec = AdapterSpec(
        name="ghost",
        version="1.0.0",
        title="Ghost newsletter",
        config_schema=CONFIG_SCHEMA,
        secret_fields=SECRET_FIELDS,
        entities=ENTITIES,
        pulled=ENTITIES,
        address=("base_url",),
        consent=dict.fromkeys(ENTITIES, "email"),
        fields=dict.fromkeys(ENTITIES, mapping.FIELDS),
        signed_headers=(webhook.HEADER,),
        capabilities=frozenset(
            {
                Capability.FIND_BY_LOCAL_KEY,
                Capability.LIST_COMPLETE,
                Capability.INCREMENTAL,
                Capability.WEBHOOK,
            }
        ),
        limits=Limits(rate_per_s=10, burst=20, max_in_flight=2, page_size=PAGE),
    )

    def check(self, ctx: Context) -> CheckResult:
        try:
            settings = GhostSettings.of(ctx.config, ctx.secrets)
        except SettingsError as error:
            return error.result
        try:
            found = Admin(ctx).newsletter()
        except AdapterError as error:
            field = "admin_key" if error.failure.error_class == "auth" else "base_url"
            return CheckResult(problems=(Problem(field, str(error)),), error_class=error.failure.error_class)
        if found is None or found["status"] != "active":
            said = "is archived there" if found else "does not exist there"
            return CheckResult(problems=(Problem("newsletter", f"newsletter {settings.newsletter} {said}"),))
        return CheckResult(details={"newsletter": found["name"]})

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        return members.get(_admin(ctx, entity), external_id)

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> Sequence[Remote]:
        if not keys:
            raise Invalid("a look-up needs a key")
        return members.find(_admin(ctx, entity), keys)

    def expected(self, ctx: Context, entity: str, body: Json) -> Json:
        return mapping.expected(mapping.wanted(body, ""))

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        return members.write(_admin(ctx, entity), cmd)

    def delete(
        self,
        ctx: Context,
        entity: str,
        external_id: str,
        *,
        idempotency_key: str,
        expected_version: str | None = None,
    ) -> Written:
        return members.retire(_admin(ctx, entity), external_id)

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        admin, size = _admin(ctx, entity), max(1, min(limit, PAGE))
        rows = admin.members(f"id:>'{cursor or '0'}'", size)
        complete = len(rows) < size
        items = members.remotes(admin, rows)
        return Page(items=items, next_cursor=None if complete else rows[-1]["id"], complete=complete)

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        return changes.changes(_admin(ctx, entity), entity, checkpoint, limit)

    def parse_webhook(self, ctx: Context, headers: Mapping[str, str], body: bytes) -> Sequence[Change]:
        return webhook.parse(ctx, headers, body, ENTITIES)


def _admin(ctx: Context, entity: str) -> Admin:
    if entity not in ENTITIES:
        raise AdapterError(f"Ghost has no {entity} for the hub")
    return Admin(ctx)
