"""Ghost's outbound webhooks: member.added, member.edited, member.deleted.

The signature is `X-Ghost-Signature: sha256=<hex>, t=<ms>`: HMAC-SHA256 of the raw body followed by the milliseconds,
with the webhook's secret (Ghost 6, services/webhooks/webhook-trigger).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from hub_adapter.failure import AuthRefused, Invalid
from hub_adapter.port import Change, Context
from hub_adapter.settings import SettingsError
from services.integrations.adapters.ghost import mapping
from services.integrations.adapters.ghost.mapping import Json
from services.integrations.adapters.ghost.settings import GhostSettings

HEADER = "x-ghost-signature"
SIGNATURE = re.compile(r"sha256=([0-9a-f]{64}), t=([0-9]{1,15})")
"""As Ghost spells it and in no other way: respelled, a message that is repeated would pass for another one."""
WINDOW_S = 300.0
"""How far the sender's time may be from ours; the hub knows a repeated message for longer than that."""


def parse(ctx: Context, headers: Mapping[str, str], body: bytes, entities: Sequence[str]) -> list[Change]:
    """What a message tells, for each entity that may be routed here.

    Raises:
        AuthRefused: the signature is missing, forged, or older than `WINDOW_S`.
        Invalid: it is signed and is not a message about a member.
    """
    try:
        settings = GhostSettings.of(ctx.config, ctx.secrets)
    except SettingsError as error:
        raise AuthRefused(str(error)) from None
    sent_at = _signed_at(settings.webhook_secret, headers, body)
    if abs((ctx.clock() - sent_at).total_seconds()) > WINDOW_S:
        raise AuthRefused("the message's stamp is too far from our time")
    try:
        message = json.loads(body)
        current, previous = message["member"]["current"], message["member"]["previous"]
        if not current:
            return _gone(previous["id"], sent_at, entities)
        return _standing(settings, current, previous, sent_at, entities)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Invalid("the message does not tell of a member") from None


def _signed_at(secret: str, headers: Mapping[str, str], body: bytes) -> datetime:
    given = next((value for name, value in headers.items() if name.lower() == HEADER), "")
    found = SIGNATURE.fullmatch(given)
    if found is None:
        raise AuthRefused("the message carries no signature of Ghost's")
    wanted = hmac.new(secret.encode(), body + found[2].encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, found[1]):
        raise AuthRefused("the signature is not of this secret")
    return datetime.fromtimestamp(int(found[2]) / 1000, UTC)


def _gone(external_id: str, sent_at: datetime, entities: Sequence[str]) -> list[Change]:
    version = f"gone {mapping.written(sent_at)}"
    return [
        Change(entity=entity, external_id=external_id, op="delete", body={}, version=version, changed_at=sent_at)
        for entity in entities
    ]


def _standing(
    settings: GhostSettings, member: Json, previous: Json, sent_at: datetime, entities: Sequence[str]
) -> list[Change]:
    ours = settings.newsletter
    left = "newsletters" in previous and mapping.is_subscribed(previous, ours)
    body = mapping.body_of(member, ours, sent_at if left else None)
    version = mapping.version(member, ours, settings.label_prefix)
    return [
        Change(
            entity=entity, external_id=member["id"], op="upsert", body=body, version=version, changed_at=sent_at
        )
        for entity in entities
    ]
