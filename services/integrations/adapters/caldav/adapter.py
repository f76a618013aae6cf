"""A CalDAV server as the hub sees it: tasks out to their assignees' calendars, and back."""

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
from services.integrations.adapters.caldav import changes, mapping, tasks
from services.integrations.adapters.caldav.dav import Dav
from services.integrations.adapters.caldav.settings import CONFIG_SCHEMA, SECRET_FIELDS, CaldavSettings

ENTITY = "task"


class CaldavAdapter(AdapterBase):
    """CalDAV (RFC 4791) with sync-collection (RFC 6578): one calendar of VTODOs per person, below one home."""

    spec = AdapterSpec(
        name="caldav",
        version="1.0.0",
        title="CalDAV task calendars",
        config_schema=CONFIG_SCHEMA,
        secret_fields=SECRET_FIELDS,
        entities=(ENTITY,),
        pulled=(ENTITY,),
        accounts=(ENTITY,),
        address=("base_url",),
        fields={ENTITY: mapping.FIELDS},
        capabilities=frozenset(
            {
                Capability.FIND_BY_LOCAL_KEY,
                Capability.CONDITIONAL_WRITE,
                Capability.LIST_COMPLETE,
                Capability.INCREMENTAL,
            }
        ),
        limits=Limits(rate_per_s=100, burst=200, max_in_flight=4, page_size=200),
    )

    def check(self, ctx: Context) -> CheckResult:
        try:
            CaldavSettings.of(ctx.config, ctx.secrets)
        except SettingsError as error:
            return error.result
        try:
            calendars = Dav(ctx).calendars()
        except AdapterError as error:
            failure = error.failure
            refused = "home" if failure.http_status in (403, 404) else "base_url"
            setting = "password" if failure.http_status == 401 else refused
            return CheckResult(problems=(Problem(setting, str(error)),), error_class=failure.error_class)
        return CheckResult(details={"calendars": len(calendars)})

    def get(self, ctx: Context, entity: str, external_id: str) -> Remote | None:
        return tasks.get(_dav(ctx, entity), external_id)

    def find(self, ctx: Context, entity: str, keys: Mapping[str, str]) -> Sequence[Remote]:
        if not keys:
            raise Invalid("a look-up needs a key")
        return tasks.find(_dav(ctx, entity), keys)

    def expected(self, ctx: Context, entity: str, body: Json) -> Json:
        return mapping.expected(body)

    def write(self, ctx: Context, entity: str, cmd: Write) -> Written:
        return tasks.write(_dav(ctx, entity), cmd)

    def delete(
        self,
        ctx: Context,
        entity: str,
        external_id: str,
        *,
        idempotency_key: str,
        expected_version: str | None = None,
    ) -> Written:
        return tasks.delete(_dav(ctx, entity), external_id, expected_version)

    def list(self, ctx: Context, entity: str, cursor: str | None, limit: int) -> Page[Remote]:
        return tasks.page(_dav(ctx, entity), cursor, limit)

    def changes(self, ctx: Context, entity: str, checkpoint: str | None, limit: int) -> Page[Change]:
        return changes.changes(_dav(ctx, entity), checkpoint, limit)


def _dav(ctx: Context, entity: str) -> Dav:
    if entity != ENTITY:
        raise AdapterError(f"a CalDAV server has no {entity} for the hub")
    return Dav(ctx)
