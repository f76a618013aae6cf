"""Reading a person's consent, for an adapter that writes to people over a channel (`AdapterSpec.consent`)."""

from __future__ import annotations

from datetime import datetime

from hub_adapter.failure import Invalid
from hub_adapter.port import Json


def granted_at(body: Json, channel: str) -> datetime:
    """When the person of a canonical record granted a channel.

    The hub withholds whom nobody may write to; this is asked again, so that no mapping or defect writes to them.

    Raises:
        Invalid: they have not granted it, or it does not tell when, with a zone.
    """
    said = (body.get("consent") or {}).get(channel) or {}
    if said.get("state") != "granted":
        raise Invalid("there is no consent to write to this person", field=f"/consent/{channel}")
    try:
        at = datetime.fromisoformat(str(said["at"]))
        if at.tzinfo is None:
            raise ValueError
    except (KeyError, ValueError):
        raise Invalid("a consent has to tell when it was granted", field=f"/consent/{channel}/at") from None
    return at
